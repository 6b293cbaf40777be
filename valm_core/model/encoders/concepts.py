"""The concept head: which words of a vocabulary each cell of a photo shows, and what they mean."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

POOLING_SHARPNESS = 5.0


class ConceptHead(nn.Module):
    """Looks for concepts (nouns, verbs, adjectives of captions) in every cell of a photo.

    Trained from words about whole photos alone, by multiple-instance learning: a photo shows a concept if one of its
    cells does (Fang et al. 2015, "From captions to visual concepts and back", https://arxiv.org/abs/1411.4952). What is
    found joins a cell's token as the sum of the concepts' text embeddings.

    Args:
        width: size F of a cell's features.
        concepts: how many concepts C.
        embedding_width: size D of the text encoder's embeddings.
    """

    embeddings: Tensor

    def __init__(self, width: int, concepts: int, embedding_width: int):
        super().__init__()
        self.score = nn.Linear(width, concepts)
        nn.init.constant_(self.score.bias, -4.0)  # a concept is rare before anything is learned
        self.register_buffer("embeddings", torch.zeros(concepts, embedding_width))

    def forward(self, features: Tensor) -> Tensor:
        """FeatureCache [.., F] -> logits [.., C], of "this cell shows it"."""
        return self.score(features)

    def meaning(self, logits: Tensor) -> Tensor:
        """Logits [.., C] -> [.., D], the sum of the text embeddings of what is shown, each as far as it is."""
        return logits.sigmoid() @ self.embeddings.to(logits.dtype)


def photo_logits(cells: Tensor) -> Tensor:
    """Concept logits of cells [B, N, C] -> of photos [B, C]: a smooth maximum over the cells.

    Log-sum-exp pooling (Pinheiro & Collobert 2015, https://arxiv.org/abs/1411.6228) between the mean and the maximum.
    """
    sharp = POOLING_SHARPNESS * cells.float()
    return (sharp.logsumexp(dim=1) - torch.log(torch.tensor(float(cells.shape[1])))) / POOLING_SHARPNESS


def surest_concepts(logits: Tensor, names: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    """The ``top`` concepts that a photo's logits [C] are surest of, by their names, each with its sigmoid in 0..1."""
    scores, places = logits.sigmoid().topk(min(top, len(names)))
    return tuple((names[place], score) for place, score in zip(places.tolist(), scores.tolist(), strict=True))
