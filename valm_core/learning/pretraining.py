"""The pretraining objective: fill in masked words, tell matching photos from others, bring text and photo together."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valm_core.learning.losses import ContrastiveAlignment
from valm_core.model.model import ValmModel


@dataclass(frozen=True)
class PretrainingTerms:
    """The three losses, their sum ``total``, and how often the model was right (0..1); all scalars."""

    masked_language: Tensor
    matching: Tensor
    contrastive: Tensor
    total: Tensor
    masked_accuracy: Tensor
    matching_accuracy: Tensor


class MaskedLanguageHead(nn.Module):
    """Words for masked tokens: back to the text encoder's width, then compared with its own word embeddings.

    Args:
        width: size D of the fusion's tokens.
        embeddings: the text encoder's word embeddings [V, D_text]; shared, not copied.
    """

    def __init__(self, width: int, embeddings: nn.Embedding):
        super().__init__()
        text_width = embeddings.weight.shape[1]
        self.transform = nn.Sequential(nn.Linear(width, text_width), nn.GELU(), nn.LayerNorm(text_width))
        self.bias = nn.Parameter(torch.zeros(embeddings.weight.shape[0]))

    def forward(self, tokens: Tensor, embeddings: nn.Embedding) -> Tensor:
        """tokens [M, D] -> logits [M, V] over the vocabulary."""
        return F.linear(self.transform(tokens), embeddings.weight.to(tokens.dtype), self.bias)


class PretrainingObjective(nn.Module):
    """A model under three losses on statements (a question with its answer, or a caption) and their photos.

    - masked language: some tokens are hidden and must be named, with the photo in view (VisualBERT, Li et al. 2019,
      https://arxiv.org/abs/1908.03557). Answers are hidden more often than other words, since the photo tells them.
    - matching: the fused vector must tell a text's own photo from another one; the other is drawn among the most
      similar of the batch (ALBEF, Li et al. 2021, https://arxiv.org/abs/2107.07651).
    - contrastive: before the fusion, each text must find its photo in the batch, see ``ContrastiveAlignment``.

    Args:
        model: what learns. Its answer head takes no part and keeps its weights.
        word_probability, answer_probability: how often a token of the question or of the answer is hidden, 0..1.
    """

    def __init__(self, model: ValmModel, word_probability: float = 0.15, answer_probability: float = 0.5):
        super().__init__()
        self.model = model
        self.word_probability, self.answer_probability = word_probability, answer_probability
        self.masked_language = MaskedLanguageHead(model.config.width, self._word_embeddings)
        self.matching = nn.Linear(model.config.width, 2)
        self.contrastive = ContrastiveAlignment(model.config.width)
        for part in (model.head, model.glimpses):
            if part is not None:
                part.requires_grad_(False)

    @property
    def _word_embeddings(self) -> nn.Embedding:
        return self.model.text_encoder.backbone.get_input_embeddings()

    def forward(
        self,
        token_ids: Tensor,
        text_mask: Tensor,
        answer_mask: Tensor,
        photo_ids: Tensor,
        photo_index: Tensor,
        pixels: Tensor | None = None,
        image_tokens: Tensor | None = None,
    ) -> PretrainingTerms:
        """One batch of statements.

        Args:
            token_ids: [B, T].
            text_mask: [B, T], True where a token is real.
            answer_mask: [B, T], True where a token belongs to the answer.
            photo_ids: [B], equal where two rows are about the same photo.
            photo_index: [B], which of the P photos each row is about.
            pixels, image_tokens: [P, 3, S, S] or [P, N, D_image].

        Raises:
            ValueError: neither of the last two is given.
        """
        model = self.model
        if image_tokens is None:
            if pixels is None:
                raise ValueError("A batch of statements needs photos: give pixels or image_tokens.")
            image_tokens = model.encode_image(pixels).tokens
        image_tokens = image_tokens[photo_index]  # [B, N, D_image]
        masked_ids, hidden = self._hide(token_ids, text_mask, answer_mask)
        masked_text = model.encode_question(masked_ids, text_mask).tokens
        whole_text = model.encode_question(token_ids, text_mask).tokens
        grid = model.image_encoder.grid

        masked, image = model.project_words(masked_text), model.project_cells(image_tokens)
        features = model.fusion(masked, text_mask, image, grid)
        words = self.masked_language(features.text_tokens[hidden], self._word_embeddings)  # [M, V]
        masked_language = F.cross_entropy(words.float(), token_ids[hidden])

        text, image = model.project_words(whole_text), model.project_cells(image_tokens)
        text_vector = (text * text_mask[..., None]).sum(dim=1) / text_mask.sum(dim=1, keepdim=True)  # [B, D]
        image_vector = image.mean(dim=1)  # [B, D]
        contrastive = self.contrastive(text_vector, image_vector, photo_ids)

        other = self._hard_negatives(text_vector, image_vector, photo_ids)  # [B]
        right = model.fusion(text, text_mask, image, grid).fused
        wrong = model.fusion(text, text_mask, image[other], grid).fused
        scores = self.matching(torch.cat([right, wrong])).float()  # [2 B, 2]
        matches = torch.cat([photo_ids == photo_ids, photo_ids == photo_ids[other]]).long()  # [2 B]
        matching = F.cross_entropy(scores, matches)
        return PretrainingTerms(
            masked_language=masked_language,
            matching=matching,
            contrastive=contrastive,
            total=masked_language + matching + contrastive,
            masked_accuracy=(words.argmax(dim=-1) == token_ids[hidden]).float().mean(),
            matching_accuracy=(scores.argmax(dim=-1) == matches).float().mean(),
        )

    def _hide(self, token_ids: Tensor, text_mask: Tensor, answer_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Ids with some tokens hidden, and which [B, T]: 8 of 10 by the mask token, 1 by a random one, 1 left as it is.

        The proportions are BERT's (Devlin et al. 2019, https://arxiv.org/abs/1810.04805). At least one token is hidden.
        """
        tokenizer = self.model.tokenizer.tokenizer
        ordinary = text_mask & ~torch.isin(token_ids, torch.tensor(tokenizer.all_special_ids, device=token_ids.device))
        probability = torch.where(answer_mask, self.answer_probability, self.word_probability)
        hidden = ordinary & (torch.rand(token_ids.shape, device=token_ids.device) < probability)
        if not hidden.any():
            hidden = ordinary & (ordinary.flatten().cumsum(0).view_as(ordinary) == 1)
        kind = torch.rand(token_ids.shape, device=token_ids.device)
        random_ids = torch.randint(self._word_embeddings.num_embeddings, token_ids.shape, device=token_ids.device)
        replaced = torch.where(kind < 0.8, tokenizer.mask_token_id, torch.where(kind < 0.9, random_ids, token_ids))
        return torch.where(hidden, replaced, token_ids), hidden

    @torch.no_grad()
    def _hard_negatives(self, text_vector: Tensor, image_vector: Tensor, photo_ids: Tensor) -> Tensor:
        """For every row another row [B] whose photo looks fitting; itself only where the batch has one photo alone."""
        similarity = self.contrastive.similarity(text_vector, image_vector)  # [B, B]
        same_photo = photo_ids[:, None] == photo_ids[None, :]
        chances = similarity.softmax(dim=-1).clamp_min(1e-6).masked_fill(same_photo, 0)
        alone = chances.sum(dim=1) == 0
        chances[alone, alone.nonzero().flatten()] = 1.0
        return torch.multinomial(chances, 1).flatten()
