"""From a photo's cells to a caption: the likeliest pieces one after another, or several captions side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from valm_core.model.tasks.captioner import BEGIN, END, UNKNOWN, CaptionModel, KeyValue
from valm_core.stopping import stop_if_unwanted

REPEATED = 3  # so many pieces in a row stand in a caption once at most


@dataclass(frozen=True)
class PieceCaption:
    """A caption as places in the vocabulary, ``BEGIN`` left out and ``END`` in, unless the caption was cut.

    ``log_probabilities`` has one of each piece; ``score`` is their mean, by which captions of different lengths are
    compared.
    """

    places: tuple[int, ...]
    log_probabilities: tuple[float, ...]

    @property
    def score(self) -> float:
        """The mean log-probability of a piece."""
        return sum(self.log_probabilities) / len(self.log_probabilities)


@torch.no_grad()
def decode(
    model: CaptionModel, cells: Sequence[KeyValue], beams: int = 3, longest: int | None = None
) -> list[list[PieceCaption]]:
    """Captions of P photos, for each up to ``beams`` of them, the best first.

    Beam search: the ``beams`` likeliest beginnings go on; captions are compared by the mean log-probability of a piece
    (Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 7, with a power of 1). No three pieces in a row come
    twice (Paulus et al. 2017, https://arxiv.org/abs/1705.04304, section 2.5). With one beam it is greedy.

    Args:
        model: in evaluation mode.
        cells: of the photos, see ``CaptionModel.encode_photos``.
        beams: at least 1.
        longest: pieces of a caption at most, its end included; as many as the model has places for by default.

    Raises:
        ValueError: ``beams`` or ``longest`` is below 1, or ``longest`` above the model's places.
    """
    most = model.tokenizer.max_tokens - 1  # one is for ``BEGIN``
    longest = most if longest is None else longest
    if beams < 1 or not 1 <= longest <= most:
        raise ValueError(f"beams is {beams}, longest {longest}; allowed: from 1, and 1 to {most}.")
    photos, device = len(cells[0][0]), cells[0][0].device
    rows = torch.arange(photos, device=device).repeat_interleave(beams)
    cells = [(key.index_select(0, rows), value.index_select(0, rows)) for key, value in cells]
    live: list[list[PieceCaption]] = [[PieceCaption((), ())] * beams for _ in range(photos)]
    done: list[list[PieceCaption]] = [[] for _ in range(photos)]
    scores = torch.full((photos, beams), float("-inf"), device=device)
    scores[:, 0] = 0.0  # all beams begin alike: one of them is enough
    past: tuple[KeyValue, ...] = ()
    places = torch.full((photos * beams, 1), BEGIN, device=device)
    for step in range(longest):
        stop_if_unwanted()
        reading = model.read(places, cells, past)
        likely = reading.logits[:, -1].float().log_softmax(dim=-1)  # [P * beams, V]
        _forbid(likely, [caption.places for own in live for caption in own], step)
        width = likely.shape[-1]
        sums = (scores[:, :, None] + likely.view(photos, beams, width)).flatten(1)  # [P, beams * V]
        best, chosen = sums.topk(min(2 * beams, sums.shape[1]), dim=1)
        taken, scores = _take(live, done, (best, chosen, likely.view(photos, -1)), step + 1 == longest)
        if all(len(captions) >= beams for captions in done):
            break
        sources = torch.tensor([photo * beams + beam for photo, own in enumerate(taken) for beam in own], device=device)
        past = tuple((key.index_select(0, sources), value.index_select(0, sources)) for key, value in reading.past)
        places = torch.tensor([[caption.places[-1]] for own in live for caption in own], device=device)
        scores = scores.to(device)
    return [sorted(captions, key=lambda caption: -caption.score)[:beams] for captions in done]


def _forbid(likely: Tensor, begun: list[tuple[int, ...]], step: int) -> None:
    """Set to minus infinity what may not come next; ``begun`` are the pieces so far of each row of ``likely``."""
    likely[:, [BEGIN, UNKNOWN]] = float("-inf")
    if step == 0:
        likely[:, END] = float("-inf")
    for row, places in enumerate(begun):
        ending = places[1 - REPEATED :]
        for first in range(len(places) - REPEATED + 1):
            if places[first : first + REPEATED - 1] == ending:
                likely[row, places[first + REPEATED - 1]] = float("-inf")


def _take(
    live: list[list[PieceCaption]],
    done: list[list[PieceCaption]],
    candidates: tuple[Tensor, Tensor, Tensor],
    last: bool,
) -> tuple[list[list[int]], Tensor]:
    """Sort each photo's candidates, best first, into those that end and those that go on; both lists are changed.

    Args:
        live, done: of each photo the captions that go on, as many as beams, and those that have ended.
        candidates: sums of log-probabilities and places [P, C] of the candidates, and log-probabilities
            [P, beams * V] of every piece after every caption.
        last: whether this piece is the last one: what goes on then ends here.

    Returns:
        For each photo the beams that its captions come from, and the captions' sums [P, beams].
    """
    sums, chosen, likely = (part.cpu() for part in candidates)
    beams = len(live[0])
    width = likely.shape[1] // beams
    taken, kept_sums = [], torch.full((len(live), beams), float("-inf"))
    for photo, own in enumerate(live):
        going_on: list[PieceCaption] = []
        beam_of: list[int] = []
        for total, candidate in zip(sums[photo].tolist(), chosen[photo].tolist(), strict=True):
            if total == float("-inf"):
                break
            beam, place = divmod(candidate, width)
            earlier = own[beam]
            caption = PieceCaption(
                (*earlier.places, place), (*earlier.log_probabilities, float(likely[photo, candidate]))
            )
            if place == END:
                if len(going_on) < beams and len(done[photo]) < beams:
                    done[photo].append(caption)
            elif len(going_on) < beams:
                kept_sums[photo, len(going_on)] = total
                going_on.append(caption)
                beam_of.append(beam)
        if last and len(done[photo]) < beams:
            done[photo] += going_on[: beams - len(done[photo])]
        missing = beams - len(going_on)
        live[photo] = going_on + [PieceCaption((*own[0].places, END), (*own[0].log_probabilities, 0.0))] * missing
        taken.append(beam_of + [0] * missing)
    return taken, kept_sums
