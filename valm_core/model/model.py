"""ValmModel: text encoder + image encoder -> fusion -> answers. Built by ``build``, kept by ``checkpoints.storage``."""

import copy
import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from PIL import Image
from torch import Tensor, nn
from transformers.utils import ModelOutput

from valm_core.inputs.photo import photo_to_pixels
from valm_core.inputs.question import QuestionTokenizer
from valm_core.model.encoders.concepts import photo_logits
from valm_core.model.encoders.frozen_parts import keep_frozen_parts_in_evaluation, learns
from valm_core.model.encoders.image_encoder import ImageEncoder
from valm_core.model.encoders.text_encoder import TextEncoder
from valm_core.model.fusion.streams import AttentionHead, heads_of
from valm_core.model.heads import AnswerHead, Glimpses, QuestionHead, calibrated, extended_layer
from valm_core.model.prepared_cells import PreparedCells
from valm_core.outputs import EncodedImage, EncodedText, FusedFeatures

if TYPE_CHECKING:
    from valm_core.config import ValmConfig
    from valm_core.model.fusion.bi_attention import WordCellSimilarity
    from valm_core.model.fusion.families import Fusion

EMBEDDED_AT_ONCE = 256  # texts


@dataclass
class ValmOutput(ModelOutput):
    """A forward pass. A ``ModelOutput``, so that accelerate converts mixed-precision outputs back to float32."""

    logits: Tensor | None = None  # [B, A]
    features: FusedFeatures | None = None


class ValmModel(nn.Module):
    """Answers questions about photos out of a fixed list of answers.

    Args:
        answers: the answer list, in the order of the logits, as shown to people.
        tokenizer, text_encoder, image_encoder: what reads questions and photos.
        text_projection, image_projection: from each encoder's width to the fusion's D.
        fusion: one of ``fusion.families.FUSIONS``.
        head: from what is read of the fusion to the answers' logits.
        similarity, glimpses, question_head: further parts; None for none.
        dropout: probability, 0..1, of tokens on their way into the fusion.
        concepts: names of the concepts that the image encoder looks for, in the order of its logits.
        pretrained_text_encoder: loads the text encoder as it came; None where there is none but ``text_encoder``.

    What can change after it was built are plain attributes: ``image_size`` S of the square that photos are fitted to,
    ``photo_detail``, both temperatures, ``neutral_yes_no`` and ``learned_text_layers`` (``config`` explains them).
    ``config`` notes what the whole was built from, for those who keep it; the model never reads it.
    ``build.reconfigure`` sets them all.
    """

    config: "ValmConfig"
    image_size: int
    photo_detail: int
    temperature: float
    yes_no_temperature: float
    neutral_yes_no: float
    learned_text_layers: int
    mean_image_token: Tensor
    similarity: "WordCellSimilarity | None"
    glimpses: Glimpses | None
    question_head: QuestionHead | None

    def __init__(
        self,
        answers: Sequence[str],
        *,
        tokenizer: QuestionTokenizer,
        text_encoder: TextEncoder,
        image_encoder: ImageEncoder,
        text_projection: nn.Linear,
        image_projection: nn.Linear,
        fusion: "Fusion",
        head: AnswerHead,
        similarity: "WordCellSimilarity | None" = None,
        glimpses: Glimpses | None = None,
        question_head: QuestionHead | None = None,
        dropout: float = 0.0,
        concepts: Sequence[str] = (),
        pretrained_text_encoder: Callable[[], TextEncoder] | None = None,
    ):
        super().__init__()
        self.answers = list(answers)
        self.concepts = tuple(concepts)
        self.pretrained_text_encoder = pretrained_text_encoder
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder
        self.image_encoder = image_encoder
        width = text_projection.out_features
        self.text_projection = text_projection
        self.image_projection = image_projection
        self.image_input_norm = nn.LayerNorm(image_projection.in_features)
        self.text_norm, self.image_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.fusion = fusion
        self.similarity = similarity
        self.glimpses = glimpses
        self.head = head
        self.question_head = question_head

        # The average image token of the training data: stands in for the whole photo in a blind answer.
        self.register_buffer("mean_image_token", torch.zeros(image_encoder.width))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.mean_image_token.device

    @property
    def has_glimpses(self) -> bool:
        """Whether the answer reads cells by the last text-to-image map too, see ``heads.Glimpses``."""
        return self.glimpses is not None and self.question_head is not None

    def probabilities(self, logits: Tensor, asked: Tensor | None = None) -> Tensor:
        """Calibrated probabilities [.., A] of logits [.., A]; ``asked`` is explained in ``heads.calibrated``."""
        return calibrated(logits, self.answers, self.temperature, self.yes_no_temperature, asked)

    def train(self, mode: bool = True) -> "ValmModel":
        """Switch to training; what is frozen in encoders and question head keeps dropout and batch statistics off."""
        super().train(mode)
        for part in (self.text_encoder, self.image_encoder, self.question_head):
            if part is not None:
                keep_frozen_parts_in_evaluation(part, mode)
        return self

    def encode_question(self, token_ids: Tensor, mask: Tensor) -> EncodedText:
        """token_ids [B, T], mask [B, T] -> the encoded questions."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns(self.text_encoder)):
            return self.text_encoder(token_ids, mask)

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """pixels [B, 3, S, S] in 0..1 -> the encoded photos; reusable for any number of questions."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns(self.image_encoder)):
            tokens, concepts = self.image_encoder.tokens(self.image_encoder.features(pixels))
        with torch.no_grad():
            shown = None if concepts is None else photo_logits(concepts)
        return EncodedImage(tokens, self.image_encoder.grid, concept_logits=shown)

    def prepare(self, image_tokens: Tensor, grid: tuple[int, int]) -> PreparedCells:
        """What can be made of photos' tokens [P, N, D_image] before any question is asked about them."""
        cells = image_tokens.to(self.image_projection.weight.dtype)
        return PreparedCells(
            self.project_cells(cells),
            None if self.similarity is None else self.similarity.matched(cells),
            None if self.glimpses is None else self.glimpses.features(cells),
            grid,
        )

    def compare(self, text_tokens: Tensor, cells: PreparedCells) -> PreparedCells:
        """The cells, compared with the words [B, T, D_text] of their questions; as they are where that was done."""
        if self.similarity is None or cells.matched is None:
            return cells
        words = text_tokens.to(self.text_projection.weight.dtype)
        similar = self.similarity.compared(words, cells.matched).transpose(1, 2)  # [B, N, T]
        return dataclasses.replace(cells, matched=None, similar=similar)

    def blind_image(self) -> EncodedImage:
        """What stands for an unseen photo: the average token of the training photos, as a grid of one cell."""
        return EncodedImage(self.mean_image_token[None, None], (1, 1))

    def forward(
        self,
        text_mask: Tensor,
        token_ids: Tensor | None = None,
        text_tokens: Tensor | None = None,
        pixels: Tensor | None = None,
        image_tokens: Tensor | None = None,
        photo_index: Tensor | None = None,
        return_attention: bool = False,
        masked_heads: Collection[AttentionHead] = (),
        balanced: Tensor | None = None,
        fixed_prior: bool = False,
        cells: PreparedCells | None = None,
    ) -> ValmOutput:
        """Score every answer.

        Each side comes raw or already encoded: give ``token_ids`` [B, T] or ``text_tokens`` [B, T, D_text], and
        ``pixels`` [P, 3, S, S], ``image_tokens`` [P, N, D_image] or ``cells`` of B photos as ``prepare`` makes them;
        with none of the last three the photo is replaced by the average of the training photos (a blind answer).

        Args:
            text_mask: [B, T], True where a text token is real.
            photo_index: [B], which of the P photos each question is about; None where P = B, one photo a question.
            return_attention: compute all attention explicitly and return it in ``features.attention``.
            masked_heads: attention heads of the fusion that add nothing, each (step, layer, head); steps are the
                fusion's ``STEPS``.
            balanced: [B], see ``heads.QuestionHead``; for training rows of such data alone.
            fixed_prior: give the question head no gradient, so that the photo has to bring what it adds to it.

        Raises:
            ValueError: neither ``token_ids`` nor ``text_tokens`` is given.
        """
        text_tokens = self.text_encoder.read(text_mask, token_ids, text_tokens)
        if cells is None:
            grid = self.image_encoder.grid
            if image_tokens is None and pixels is not None:
                image_tokens = self.encode_image(pixels).tokens
            elif image_tokens is None:
                image_tokens, grid = self.blind_image().tokens, (1, 1)
                photo_index = text_mask.new_zeros(len(text_mask), dtype=torch.long)
            cells = self.prepare(image_tokens, grid)
            if photo_index is not None:
                cells = cells.of(photo_index)  # of P photos -> of B
        explicit = return_attention or (self.glimpses is not None and self.similarity is None)
        features = self.fuse(text_tokens, text_mask, cells, explicit, masked_heads)
        logits = self.score(features, text_tokens, text_mask, cells, balanced, masked_heads, fixed_prior)
        return ValmOutput(logits, features if return_attention else dataclasses.replace(features, attention=()))

    def fuse(
        self,
        text_tokens: Tensor,
        text_mask: Tensor,
        cells: PreparedCells,
        return_attention: bool = False,
        masked_heads: Collection[AttentionHead] = (),
    ) -> FusedFeatures:
        """Encoder tokens [B, T, D_text] and the cells of B photos -> what the fusion makes of them."""
        similar = self.compare(text_tokens, cells).similar
        fused = self.project_words(text_tokens), text_mask, cells.projected, cells.grid, return_attention, masked_heads
        return self.fusion(*fused) if similar is None else self.fusion(*fused, similar.transpose(1, 2))  # [B, T, N]

    def score(
        self,
        features: FusedFeatures,
        text_tokens: Tensor,
        text_mask: Tensor,
        cells: PreparedCells,
        balanced: Tensor | None = None,
        masked_heads: Collection[AttentionHead] = (),
        fixed_prior: bool = False,
    ) -> Tensor:
        """Logits [B, A] of fused features (with attention) and what they were fused from; see ``forward``."""
        if self.question_head is None:
            return self.head(features.fused)
        if balanced is None and self.neutral_yes_no:
            balanced = text_tokens.new_full(text_tokens.shape[:1], self.neutral_yes_no)  # no len: exports follow it
        pooled = self.question_head.pooled(text_tokens, text_mask)
        read, question = features.fused, self.question_head.vector(pooled, balanced)
        if self.glimpses is not None and cells.glimpsed is not None:
            last = features.attention[features.last_text_to_image]
            maps, masked = last.weights, heads_of(masked_heads, "text_to_image", last.layer)
            if masked:
                maps = maps.index_fill(1, torch.tensor(masked, device=maps.device), 0.0)
            plain = question if balanced is None else self.question_head.vector(pooled)
            read = self.glimpses.gather(plain, cells.glimpsed, maps, features.text_pooling, read)
        prior = self.question_head.logits(question)
        return self.head(read) + (prior.detach() if fixed_prior else prior)

    def question_logits(
        self,
        text_mask: Tensor,
        token_ids: Tensor | None = None,
        text_tokens: Tensor | None = None,
        balanced: Tensor | None = None,
    ) -> Tensor:
        """What the question head alone makes of questions: logits [B, A]; arguments and errors as of ``forward``.

        The model must have a question head.
        """
        head = cast(QuestionHead, self.question_head)
        return head(self.text_encoder.read(text_mask, token_ids, text_tokens), text_mask, balanced)

    def project_words(self, text_tokens: Tensor) -> Tensor:
        """Bring the text encoder's tokens [B, T, D_text] to the width of the fusion [B, T, D]."""
        text_tokens = text_tokens.to(self.text_projection.weight.dtype)
        return self.dropout(self.text_norm(self.text_projection(text_tokens)))

    def project_cells(self, image_tokens: Tensor) -> Tensor:
        """Bring the image encoder's tokens [B, N, D_image] to the width of the fusion [B, N, D].

        The semantic part of an image token lives in the text encoder's space, so it goes through the text's projection:
        a word and a cell that shows it start out alike.
        """
        image_tokens = image_tokens.to(self.image_projection.weight.dtype)
        appearance = image_tokens[..., : self.image_encoder.feature_width]
        image = self.image_projection(self.image_input_norm(appearance))
        if self.image_encoder.semantic_width:
            image = image + self.text_projection(image_tokens[..., self.image_encoder.feature_width :])
        return self.dropout(self.image_norm(image))

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> Tensor:
        """One unit vector [len(texts), D_text] a text, cut where it is too long; the model in evaluation mode.

        Layers that learned what questions ask for no longer say what texts have in common, so a packaged text encoder
        with ``learned_text_layers`` does it as it came.
        """
        encoder = self._embedder()
        batches = (
            self.tokenizer(texts[first : first + EMBEDDED_AT_ONCE], True)
            for first in range(0, len(texts), EMBEDDED_AT_ONCE)
        )
        return torch.cat([encoder.embed(ids.to(self.device), mask.to(self.device)) for ids, mask in batches])

    def _embedder(self) -> TextEncoder:
        """What embeds texts; loaded at the first call where it isn't the text encoder, and no part of the state."""
        if not self.learned_text_layers or self.pretrained_text_encoder is None:
            return self.text_encoder
        if "_embedding_encoder" not in self.__dict__:
            self.__dict__["_embedding_encoder"] = self.pretrained_text_encoder().requires_grad_(False).eval()
        return self.__dict__["_embedding_encoder"].to(self.device)

    def pixels(self, photo: Image.Image) -> Tensor:
        """An RGB ``PIL.Image`` -> pixels [3, S, S] in 0..1."""
        return photo_to_pixels(photo, self.image_size, self.photo_detail)


@torch.no_grad()
def extend_answers(model: ValmModel, new_answers: list[str]) -> ValmModel:
    """A copy of a model with a longer answer list.

    The old answers keep their places and their weights to the bit, so their logits stay, but for the rounding of a
    matrix product of another size (the seventh digit). Each new answer starts from the old ones nearest in meaning (by
    text embedding) and with a low bias, see ``heads.extended_layer``: untrained, it hardly ever comes first.

    Args:
        model: without adapters.
        new_answers: as shown to people, in the order of the new logits; none of them in the list yet.

    Raises:
        ValueError: an answer is given twice or is in the list already.
    """
    answers = model.answers + list(new_answers)
    if twice := [answer for place, answer in enumerate(answers) if answer in answers[:place]]:
        raise ValueError(f"{twice[0]!r} would be in the answer list twice; give only answers that it lacks, each once.")
    extended = copy.deepcopy(model)
    if not new_answers:
        return extended
    was_training = extended.training
    extended.eval()
    embedded = extended.embed_texts(answers)  # [A + n, D_text]
    old, new = embedded[: len(model.answers)], embedded[len(model.answers) :]
    extended.head[-1] = extended_layer(cast(nn.Linear, model.head[-1]), new @ old.T)
    if extended.question_head is not None and model.question_head is not None:
        extended.question_head.output = extended_layer(model.question_head.output, new @ old.T)
    extended.answers = answers
    return extended.train(was_training)
