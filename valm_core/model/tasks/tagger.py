"""TagModel: one label a word, from the text encoder's tokens, how the word is written, and perhaps a photo."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from valm_core.inputs.word_shapes import LETTER_IDS, SHAPES
from valm_core.model.encoders.encoder_layers import encoder_layers
from valm_core.model.encoders.two_encoders import Encoders
from valm_core.model.fusion.fused_encoders import FusedEncoders, FusionParts
from valm_core.model.tasks.label_chain import LabelChain
from valm_core.model.tasks.span_labels import transitions_of
from valm_core.outputs import AttentionMap

LETTER_WIDTH, WRITTEN_WIDTH, HEAD_WIDTH = 32, 96, 256
LETTERS_AT_ONCE = 3  # that a filter of the letters sees


class WrittenForm(nn.Module):
    """A vector for how a word is written: filters over its letters (Ma & Hovy 2016, P16-1101) and its shapes.

    Args:
        dropout: probability, 0..1.
    """

    width = WRITTEN_WIDTH + len(SHAPES)

    def __init__(self, dropout: float):
        super().__init__()
        self.letters = nn.Embedding(LETTER_IDS + 1, LETTER_WIDTH, padding_idx=0)
        self.filters = nn.Conv1d(LETTER_WIDTH, WRITTEN_WIDTH, LETTERS_AT_ONCE, padding=LETTERS_AT_ONCE // 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, letters: Tensor, shapes: Tensor) -> Tensor:
        """letters [W, C] and shapes [W, F] -> [W, width]."""
        different, place = torch.unique(letters, dim=0, return_inverse=True)  # words come again and again
        read = self.filters(self.dropout(self.letters(different)).transpose(1, 2))  # [different, D, C]
        read = read.masked_fill((different == 0)[:, None], 0.0)  # relu's least, so that padding is never the greatest
        return torch.cat([torch.relu(read).amax(dim=2)[place], shapes.to(read.dtype)], dim=1)


@dataclass(frozen=True)
class TagReading:
    """``logits`` [S, W, K] of each word's labels, and the fusion's maps, empty unless asked for."""

    logits: Tensor
    attention: tuple[AttentionMap, ...]


class TagModel(FusedEncoders):
    """Labels the words of sentences, several of which may be read side by side as each other's context.

    How a word is written joins its pieces before the layers of the text encoder that learn, so that these can weigh
    capitals, which an uncased encoder doesn't see; and again before the head.

    Args:
        encoders, parts, dropout, options: as of ``FusedEncoders``; the text encoder is of BERT's kind.
        answers: all labels, in the order of the logits, in BIO form.
    """

    def __init__(
        self, encoders: Encoders, parts: FusionParts, answers: Sequence[str], *, dropout: float, **options: int
    ):
        super().__init__(encoders, parts, answers, dropout=dropout, **options)
        transitions = torch.from_numpy(transitions_of(answers))  # refuses what isn't of BIO form
        self.written = WrittenForm(dropout)
        self.written_projection = nn.Linear(self.written.width, self.text_encoder.width)
        nn.init.zeros_(self.written_projection.weight)  # the encoder begins as it was
        nn.init.zeros_(self.written_projection.bias)
        self.head = nn.Sequential(
            nn.Linear(self.width + self.written.width, HEAD_WIDTH),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(HEAD_WIDTH, len(answers)),
        )
        self.chain = LabelChain(transitions)
        for layer in encoder_layers(self.text_encoder):  # with dropout, attention has no fast way on a CPU
            for name, module in layer.named_modules():
                if name.endswith("attention.self.dropout"):
                    module.p = 0.0

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.chain.steps.device

    def forward(
        self,
        token_ids: Tensor,
        text_mask: Tensor,
        word_index: Tensor,
        word_mask: Tensor,
        letters: Tensor,
        shapes: Tensor,
        **photos: Any,
    ) -> TagReading:
        """Score the labels of S sentences' words.

        Args:
            token_ids, text_mask: [B, T], windows of text; each holds one sentence or several in a row.
            word_index: [B, T], for each piece 1 + the place of its word in ``word_mask``, row after row; 0 for pieces
                of no word.
            word_mask: [S, W], True for words, at the beginning of each row.
            letters, shapes: [V, C] and [V, F], how each of the V words is written, in that order without the gaps, see
                ``inputs.word_shapes``.
            photos: ``pixels``, ``image_tokens``, ``photo_index``, ``return_attention``, see ``FusedEncoders.encode``.
        """
        written = self.written(letters, shapes)  # [V, D_written]
        spread = written.new_zeros(word_mask.numel() + 1, written.shape[1])
        spread = spread.index_copy(0, 1 + word_mask.flatten().nonzero().squeeze(1), written)  # the first is of no word
        tokens = self.read_pieces(token_ids, text_mask, spread[word_index])
        features = self.encode(text_mask, text_tokens=tokens, **photos)
        words = mean_of_words(features.text_tokens, word_index, word_mask.numel())  # [S * W, D]
        logits = self.head(torch.cat([words, self.dropout(spread[1:])], dim=1))
        return TagReading(logits.unflatten(0, word_mask.shape), features.attention)

    def read_pieces(self, token_ids: Tensor, mask: Tensor, written: Tensor) -> Tensor:
        """The text encoder's tokens [B, T, D_text] of token ids and mask [B, T].

        How the pieces' words are written [B, T, D_written] (0 where there is none) joins before the layers that learn.
        """
        layers = encoder_layers(self.text_encoder)
        learned = self.learned_text_layers
        open_places = mask[:, None, None]  # [B, 1, 1, T]
        with torch.set_grad_enabled(torch.is_grad_enabled() and learned == len(layers)):
            tokens = self.text_encoder.backbone.embeddings(input_ids=token_ids)
            for layer in layers[: len(layers) - learned]:
                tokens = layer(tokens, open_places)
        of_words = written.any(dim=-1, keepdim=True)
        tokens = tokens + self.written_projection(self.dropout(written)) * of_words
        for layer in layers[len(layers) - learned :]:
            tokens = layer(tokens, open_places)
        return tokens


def mean_of_words(tokens: Tensor, word_index: Tensor, words: int) -> Tensor:
    """The mean [words, D] of each word's pieces; zeros where it has none.

    Args:
        tokens: [B, T, D].
        word_index: [B, T], 1 + the number of each piece's word, 0 for none.
        words: how many.
    """
    places, flat = word_index.flatten(), tokens.flatten(0, 1)
    sums = flat.new_zeros(words + 1, flat.shape[1]).index_add(0, places, flat)
    counts = flat.new_zeros(words + 1).index_add(0, places, flat.new_ones(len(places)))
    return (sums / counts.clamp(min=1)[:, None])[1:]
