"""Answer heads: from the fused vector to a score for every answer."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from valm_core.answers import YES_NO
from valm_core.model.fusion.attention import mean_token

ANSWER_KINDS = ("yes/no", "number", "other")
NEAREST_ANSWERS = 5  # whose mean a new answer starts from
VOTE_SHARPNESS = 12.0  # how fast an answer's vote for a candidate falls off with their distance


class AnswerHead(nn.Sequential):
    """Classify among a fixed list of answers: two linear layers with GELU and dropout between.

    Args:
        width: size D of the vector it reads.
        answers: length A of the answer list.
        dropout: probability, 0..1.
        hidden: size of the layer between; None for 2 D.
    """

    def __init__(self, width: int, answers: int, dropout: float = 0.0, hidden: int | None = None):
        hidden = hidden or 2 * width
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, answers))

    def forward(self, fused: Tensor) -> Tensor:
        """fused [B, D] -> logits [B, A]."""
        return super().forward(fused)


class QuestionHead(nn.Module):
    """What answers a question makes likely, photo unseen: a branch of its own beside the fusion.

    It learns from questions without photos, of which there are many more, and stays as it is while the fusion learns;
    the fusion then has to bring only what the photo adds to it, as in a product of experts with a question-only model
    (Clark et al. 2019, https://arxiv.org/abs/1909.03683), which here takes part in the answer.

    Args:
        width: size D of a question's tokens.
        answers: length A of the answer list.
        dropout: probability, 0..1.
    """

    POOLINGS, HIDDEN = 4, 512

    def __init__(self, width: int, answers: int, dropout: float = 0.0):
        super().__init__()
        self.pooling = nn.Linear(width, self.POOLINGS)
        self.hidden = nn.Linear(width * (self.POOLINGS + 1), self.HIDDEN)
        self.norm, self.dropout = nn.LayerNorm(self.HIDDEN), nn.Dropout(dropout)
        self.output = nn.Linear(self.HIDDEN, answers)
        self.balanced = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor, mask: Tensor, balanced: Tensor | None = None) -> Tensor:
        """Logits [B, A] of questions.

        Args:
            tokens: [B, T, D].
            mask: [B, T], True where a token is real.
            balanced: [B], True for rows whose photos were chosen so that the usual answer is wrong half the time; they
                have a likelihood of their own, so that they don't blur that of ordinary questions.
        """
        return self.logits(self.vector(self.pooled(tokens, mask), balanced))

    def pooled(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """A question's tokens as one vector [B, 5 D]: their mean, and four weighted means."""
        tokens = tokens.to(self.hidden.weight.dtype)
        weights = self.pooling(tokens).masked_fill(~mask[..., None], float("-inf")).softmax(dim=1)  # [B, T, 4]
        weighted = torch.einsum("btd,bth->bhd", tokens, weights.to(tokens)).flatten(1)  # [B, 4 D]
        return torch.cat([mean_token(tokens, mask), weighted], dim=-1)

    def vector(self, pooled: Tensor, balanced: Tensor | None = None) -> Tensor:
        """What the logits are read from: of ``pooled`` [B, 5 D] one vector [B, HIDDEN] a question."""
        if balanced is not None:  # shifts the mean
            width = len(self.balanced)
            mean = pooled[:, :width] + balanced[:, None].to(pooled.dtype) * self.balanced
            pooled = torch.cat([mean, pooled[:, width:]], dim=-1)
        return self.norm(nn.functional.gelu(self.hidden(pooled)))

    def logits(self, vector: Tensor) -> Tensor:
        """What ``vector`` gave [B, HIDDEN] -> logits [B, A]."""
        return self.output(self.dropout(vector))


class Glimpses(nn.Module):
    """What the words gather from the photo, beside the question: the vector that the answer head reads.

    Each head of the last text-to-image attention gives one glimpse: the mean of the cells' features under its map,
    which is averaged over the words by how much each counts in the fusion. Question and glimpse are multiplied
    (Hadamard product for low-rank bilinear pooling, Kim et al. 2017, https://arxiv.org/abs/1610.04325; several glimpses
    as in Kim et al. 2018, https://arxiv.org/abs/1805.07932). So the maps that people see carry the evidence itself.

    Args:
        question: size Q of a question's vector.
        cell: size C of a cell's features.
        fused: size D of the fused vector.
        heads: number H of attention heads.
        width: size W of a glimpse.
        dropout: probability, 0..1.
    """

    def __init__(self, question: int, cell: int, fused: int, heads: int, width: int, dropout: float = 0.0):
        super().__init__()
        self.width = width * (heads + 2) + fused  # of what comes out
        self.question = nn.Sequential(nn.Dropout(dropout), nn.Linear(question, width), nn.GELU())
        self.cell = nn.Sequential(nn.LayerNorm(cell), nn.Dropout(dropout), nn.Linear(cell, width), nn.GELU())
        self.norm, self.dropout = nn.LayerNorm(self.width), nn.Dropout(dropout)

    def features(self, cells: Tensor) -> Tensor:
        """Cells [B, N, C] -> what a glimpse takes from each [B, N, W]."""
        return self.cell(cells.to(self.norm.weight.dtype))

    def gather(self, question: Tensor, features: Tensor, maps: Tensor, words: Tensor, fused: Tensor) -> Tensor:
        """Question [B, Q], ``features`` of cells [B, N, W], maps [B, H, T, N], words' shares [B, T] and fused [B, D]
        -> what the answer head reads [B, width]."""
        shares = torch.einsum("bt,bhtn->bhn", words.to(maps), maps)
        glimpses = torch.einsum("bhn,bnw->bhw", shares, features.to(shares))
        asked = self.question(question)  # [B, W]
        products = (asked[:, None] * glimpses).flatten(1)  # [B, H W]
        return self.dropout(self.norm(torch.cat([asked, products, glimpses.sum(dim=1), fused], dim=-1)))


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


def answer_kind(answer: str) -> str:
    """One of ``ANSWER_KINDS``, as the VQA challenge sorts its questions by their answers."""
    if answer in YES_NO:
        return "yes/no"
    return "number" if re.fullmatch(r"\d+([.,]\d+)?", answer) else "other"


def calibrated(
    logits: Tensor, answers: Sequence[str], temperature: float, yes_no_temperature: float, asked: Tensor | None = None
) -> Tensor:
    """Probabilities that are right about as often as they say: the softmax of the logits over a temperature.

    One temperature can't serve a choice of two and one of thousands, which a model misjudges in opposite ways, so
    "yes" and "no" have their own (temperatures by class: Frenkel and Goldberger 2021, "Network calibration by
    class-based temperature scaling"). The order of the answers stays as it is.

    Args:
        logits: [.., A].
        answers: their A texts.
        temperature: above 0.
        yes_no_temperature: where "yes" or "no" is likeliest; 0 for the same one.
        asked: logits [.., A] whose likeliest answers choose the temperature in place of the logits' own, so that
            variants of one question are told by one scale.

    Returns:
        [.., A] in float32, each row with the sum 1.
    """
    chosen = (logits if asked is None else asked).argmax(dim=-1, keepdim=True)
    yes_no = torch.tensor([answers.index(text) for text in YES_NO if text in answers], device=logits.device)
    other = torch.full(chosen.shape, temperature, device=logits.device)
    temperatures = torch.where(torch.isin(chosen, yes_no), yes_no_temperature or temperature, other)  # [.., 1]
    return (logits.float() / temperatures).softmax(dim=-1)


def candidate_scores(probabilities: Tensor, answer_embeddings: Tensor, candidates: Tensor) -> Tensor:
    """Score any candidate answers, in the list or not, by how near in meaning they are to the likely answers.

    A kernel estimate over the answer list: every answer votes for a candidate with its probability times
    exp(VOTE_SHARPNESS * (cosine - 1)), which is 1 for the same text and falls off with distance.

    Args:
        probabilities: [A], over the answer list.
        answer_embeddings: [A, D], unit length.
        candidates: [C, D], unit length.

    Returns:
        [C] scores above 0; higher is likelier.
    """
    similarity = candidates @ answer_embeddings.T  # [C, A]
    return ((similarity - 1) * VOTE_SHARPNESS).exp() @ probabilities
