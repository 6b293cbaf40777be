"""Beam search over word pieces, in numpy alone: the same for a model in torch and for an exported one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from valm_core.stopping import stop_if_unwanted

BEGIN, END, UNKNOWN = 0, 1, 2  # the first places of a vocabulary: what opens a caption, what closes it, rare pieces
REPEATED = 3  # so many pieces in a row stand in a caption once at most

# (begun [R, T], sources [R]) -> log-probabilities [R, V], float32, of the piece after each of R beginnings: places in
# the vocabulary, the first ``BEGIN``. ``sources`` are the rows of the call before that they go on from.
NextPieces = Callable[[np.ndarray, np.ndarray], np.ndarray]


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

    @property
    def content(self) -> list[int]:
        """The places without the end."""
        return [place for place in self.places if place != END]


def beam_search(next_pieces: NextPieces, photos: int, beams: int, longest: int) -> list[list[PieceCaption]]:
    """Captions of P photos, for each up to ``beams`` of them, the best first.

    The ``beams`` likeliest beginnings go on; captions are compared by the mean log-probability of a piece (Wu et al.
    2016, https://arxiv.org/abs/1609.08144, section 7, with a power of 1). No three pieces in a row come twice (Paulus
    et al. 2017, https://arxiv.org/abs/1705.04304, section 2.5). With one beam it is greedy.

    Args:
        next_pieces: reads P * beams beginnings, photo by photo; what it returns is changed.
        photos: P.
        beams: at least 1.
        longest: pieces of a caption at most, its end included.
    """
    live: list[list[PieceCaption]] = [[PieceCaption((), ())] * beams for _ in range(photos)]
    done: list[list[PieceCaption]] = [[] for _ in range(photos)]
    scores = np.full((photos, beams), -np.inf, dtype=np.float32)
    scores[:, 0] = 0.0  # all beams begin alike: one of them is enough
    sources = np.arange(photos * beams)
    for step in range(longest):
        stop_if_unwanted()
        begun = [caption.places for own in live for caption in own]
        likely = next_pieces(np.array([(BEGIN, *places) for places in begun], dtype=np.int64), sources)
        _forbid(likely, begun)
        likely = likely.reshape(photos, -1)  # [P, beams * V]
        sums = np.repeat(scores, likely.shape[1] // beams, axis=1) + likely
        sources, scores = _take(live, done, (_best(sums, 2 * beams), sums, likely), step + 1 == longest)
        if all(len(captions) >= beams for captions in done):
            break
    return [sorted(captions, key=lambda caption: -caption.score)[:beams] for captions in done]


def _forbid(likely: np.ndarray, begun: list[tuple[int, ...]]) -> None:
    """Set to minus infinity what may not come next; ``begun`` are the pieces so far of each row of ``likely``."""
    likely[:, [BEGIN, UNKNOWN]] = -np.inf
    for row, places in enumerate(begun):
        if not places:
            likely[row, END] = -np.inf
        ending = places[1 - REPEATED :]
        for first in range(len(places) - REPEATED + 1):
            if places[first : first + REPEATED - 1] == ending:
                likely[row, places[first + REPEATED - 1]] = -np.inf


def _best(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the ``count`` largest values of each row, the largest first."""
    count = min(count, values.shape[1])
    chosen = np.argpartition(-values, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(values, chosen, axis=1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)


def _take(
    live: list[list[PieceCaption]],
    done: list[list[PieceCaption]],
    candidates: tuple[np.ndarray, np.ndarray, np.ndarray],
    last: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Sort each photo's candidates, best first, into those that end and those that go on; both lists are changed.

    Args:
        live, done: of each photo the captions that go on, as many as beams, and those that have ended.
        candidates: places [P, C] of the candidates, and the sums of log-probabilities and the log-probabilities
            [P, beams * V] of every piece after every caption.
        last: whether this piece is the last one: what goes on then ends here.

    Returns:
        For each caption that goes on the row that it comes from [P * beams], and the captions' sums [P, beams].
    """
    chosen, sums, likely = candidates
    beams = len(live[0])
    width = likely.shape[1] // beams
    sources, kept_sums = [], np.full((len(live), beams), -np.inf, dtype=np.float32)
    for photo, own in enumerate(live):
        going_on: list[PieceCaption] = []
        beam_of: list[int] = []
        for candidate in chosen[photo].tolist():
            total = sums[photo, candidate]
            if total == -np.inf:
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
        sources += [photo * beams + beam for beam in beam_of + [0] * missing]
    return np.array(sources), kept_sums
