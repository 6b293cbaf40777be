"""ReadModel: a question and a page of words with places in, where the answer begins and ends out."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valm_core.model.encoders.encoder_layers import encoder_layers
from valm_core.model.encoders.two_encoders import Encoders, TwoEncoders
from valm_core.model.fusion.attention import FeedForward
from valm_core.model.tasks.tagger import WrittenForm, mean_of_words

FREQUENCIES = 8  # of sines and cosines, for each edge of a box
PLACE_SIZE = 6 * 2 * FREQUENCIES  # four edges, width and height
BUCKETS = 32  # of distances between words, on a logarithmic scale
NEAREST, FARTHEST = 1 / 200, 1.0  # distances of the first and last bucket, shares of the page
IMPOSSIBLE = -1e4
READING = 2  # layers of the text encoder that read a line; what it says as a whole matters little on a receipt
MAX_ANSWER_WORDS = 60  # of an answer


class LayoutLayer(nn.Module):
    """One pre-norm transformer layer over words, whose attention also weighs how they lie to each other.

    That bias by distance is that of LayoutLMv2 (Xu et al. 2021, https://arxiv.org/abs/2012.14740).

    Args:
        width: size D of a word, a multiple of ``heads``.
        heads: attention heads H.
        ratio: the feed-forward block is this many times wider.
        dropout: probability, 0..1.
    """

    def __init__(self, *, width: int, heads: int, ratio: float, dropout: float):
        super().__init__()
        self.heads = heads
        self.norm, self.forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed_forward = FeedForward(width, ratio, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: Tensor, bias: Tensor) -> Tensor:
        """words [P, W, D], and what is added to their attention [P, H, W, W] -> words."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.query_key_value(self.norm(words)).chunk(3, dim=-1)
        )  # [P, H, W, D/H]
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        words = words + self.dropout(self.output(read.transpose(1, 2).flatten(2)))
        return words + self.dropout(self.feed_forward(self.forward_norm(words)))


class ReadModel(TwoEncoders):
    """Finds the answer to a question among the words of a page.

    Each line is read alone by the first layers of the text encoder; how words are written and where they stand joins;
    layers over the whole page relate them; a question then picks, for every word, how well an answer begins and ends
    there.

    Args:
        encoders: the text encoder is of BERT's kind; no photo is encoded.
        width: size D of a word.
        layers: how many ``LayoutLayer``.
        heads, feed_forward_ratio, dropout: as in ``LayoutLayer``.
    """

    def __init__(
        self, encoders: Encoders, *, width: int, layers: int, heads: int, feed_forward_ratio: float, dropout: float
    ):
        super().__init__(encoders)
        self.width = width
        self.written = WrittenForm(dropout)
        self.word_projection = nn.Linear(self.text_encoder.width + self.written.width, width)
        self.place_projection = nn.Linear(PLACE_SIZE, width)
        places = layers * heads
        self.across, self.down = nn.Embedding(BUCKETS, places), nn.Embedding(BUCKETS, places)
        self.input_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            LayoutLayer(width=width, heads=heads, ratio=feed_forward_ratio, dropout=dropout) for _ in range(layers)
        )
        self.question = nn.Sequential(nn.Linear(self.text_encoder.width, width), nn.GELU(), nn.Linear(width, 2 * width))
        self.answer_words = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.norm.weight.device

    def encode_words(self, token_ids: Tensor, text_mask: Tensor, word_index: Tensor, word_mask: Tensor) -> Tensor:
        """What the text encoder says of the words of S lines, each read alone: [V, D_text], line after line.

        Arguments as of ``TagModel.forward``; V words have a True in ``word_mask``.
        """
        with torch.no_grad():
            tokens = self.text_encoder.backbone.embeddings(input_ids=token_ids)
            for layer in encoder_layers(self.text_encoder)[:READING]:
                tokens = layer(tokens, text_mask[:, None, None])  # [B, 1, 1, T]
        return mean_of_words(tokens, word_index, word_mask.numel())[word_mask.flatten()]

    def encode_questions(self, questions: list[str]) -> Tensor:
        """Questions -> vectors [R, D_text] with numbers about 1 in size."""
        ids, mask = self.tokenizer(questions, truncate=True)
        return self.text_encoder.embed(ids.to(self.device), mask.to(self.device)) * self.text_encoder.width**0.5

    def forward(
        self,
        text: Tensor,
        letters: Tensor,
        shapes: Tensor,
        boxes: Tensor,
        mask: Tensor,
        questions: Tensor,
        page_index: Tensor | None = None,
    ) -> Tensor:
        """Scores [R, 2, W] of R questions: how well an answer begins, and ends, at each word of its page.

        Args:
            text: [P, W, D_text], see ``encode_words``.
            letters, shapes: [P, W, C] and [P, W, F], how each word is written, see ``inputs.word_shapes``.
            boxes: [P, W, 4], in 0..1.
            mask: [P, W], True for words that are there; others are seen by none.
            questions: [R, D_text], see ``encode_questions``.
            page_index: [R], the page of each question; None where R = P, one a page.
        """
        words = self.encode_pages(text, letters, shapes, boxes, mask)
        begins, ends = self.answer_words(words).chunk(2, dim=-1)  # each [P, W, D]
        asked = torch.stack(self.question(questions).chunk(2, dim=-1), dim=1)  # [R, 2, D]
        both = torch.stack([begins, ends], dim=1)  # [P, 2, W, D]
        if page_index is not None:
            both, mask = both[page_index], mask[page_index]
        scores = torch.einsum("rkwd,rkd->rkw", both, asked) / self.width**0.5
        return scores.float().masked_fill(~mask[:, None], IMPOSSIBLE)

    def encode_pages(self, text: Tensor, letters: Tensor, shapes: Tensor, boxes: Tensor, mask: Tensor) -> Tensor:
        """The words [P, W, D] of pages, each in the light of all others; arguments as of ``forward``."""
        written = self.written(letters.flatten(0, 1), shapes.flatten(0, 1)).unflatten(0, letters.shape[:2])
        words = self.word_projection(self.dropout(torch.cat([text.to(written.dtype), written], dim=-1)))
        words = self.dropout(self.input_norm(words + self.place_projection(place_features(boxes))))
        across, down = distance_buckets(boxes)
        bias = (self.across(across) + self.down(down)).permute(3, 0, 1, 2)  # [L * H, P, W, W]
        bias = bias.masked_fill(~mask[None, :, None], IMPOSSIBLE).unflatten(0, (len(self.layers), -1))
        for layer, own in zip(self.layers, bias, strict=True):
            words = layer(words, own.transpose(0, 1))
        return self.norm(words)


def place_features(boxes: Tensor) -> Tensor:
    """Sines and cosines [..., PLACE_SIZE] of boxes [..., 4]: their edges, width and height, at growing frequencies."""
    sizes = boxes[..., 2:] - boxes[..., :2]
    frequencies = torch.pi * 2.0 ** torch.arange(FREQUENCIES, device=boxes.device)
    angles = torch.cat([boxes, sizes], dim=-1)[..., None] * frequencies  # [..., 6, FREQUENCIES]
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def distance_buckets(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """How far each word lies from each other, across by left edges and down by middles: numbers [P, W, W] of buckets.

    The first half of the buckets is for words to the left or above, the second for those to the right or below.
    """
    left, middle = boxes[..., 0], (boxes[..., 1] + boxes[..., 3]) / 2
    return tuple(_bucket(values[:, None, :] - values[:, :, None]) for values in (left, middle))  # type: ignore[return-value]


def _bucket(distance: Tensor) -> Tensor:
    half = BUCKETS // 2
    scale = (half - 1) / torch.log(torch.tensor(FARTHEST / NEAREST))
    size = (1 + torch.log(distance.abs().clamp(min=NEAREST) / NEAREST) * scale).floor().clamp(max=half - 1)
    size = torch.where(distance.abs() < NEAREST, torch.zeros_like(size), size)
    return (size + half * (distance > 0)).long()


def span_scores(scores: Tensor, most: int = MAX_ANSWER_WORDS) -> Tensor:
    """Scores [R, 2, W] of beginnings and ends -> the log-probability [R, W, W] of each span, by first and last word.

    A span ends where it begins or later and has ``most`` words at most; all others have no probability.
    """
    words = scores.shape[-1]
    pairs = scores[:, 0, :, None] + scores[:, 1, None, :]
    allowed = torch.ones(words, words, dtype=torch.bool, device=scores.device).triu().tril(most - 1)
    return pairs.masked_fill(~allowed, 2 * IMPOSSIBLE).flatten(1).log_softmax(dim=-1).unflatten(1, (words, words))


def best_spans(scores: Tensor, most: int = MAX_ANSWER_WORDS) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest span of each question: first word [R], last word [R] and log-probability [R]."""
    likely = span_scores(scores, most)
    value, place = likely.flatten(1).max(dim=1)
    return place // likely.shape[-1], place % likely.shape[-1], value
