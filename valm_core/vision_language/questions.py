"""BLIP for VQA: the question's own encoder reads the photo by cross-attention, and a decoder writes the answer."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from valm_core.outputs import Answer
from valm_core.stopping import stop_if_unwanted
from valm_core.vision_language.answers import BEAMS, MAX_NEW_TOKENS, Written, merged, normal_form
from valm_core.vision_language.geometry import Places, one_grid
from valm_core.vision_language.labels import ShortAnswers, encoder_inputs, merged_words
from valm_core.vision_language.reader import PieceLikelihood, WordRows

PICTURES_AT_ONCE = 8  # in one forward pass; between two of them it may stop


class QuestionReader(ShortAnswers):
    """A ``Reader`` around BLIP fine-tuned for VQA (Li et al. 2022, https://arxiv.org/abs/2201.12086)."""

    title = "BLIP (VQA)"
    labels: list[str] = []  # noqa: RUF012  (never written to)

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype):
        from transformers import BlipForQuestionAnswering, BlipProcessor

        super().__init__(folder, BlipProcessor, BlipForQuestionAnswering, device, dtype)

    def inputs(self, pictures: Sequence[Image.Image], question: str) -> dict[str, Tensor]:
        """What the model gets, one row a photo."""
        names = ("pixel_values", "input_ids", "attention_mask")
        return encoder_inputs(self.processor, self.model, pictures, question, names)

    def places(self, picture: Image.Image) -> Places:
        """The photo stretched to a square of patches."""
        height, width = self.inputs([picture], "?")["pixel_values"].shape[-2:]
        patch = self.model.config.vision_config.patch_size
        return one_grid(height // patch, width // patch, before=1)

    def _write(self, pictures: Sequence[Image.Image], question: str, beams: int) -> list[list[Written]]:
        parts = range(0, len(pictures), PICTURES_AT_ONCE)
        return [
            one for first in parts for one in self._written(pictures[first : first + PICTURES_AT_ONCE], question, beams)
        ]

    @torch.no_grad()
    def _written(self, pictures: Sequence[Image.Image], question: str, beams: int) -> list[list[Written]]:
        stop_if_unwanted()
        made = self.model.generate(
            **self.inputs(pictures, question),
            num_beams=beams,
            num_return_sequences=beams,
            **({"length_penalty": 0.0} if beams > 1 else {}),  # a beam's score is the log-probability of its text
            do_sample=False,
            max_new_tokens=MAX_NEW_TOKENS,
            return_dict_in_generate=True,
            output_scores=True,
        )
        texts = self.processor.batch_decode(made.sequences, skip_special_tokens=True)
        scores = made.sequences_scores.tolist() if beams > 1 else [math.nan] * len(texts)
        written = [Written(text, (), math.exp(score)) for text, score in zip(texts, scores, strict=True)]
        return [written[first : first + beams] for first in range(0, len(written), beams)]

    def answers(self, picture: Image.Image, question: str, top: int) -> tuple[Answer, ...]:
        """The likeliest answers by beams, those of one normal form as one."""
        return merged(self._write([picture], question, max(BEAMS, top))[0], top)

    def first_answers(self, pictures: Sequence[Image.Image], question: str) -> list[str]:
        """What it writes first, greedily, for each photo."""
        return [normal_form(one[0].text) for one in self._write(pictures, question, 1)]

    def _read(self, inputs: dict[str, Tensor], attentions: bool) -> Any:
        patches = self.model.vision_model(inputs["pixel_values"]).last_hidden_state
        return self.model.text_encoder(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            encoder_hidden_states=patches,
            output_attentions=attentions,
        )

    def _log_probabilities(self, read: Any, inputs: dict[str, Tensor], answer: str) -> Tensor:
        """[B, P + 1]: of an answer's pieces and its end, given the question as it was read."""
        ids = self.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
        device, batch = inputs["input_ids"].device, len(inputs["input_ids"])
        whole = [self.model.decoder_start_token_id, *ids, self.model.config.text_config.sep_token_id]
        tokens = torch.tensor([whole], device=device).expand(batch, -1)
        logits = self.model.text_decoder(
            input_ids=tokens[:, :-1],
            encoder_hidden_states=read.last_hidden_state,
            encoder_attention_mask=inputs["attention_mask"],
        ).logits.float()
        return logits.log_softmax(dim=-1).gather(2, tokens[:, 1:, None])[..., 0]

    @torch.no_grad()
    def likelihood(self, pictures: Sequence[Image.Image], question: str, answer: str) -> PieceLikelihood:
        """How likely an answer is for each photo."""
        pieces = []
        for first in range(0, len(pictures), PICTURES_AT_ONCE):
            stop_if_unwanted()
            inputs = self.inputs(pictures[first : first + PICTURES_AT_ONCE], question)
            pieces.append(self._log_probabilities(self._read(inputs, False), inputs, answer))
        return PieceLikelihood(torch.cat(pieces).double().cpu().numpy(), ())

    def word_rows(self, picture: Image.Image, question: str, answer: str, how: str) -> WordRows:
        """The cross-attention of every layer of the question's encoder, one row a word of the question."""
        inputs = self.inputs([picture], question)
        with torch.set_grad_enabled(how == "gradients"):
            read = self._read(inputs, True)
            rows = [layer[0] for layer in read.cross_attentions]
            if how == "gradients":
                score = self._log_probabilities(read, inputs, answer).sum()
                slopes = torch.autograd.grad(score, read.cross_attentions)
                rows = [(row * slope[0]).clamp_min(0) for row, slope in zip(rows, slopes, strict=True)]
        cells: np.ndarray = torch.stack(rows)[..., 1:].detach().float().cpu().numpy()  # without the class token
        return WordRows(merged_words(cells, self.processor.tokenizer, question), 0)
