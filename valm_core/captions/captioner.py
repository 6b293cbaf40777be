"""Captioner: a photo in, a description out, by a caption model in torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from valm_core.captions.describing import Describer, Pieces
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.checkpoints.storage import load_caption_checkpoint
from valm_core.devices import choose_device
from valm_core.inputs.photo import open_photo
from valm_core.model.tasks.beam_search import PieceCaption
from valm_core.model.tasks.captioner import CaptionModel, KeyValue
from valm_core.model.tasks.decoding import decode
from valm_core.outputs import Photo


class Captioner(Describer[Sequence[KeyValue]]):
    """Describes photos; safe to share between threads.

    Args:
        model: a trained caption model; it is moved to ``device`` and put in evaluation mode.
        device: where to compute; arrays lie on the CPU.
    """

    def __init__(self, model: CaptionModel, device: torch.device):
        self.model = model.to(device).eval()
        self.device = device
        tokens, tokenizer = model.vocabulary.tolist(), model.tokenizer
        self.pieces = Pieces(tuple(tokens), tuple(tokenizer.tokenizer.convert_ids_to_tokens(tokens)))
        self.grid, self.longest = model.image_encoder.grid, tokenizer.max_tokens

    @classmethod
    def from_checkpoint(cls, name: str | Path, device: str = "auto") -> "Captioner":
        """Load a checkpoint: its folder, or ``user/model`` on the Hugging Face hub.

        Raises:
            FileNotFoundError, ValueError: see ``load_checkpoint`` and ``choose_device``.
        """
        chosen = choose_device(device)
        model = load_caption_checkpoint(fetch_checkpoint(name), for_inference=chosen.type == "cpu")
        model.text_encoder = nn.Identity()  # type: ignore[assignment]  # its tokenizer is all that was needed of it
        return cls(model, chosen)

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        return self.model.tokenizer.tokenizer(texts, add_special_tokens=False).input_ids

    @torch.no_grad()
    def _cells(self, photo: Photo) -> Sequence[KeyValue]:
        pixels = self.model.pixels(open_photo(photo))
        return self.model.encode_photos(pixels[None].to(self.device))

    def _search(self, cells: Sequence[KeyValue], beams: int) -> list[PieceCaption]:
        return decode(self.model, cells, beams)[0]

    @torch.no_grad()
    def _likely(
        self, before: np.ndarray, after: np.ndarray, cells: Sequence[KeyValue], hidden: np.ndarray | None = None
    ) -> np.ndarray:
        count = len(before)
        many = [(key.expand(count, -1, -1, -1), value.expand(count, -1, -1, -1)) for key, value in cells]
        closed = None if hidden is None else torch.from_numpy(hidden).to(self.device)
        reading = self.model.read(torch.from_numpy(before).to(self.device), many, hidden=closed)
        likely = reading.logits.float().log_softmax(dim=-1)  # [B, T, V]
        return likely.gather(-1, torch.from_numpy(after).to(self.device)[..., None])[..., 0].cpu().numpy()

    @torch.no_grad()
    def _read(self, places: np.ndarray, cells: Sequence[KeyValue]) -> np.ndarray:
        reading = self.model.read(torch.from_numpy(places).to(self.device), cells, return_weights=True)
        return cast(Tensor, reading.weights).mean(dim=(0, 2))[0].float().cpu().numpy()
