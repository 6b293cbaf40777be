"""ViLT: a model that chooses from a list of answers, words and patches in one sequence."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from valm_core.asking import place_in_list
from valm_core.outputs import Answer
from valm_core.stopping import stop_if_unwanted
from valm_core.vision_language.answers import Written, normal_form
from valm_core.vision_language.geometry import Places, one_grid
from valm_core.vision_language.reader import PieceLikelihood, WordRows

if TYPE_CHECKING:
    from typing_extensions import Self


class ShortAnswers:
    """What readers of models without a prompt share, whose answers are short: they ask in the question's words alone.

    Args:
        folder: of the checkpoint.
        processor, model: their classes in transformers.
        device, dtype: of the model.
    """

    sees_words, gradients, relative = True, True, False
    asks = ""

    def __init__(self, folder: Path, processor: Any, model: Any, device: torch.device, dtype: torch.dtype):
        self.processor = processor.from_pretrained(folder)
        self.processor.tokenizer.split_special_tokens = True  # a typed [SEP] is a word
        self.model: Any = model.from_pretrained(folder, attn_implementation="eager", dtype=dtype).to(device).eval()

    def asked_by(self, prompt: str | None) -> "Self":
        """Itself: it has no prompt."""
        return self

    def written(self, picture: Image.Image, question: str, tell: Any = None, left: Any = None) -> Written | None:
        """None: its answers are short."""
        return None

    def as_written(self, answer: str) -> str:
        """A given answer in its normal form."""
        return normal_form(answer)


class LabelReader(ShortAnswers):
    """A ``Reader`` around ViLT fine-tuned for VQA (Kim et al. 2021, https://arxiv.org/abs/2102.03334).

    Its probabilities are sigmoids, each answer's own, so they don't sum to 1. Words read patches in the self-attention
    of every layer.
    """

    title = "ViLT"

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype):
        from transformers import ViltForQuestionAnswering, ViltProcessor

        super().__init__(folder, ViltProcessor, ViltForQuestionAnswering, device, dtype)
        names = self.model.config.id2label
        self.labels: list[str] = [names[place] for place in range(len(names))]

    def as_written(self, answer: str) -> str:
        """The label that a given answer means, however it is written; the answer itself where there is none."""
        if answer in self.labels:
            return answer
        form = normal_form(answer)
        return next((label for label in self.labels if normal_form(label) == form), answer)

    def inputs(self, pictures: Sequence[Image.Image], question: str) -> dict[str, Tensor]:
        """What the model gets, one row a photo, all of one size."""
        return encoder_inputs(self.processor, self.model, pictures, question)

    def places(self, picture: Image.Image) -> Places:
        """A grid of patches in the photo's shape; padding is dropped."""
        return one_grid(*self._grid(self.inputs([picture], "?")))

    def _grid(self, inputs: dict[str, Tensor]) -> tuple[int, int]:
        patch = self.model.config.patch_size
        seen = inputs["pixel_mask"][0, ::patch, ::patch]
        return int(seen[:, 0].sum()), int(seen[0].sum())

    @torch.no_grad()
    def _probabilities(self, pictures: Sequence[Image.Image], question: str) -> Tensor:
        stop_if_unwanted()
        return self.model(**self.inputs(pictures, question)).logits.float().sigmoid()  # [F, A]

    def answers(self, picture: Image.Image, question: str, top: int) -> tuple[Answer, ...]:
        """The likeliest answers of the list."""
        values, indices = self._probabilities([picture], question)[0].topk(min(top, len(self.labels)))
        return tuple(
            Answer(self.labels[index], value) for index, value in zip(indices.tolist(), values.tolist(), strict=True)
        )

    def first_answers(self, pictures: Sequence[Image.Image], question: str) -> list[str]:
        """The likeliest answer for each photo."""
        return [self.labels[index] for index in self._probabilities(pictures, question).argmax(dim=1).tolist()]

    def likelihood(self, pictures: Sequence[Image.Image], question: str, answer: str) -> PieceLikelihood:
        """An answer's probability for each photo. Raises UnknownAnswer."""
        place = place_in_list(answer, self.labels)
        probabilities = self._probabilities(pictures, question)[:, place].double().cpu().numpy()
        return PieceLikelihood(np.log(np.maximum(probabilities, 1e-30))[:, None], ())

    def word_rows(self, picture: Image.Image, question: str, answer: str, how: str) -> WordRows:
        """The text-to-image block of every layer's self-attention, one row a word of the question."""
        inputs = self.inputs([picture], question)
        embeddings = self.model.vilt.embeddings
        with torch.set_grad_enabled(how == "gradients"), _Returned(embeddings, "visual_embed") as returned:
            output = self.model(**inputs, output_attentions=True)
        rows = [layer[0] for layer in output.attentions]
        if how == "gradients":
            score = torch.nn.functional.logsigmoid(output.logits[0, place_in_list(answer, self.labels)].float())
            slopes = torch.autograd.grad(score, output.attentions)
            rows = [(row * slope[0]).clamp_min(0) for row, slope in zip(rows, slopes, strict=True)]
        _, _, (patch_index, padded_grid) = returned[0]  # ViLT draws its patches in a random order
        length = inputs["input_ids"].shape[1]
        block = torch.stack(rows)[:, :, :length, length + 1 :].detach().float()  # [L, H, T, patches]
        grid_rows, grid_columns = self._grid(inputs)
        down, across = patch_index[0].to(block.device).T
        maps = block.new_zeros(*block.shape[:3], *padded_grid)
        maps[..., down, across] = block
        cells = maps[..., :grid_rows, :grid_columns].flatten(3).cpu().numpy()  # [L, H, T, N]
        return WordRows(merged_words(cells, self.processor.tokenizer, question), 0)


def encoder_inputs(
    processor: Any, model: Any, pictures: Sequence[Image.Image], question: str, names: Sequence[str] = ()
) -> dict[str, Tensor]:
    """What an encoder gets for one question about photos of one size, one row a photo; ``names`` of it, or all."""
    made = [processor(images=one, text=question, truncation=True, return_tensors="pt") for one in pictures]
    inputs = {name: torch.cat([one[name] for one in made]).to(model.device) for name in names or made[0]}
    return inputs | {"pixel_values": inputs["pixel_values"].to(model.dtype)}


def merged_words(rows: np.ndarray, tokenizer: Any, question: str) -> np.ndarray:
    """Rows [L, H, T, N] of a question's tokens, special ones included -> [L, H, W, N] of its words."""
    read = tokenizer(question, truncation=True, return_offsets_mapping=True, return_special_tokens_mask=True)
    words = question.split()
    merged = np.zeros((*rows.shape[:2], len(words), rows.shape[3]), dtype=np.float32)
    for word in range(len(words)):
        pieces = [
            place
            for place, ((start, end), special) in enumerate(
                zip(read["offset_mapping"], read["special_tokens_mask"], strict=True)
            )
            if not special and end > start and len(question[:end].split()) - 1 == word
        ]
        if pieces:
            merged[:, :, word] = rows[:, :, pieces].mean(axis=2)
    return merged


class _Returned:
    """Within the block, everything that a method of one object returns is kept in the list that it gives."""

    def __init__(self, owner: Any, method: str):
        self.owner, self.method = owner, method
        self.returned: list[Any] = []

    def __enter__(self) -> list[Any]:
        original = getattr(self.owner, self.method)

        def kept(*arguments: Any, **named: Any) -> Any:
            self.returned.append(original(*arguments, **named))
            return self.returned[-1]

        setattr(self.owner, self.method, kept)  # on the object, over the class's own
        return self.returned

    def __exit__(self, *_: object) -> None:
        delattr(self.owner, self.method)
