"""Answer heads: from the fused vector to a score for every answer."""

from torch import Tensor, nn


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
