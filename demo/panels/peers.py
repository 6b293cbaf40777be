"""Other models beside ours on the same photo and question: VALM checkpoints, ViLT and BLIP, by folder or hub name."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from demo.languages.translate import say
from demo.rendering.wording import method_name
from valm_core.inputs.question import clean_question
from valm_core.outputs import Answer, Explanation, Predictor
from valm_core.predictor import VqaPredictor

TOP = 5
MAX_ANSWER_CHARACTERS = 10  # tokens that BLIP may write


@dataclass(frozen=True, eq=False)
class Answered:
    """What one model says: its likeliest answers, where it looked as a whole, and how that map was made."""

    name: str
    answers: tuple[Answer, ...]
    explanation: Explanation
    note: str


class ValmPeer:
    """A VALM checkpoint: its ``name`` for people, and the ``predictor`` that answers."""

    def __init__(self, name: str, predictor: Predictor):
        self.name, self.predictor = name, predictor

    def ask(self, photo: Image.Image, question: str) -> Answered:
        """Answer and explain. Raises InputError."""
        encoded = self.predictor.encode(photo)
        prediction = self.predictor.answer(encoded, question, TOP)
        explanation = self.predictor.explain(encoded, question, answer=prediction.answers[0].text)
        note = say("map: {method}", method=method_name(explanation.method))
        return Answered(self.name, prediction.answers, explanation, note)


class ViltPeer:
    """ViLT fine-tuned for VQA (Kim et al. 2021, https://arxiv.org/abs/2102.03334), from a folder or the hub.

    Its transformer reads words and patches as one sequence; the map is the text-to-image block of the last layer's
    self-attention, the mean over heads and words. Its probabilities are sigmoids, so they don't sum to 1.
    """

    def __init__(self, name: str, location: str):
        from transformers import ViltForQuestionAnswering, ViltProcessor

        self.name = name
        self.processor = ViltProcessor.from_pretrained(location)
        self.processor.tokenizer.split_special_tokens = True  # a typed [SEP] is a word, as VALM takes it
        self.model = ViltForQuestionAnswering.from_pretrained(location, attn_implementation="eager").eval()

    @torch.no_grad()
    def ask(self, photo: Image.Image, question: str) -> Answered:
        """Answer and explain. Raises InputError."""
        inputs = self.processor(images=photo, text=clean_question(question), truncation=True, return_tensors="pt")
        with _returned_by(self.model.vilt.embeddings, "visual_embed") as returned:
            output = self.model(**inputs, output_attentions=True)
        _, _, (patch_index, grid) = returned[0]  # ViLT draws its patches in a random order
        words = inputs["input_ids"].shape[1]
        block = output.attentions[-1][0, :, :words, words + 1 :].mean(dim=(0, 1)).numpy()  # without image class token
        image_map = np.zeros(grid, dtype=np.float32)
        rows, columns = patch_index[0].numpy().T
        image_map[rows, columns] = block
        seen = inputs["pixel_mask"][
            0, :: inputs["pixel_mask"].shape[1] // grid[0], :: inputs["pixel_mask"].shape[2] // grid[1]
        ]
        image_map = image_map[: int(seen[:, 0].sum()), : int(seen[0].sum())]  # the rest is padding
        probabilities = output.logits[0].sigmoid()
        values, indices = probabilities.topk(min(TOP, len(probabilities)))
        labels = self.model.config.id2label
        answers = tuple(
            Answer(labels[index], value) for index, value in zip(indices.tolist(), values.tolist(), strict=True)
        )
        note = say(
            "map: text-to-image block of the last self-attention; shares are independent, they don’t sum to 100 %"
        )
        return Answered(self.name, answers, whole_map(image_map), note)


class BlipPeer:
    """BLIP for VQA (Li et al. 2022, https://arxiv.org/abs/2201.12086), from a folder or the hub.

    It writes its answer; shown are the best beams with their probabilities as texts. The map is the last
    cross-attention of the question encoder, the mean over heads and words.
    """

    def __init__(self, name: str, location: str):
        from transformers import BlipForQuestionAnswering, BlipProcessor

        self.name = name
        self.processor = BlipProcessor.from_pretrained(location)
        self.processor.tokenizer.split_special_tokens = True
        self.model = BlipForQuestionAnswering.from_pretrained(location, attn_implementation="eager").eval()

    @torch.no_grad()
    def ask(self, photo: Image.Image, question: str) -> Answered:
        """Answer and explain. Raises InputError."""
        inputs = self.processor(images=photo, text=clean_question(question), truncation=True, return_tensors="pt")
        written = self.model.generate(
            **inputs,
            num_beams=TOP,
            num_return_sequences=TOP,
            length_penalty=0.0,  # the score of a beam is the log-probability of its text
            max_new_tokens=MAX_ANSWER_CHARACTERS,
            return_dict_in_generate=True,
            output_scores=True,
        )
        texts = self.processor.batch_decode(written.sequences, skip_special_tokens=True)
        shares = written.sequences_scores.exp().tolist()
        best: dict[str, float] = {}
        for text, share in zip(texts, shares, strict=True):
            best[text] = best.get(text, 0.0) + share
        patches = self.model.vision_model(inputs["pixel_values"]).last_hidden_state
        read = self.model.text_encoder(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            encoder_hidden_states=patches,
            output_attentions=True,
        ).cross_attentions[-1]  # [1, H, T, 1 + N]
        side = round((patches.shape[1] - 1) ** 0.5)
        image_map = read[0, :, :, 1:].mean(dim=(0, 1)).view(side, side).numpy()
        answers = tuple(
            Answer(text, min(share, 1.0)) for text, share in sorted(best.items(), key=lambda item: -item[1])
        )
        note = say(
            "map: last cross-attention of the question encoder; it writes its answer, shares are those of the beams"
        )
        return Answered(self.name, answers, whole_map(image_map), note)


PEERS = {"vilt": ViltPeer, "blip": BlipPeer}


def load_peer(name: str, location: str):
    """The model at a folder or hub name: a VALM checkpoint, ViLT or BLIP for question answering.

    Raises:
        ValueError: it isn't there or is of another kind; the message says what was tried.
    """
    config_file = Path(location) / "config.json"
    if config_file.exists() and "fusion" in json.loads(config_file.read_text(encoding="utf-8")):
        return ValmPeer(name, VqaPredictor.from_checkpoint(location))
    from transformers import AutoConfig

    try:
        kind = AutoConfig.from_pretrained(location).model_type
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{name}: {location!r} is no folder of a model, and the hub did not give it ({error})."
        ) from error
    if kind not in PEERS:
        raise ValueError(f"{name}: {location!r} is a {kind} model; allowed: a VALM checkpoint, {', '.join(PEERS)}.")
    return PEERS[kind](name, location)


def whole_map(image_map: np.ndarray) -> Explanation:
    """An explanation that knows one map only, [rows, columns] of any positive scale, for the whole question."""
    image_map = (image_map / image_map.sum()).astype(np.float32)
    flat = image_map.reshape(1, -1)  # [1, N]: the question as one token
    return Explanation(
        method="raw_attention",
        tokens=("question",),
        image_map=image_map,
        token_scores=np.ones(1, dtype=np.float32),
        token_to_patch=flat,
        patch_to_token=np.ones_like(flat.T),
        text_to_image=flat[None, None],
        image_to_text=np.ones_like(flat.T)[None, None],
        grid=image_map.shape,
    )


class _returned_by:
    """Within the block, everything that a method of one object returns is kept in the list that it gives."""

    def __init__(self, owner, method: str):
        self.owner, self.method = owner, method
        self.returned: list = []

    def __enter__(self) -> list:
        original = getattr(self.owner, self.method)

        def kept(*arguments, **named):
            self.returned.append(original(*arguments, **named))
            return self.returned[-1]

        setattr(self.owner, self.method, kept)  # on the object, over the class's own
        return self.returned

    def __exit__(self, *_) -> None:
        delattr(self.owner, self.method)
