"""Answer heads: from the fused vector to a score for every answer."""

import torch
from torch import Tensor, nn

NEAREST_ANSWERS = 5  # whose mean a new answer starts from


class AnswerHead(nn.Sequential):
    """Classify among a fixed list of answers: two linear layers with GELU and dropout between.

    Args:
        width: size D of the fused vector.
        answers: length A of the answer list.
        dropout: probability, 0..1.
    """

    def __init__(self, width: int, answers: int, dropout: float = 0.0):
        super().__init__(nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, answers))

    def forward(self, fused: Tensor) -> Tensor:
        """fused [B, D] -> logits [B, A]."""
        return super().forward(fused)


@torch.no_grad()
def extended_layer(layer: nn.Linear, similarity: Tensor) -> nn.Linear:
    """The last layer of a head with rows for n more answers; the old rows are kept to the bit.

    A new row is the mean of the rows of the ``NEAREST_ANSWERS`` most similar old answers, its bias the lowest of all
    old ones: it points where its meaning lies and yet stays behind until training raises it.

    Args:
        layer: of A answers.
        similarity: [n, A], how near each new answer is to each old one.
    """
    extended = nn.Linear(layer.in_features, layer.out_features + len(similarity)).to(layer.weight)
    nearest = similarity.topk(min(NEAREST_ANSWERS, layer.out_features), dim=1).indices  # [n, 5]
    extended.weight.copy_(torch.cat([layer.weight, layer.weight[nearest].mean(dim=1)]))
    extended.bias.copy_(torch.cat([layer.bias, layer.bias.min().expand(len(similarity))]))
    return extended.requires_grad_(layer.weight.requires_grad)


def candidate_scores(
    probabilities: Tensor, answer_embeddings: Tensor, candidates: Tensor, sharpness: float = 20.0
) -> Tensor:
    """Score any candidate answers, in the list or not, by how near in meaning they are to the likely answers.

    A kernel estimate over the answer list: every answer votes for a candidate with its probability times
    exp(sharpness * (cosine - 1)), which is 1 for the same text and falls off with distance.

    Args:
        probabilities: [A], over the answer list.
        answer_embeddings: [A, D], unit length.
        candidates: [C, D], unit length.
        sharpness: how fast the vote falls off.

    Returns:
        [C] scores above 0; higher is likelier.
    """
    similarity = candidates @ answer_embeddings.T  # [C, A]
    return ((similarity - 1) * sharpness).exp() @ probabilities
