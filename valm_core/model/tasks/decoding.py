"""From photos' cells to captions: the beam search with a caption model, which keeps what it has read."""

from collections.abc import Sequence

import numpy as np
import torch

from valm_core.model.tasks.beam_search import PieceCaption, beam_search
from valm_core.model.tasks.captioner import CaptionModel, KeyValue


@torch.no_grad()
def decode(
    model: CaptionModel, cells: Sequence[KeyValue], beams: int = 3, longest: int | None = None
) -> list[list[PieceCaption]]:
    """Captions of P photos, for each up to ``beams`` of them, the best first, see ``beam_search``.

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
    past: tuple[KeyValue, ...] = ()

    def next_pieces(begun: np.ndarray, sources: np.ndarray) -> np.ndarray:
        nonlocal past
        taken = torch.from_numpy(sources).to(device)
        past = tuple((key.index_select(0, taken), value.index_select(0, taken)) for key, value in past)
        reading = model.read(torch.from_numpy(begun[:, -1:]).to(device), cells, past)
        past = reading.past
        return reading.logits[:, -1].float().log_softmax(dim=-1).cpu().numpy()

    return beam_search(next_pieces, photos, beams, longest)
