"""RetrievalModel: texts and photos in one space, as vectors for searching and word by cell for ranking and maps."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valm_core.model.encoders.two_encoders import Encoders, TwoEncoders

MAX_SCALE = 100.0  # of a cosine, as in CLIP
RANKING_SIDE = 7  # rows and columns of cells that late interaction compares, at most: what an index keeps of a photo


@dataclass(frozen=True)
class TextFeatures:
    """Texts as the retrieval model compares them.

    ``vector`` [B, D] and each token of ``words`` [B, T, D] have length 1; ``shares`` [B, T] is how much each token
    counts, rows summing to 1 over the real ones, 0 elsewhere.
    """

    vector: Tensor
    words: Tensor
    shares: Tensor


@dataclass(frozen=True)
class PhotoFeatures:
    """Photos as the retrieval model compares them: ``vector`` [P, D] and ``cells`` [P, M, D], all of length 1.

    The M cells are those of the image encoder, averaged to at most ``RANKING_SIDE`` rows and columns.
    """

    vector: Tensor
    cells: Tensor


class RetrievalModel(TwoEncoders):
    """Two towers, one of texts and one of photos, with two scores of how well a text and a photo belong together.

    The vectors' cosine is fast: a photo's vector lies in an index (CLIP, Radford et al. 2021,
    https://arxiv.org/abs/2103.00020). Late interaction is finer: every word takes the cell that resembles it most, and
    words count by their shares (ColBERT, Khattab & Zaharia 2020, https://arxiv.org/abs/2004.12832; FILIP, Yao et al.
    2021, https://arxiv.org/abs/2111.07783). Its cosines of a word with all cells are the map of that word.

    Args:
        encoders: what reads texts and photos.
        width: size D of the common space.
        dropout: probability, 0..1.
        learned_text_layers: how many of the text encoder's last layers learn, or have learned.
    """

    def __init__(
        self,
        encoders: Encoders,
        *,
        width: int,
        dropout: float,
        learned_text_layers: int = 0,
    ):
        super().__init__(encoders, cell_side=RANKING_SIDE)
        self.learned_text_layers = learned_text_layers
        cell = self.image_encoder.width
        self.word_projection = nn.Linear(self.text_encoder.width, width)
        self.cell_projection = nn.Sequential(
            nn.LayerNorm(cell),
            nn.Linear(cell, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )
        self.word_pooling, self.cell_pooling = nn.Linear(width, 1), nn.Linear(width, 1)
        self.text_vector, self.photo_vector = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        # How sharply each score tells pairs apart: of the vectors, of late interaction.
        self.log_scales = nn.Parameter(torch.full((2,), 20.0).log())

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.log_scales.device

    @property
    def scales(self) -> Tensor:
        """The factors [2] of both cosines, at most ``MAX_SCALE``."""
        return self.log_scales.exp().clamp(max=MAX_SCALE)

    def encode_texts(self, token_ids: Tensor | None, mask: Tensor, lower_tokens: Tensor | None = None) -> TextFeatures:
        """token_ids [B, T] and mask [B, T] (True where real) -> the texts' features.

        In place of ids, ``lower_tokens`` [B, T, D_text] by all layers of the text encoder but those that learned.
        """
        tokens = self.text_encoder.read(mask, token_ids, None, lower_tokens, self.learned_text_layers)
        words = self.word_projection(self.dropout(tokens.to(self.word_projection.weight.dtype)))  # [B, T, D]
        shares = self.word_pooling(words).squeeze(-1).masked_fill(~mask, float("-inf")).softmax(dim=-1)  # [B, T]
        pooled = torch.einsum("btd,bt->bd", words, shares)
        return TextFeatures(F.normalize(self.text_vector(pooled), dim=-1), F.normalize(words, dim=-1), shares)

    def encode_photos(self, pixels: Tensor | None = None, image_tokens: Tensor | None = None) -> PhotoFeatures:
        """Photos as of ``cells`` -> their features. Raises ValueError where neither is given."""
        cells = self._projected(self.cells(pixels, image_tokens))  # [P, M, D]
        shares = self.cell_pooling(cells).softmax(dim=1)  # [P, M, 1]
        pooled = (cells * shares).sum(dim=1) + cells.mean(dim=1)
        return PhotoFeatures(F.normalize(self.photo_vector(pooled), dim=-1), F.normalize(cells, dim=-1))

    def image_cells(self, pixels: Tensor | None = None, image_tokens: Tensor | None = None) -> Tensor:
        """The image encoder's own cells [P, N, D] in the common space, of length 1: what maps of words are made of.

        Arguments and errors as of ``image_tokens``.
        """
        return F.normalize(self._projected(self.image_tokens(pixels, image_tokens)), dim=-1)

    def _projected(self, cells: Tensor) -> Tensor:
        """Cells [P, M, D_image] in the common space [P, M, D], in the numbers that the projection computes in."""
        return self.cell_projection(cells.to(self.word_projection.weight.dtype))


def late_interaction(texts: TextFeatures, photos: PhotoFeatures) -> Tensor:
    """How well words find cells: [B, P] in -1..1, of B texts with P photos.

    Memory grows with B T P, and with N too where gradients are kept: hand in large sets piece by piece.
    """
    if torch.is_grad_enabled():
        nearest = torch.einsum("btd,pnd->btpn", texts.words, photos.cells).max(dim=-1).values  # [B, T, P]
    else:
        nearest = _nearest_cell_by_cell(texts.words.flatten(0, 1), photos.cells).unflatten(0, texts.words.shape[:2])
    return torch.einsum("btp,bt->bp", nearest, texts.shares)


def _nearest_cell_by_cell(words: Tensor, cells: Tensor) -> Tensor:
    """words [W, D] and cells [P, N, D] -> cosine of each word with the nearest cell of each photo [W, P].

    One cell of all photos after another: twice as fast on a CPU as all at once, and a small part of the memory.
    """
    nearest = words @ cells[:, 0].T
    for place in range(1, cells.shape[1]):
        torch.maximum(nearest, words @ cells[:, place].T, out=nearest)
    return nearest


def pair_scores(model: RetrievalModel, texts: TextFeatures, photos: PhotoFeatures) -> Tensor:
    """Both scores together, [B, P]: each cosine times its learned scale."""
    scales = model.scales
    return scales[0] * texts.vector @ photos.vector.T + scales[1] * late_interaction(texts, photos)
