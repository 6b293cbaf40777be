"""Answers of a model that writes: short ones by beams, longer texts word by word, and the likelihood of given ones.

A probability is that of the answer as text, the product over its tokens and the end; of a longer text it is that of one
token, in the geometric mean. It isn't calibrated.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from valm_core.outputs import Answer, InputError
from valm_core.stopping import stop_if_unwanted

MAX_NEW_TOKENS = 16  # of a short answer
MAX_TEXT_TOKENS = 256  # of a longer text
AS_READ = 3  # times as many tokens may a text have when read again: half a letter is read as three bytes
BEAMS = 5
BATCH_TOKENS = 8192  # of all photos that are answered at once
TOKEN_TYPES = ("token_type_ids", "mm_token_type_ids")


@dataclass(frozen=True)
class Written:
    """A text that the model wrote: its token ``ids`` without the end, and its ``probability`` in 0..1."""

    text: str
    ids: tuple[int, ...]
    probability: float

    @property
    def long(self) -> bool:
        """Whether it is longer than a short answer."""
        return len(self.ids) > MAX_NEW_TOKENS


def normal_form(text: str) -> str:
    """An answer in lower case, with single spaces and without quotes and what ends a sentence."""
    return re.sub(r"\s+", " ", text).strip().strip("\"'“”‘’`*").rstrip(".!,;: ").lower()


def merged(written: Sequence[Written], top: int) -> tuple[Answer, ...]:
    """The likeliest answers, those of one normal form as one, whose probabilities are added."""
    shares: dict[str, float] = {}
    for one in written:
        text = normal_form(one.text)
        if text:
            shares[text] = shares.get(text, 0.0) + one.probability
    best = sorted(shares.items(), key=lambda item: -item[1])[:top]
    return tuple(Answer(text, min(share, 1.0)) for text, share in best)


def end_tokens(model: Any) -> list[int]:
    """The tokens that end an answer."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def answers_apart(model: Any) -> bool:
    """Whether answers come from a decoder that reads the prompt by cross-attention, as T5's, not after it."""
    text = getattr(model.config, "text_config", None)
    return bool(getattr(model.config, "is_encoder_decoder", False) or getattr(text, "is_encoder_decoder", False))


def prompt_length(model: Any, inputs: Mapping[str, Tensor]) -> int:
    """How many tokens stand before an answer in what ``generate`` gives."""
    return 1 if answers_apart(model) else inputs["input_ids"].shape[1]


def placeholders(model: Any) -> list[int]:
    """Tokens that stand for photos and videos, which are no part of an answer."""
    names = ("image_token_id", "video_token_id")
    return [token for name in names if isinstance(token := getattr(model.config, name, None), int)]


@torch.no_grad()
def write(model: Any, tokenizer: Any, inputs: Mapping[str, Tensor], beams: int = BEAMS) -> list[list[Written]]:
    """The likeliest texts for each of B examples, by beam search, best first.

    Args:
        model: with ``generate``.
        tokenizer: of the model.
        inputs: of B examples, all equally long.
        beams: how many texts; 1 is greedy and gives no probability (NaN).
    """
    stop_if_unwanted()
    ends = end_tokens(model)
    settings = _settings(model, MAX_NEW_TOKENS, beams)
    made = model.generate(**inputs, generation_config=settings)
    sequences = made.sequences[:, prompt_length(model, inputs) :].tolist()
    scores = made.sequences_scores.tolist() if beams > 1 else [math.nan] * len(sequences)
    texts = []
    for ids, score in zip(sequences, scores, strict=True):
        stop = next((place for place, token in enumerate(ids) if token in ends), len(ids))
        kept = tuple(ids[:stop])
        texts.append(Written(tokenizer.decode(kept, skip_special_tokens=True), kept, math.exp(score)))
    return [texts[first : first + beams] for first in range(0, len(texts), beams)]


def _settings(model: Any, most: int, beams: int) -> Any:
    """How the model is to write at most so many tokens."""
    from transformers import GenerationConfig

    ends, pad = end_tokens(model), model.generation_config.pad_token_id
    # The score of a beam is the log-probability of its text.
    of_beams = {"length_penalty": 0.0} if beams > 1 else {}
    return GenerationConfig(
        max_new_tokens=most,
        num_beams=beams,
        num_return_sequences=beams,
        **of_beams,
        repetition_penalty=1.0,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        suppress_tokens=placeholders(model) or None,
        eos_token_id=ends or None,
        pad_token_id=pad if pad is not None else (ends or [0])[0],
        bos_token_id=model.generation_config.bos_token_id,
    )


@torch.no_grad()
def write_on(
    model: Any,
    tokenizer: Any,
    inputs: Mapping[str, Tensor],
    tell: Callable[[str], None] | None = None,
    left: Callable[[], bool] | None = None,
) -> Written:
    """What the model writes as long as it likes, up to ``MAX_TEXT_TOKENS``; without a probability (NaN).

    Args:
        model: with ``generate``.
        tokenizer: of the model.
        inputs: of one example.
        tell: gets the text as far as it is written, whole words only, whenever it has grown.
        left: whether nobody waits for the text any more; then it ends there.
    """
    from transformers import StoppingCriteria, StoppingCriteriaList
    from transformers.generation.streamers import BaseStreamer

    class Telling(BaseStreamer):
        """Tells the text at the end of every word."""

        def __init__(self) -> None:
            self.ids: list[int] = []
            self.sent, self.begun = "", False

        def put(self, value: Tensor) -> None:
            if not self.begun:  # the first is the prompt
                self.begun = True
                return
            self.ids += value.flatten().tolist()
            text = tokenizer.decode(self.ids, skip_special_tokens=True)
            whole = " ".join(text.split() if text[-1:].isspace() else text.split()[:-1])
            if tell is not None and len(whole) > len(self.sent):
                self.sent = whole
                tell(whole)

        def end(self) -> None:
            """Nothing: who asked gets the whole text."""

    class Left(StoppingCriteria):
        """Ends the text where nobody waits for it."""

        def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
            ended = left is not None and left()
            return torch.full((input_ids.shape[0],), ended, dtype=torch.bool, device=input_ids.device)

    made = model.generate(
        **inputs,
        generation_config=_settings(model, MAX_TEXT_TOKENS, beams=1),
        streamer=Telling(),
        stopping_criteria=StoppingCriteriaList([Left()]),
    )
    ends = end_tokens(model)
    ids = made.sequences[0, prompt_length(model, inputs) :].tolist()
    stop = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    kept = tuple(ids[:stop])
    text = " ".join(tokenizer.decode(kept, skip_special_tokens=True).split())
    return Written(text, kept, math.nan)


def extended(inputs: Mapping[str, Tensor], ids: Sequence[int], suffix_type: int = 0) -> dict[str, Tensor]:
    """The inputs of B examples with the same answer after each.

    Args:
        inputs: as the processor gave them.
        ids: the answer's tokens.
        suffix_type: what ``token_type_ids`` say of them: 1 where an answer is read word after word and the prompt
            isn't (PaliGemma), else 0.
    """
    batch = inputs["input_ids"].shape[0]
    answer = torch.tensor([list(ids)], dtype=torch.long, device=inputs["input_ids"].device).expand(batch, -1)
    longer = dict(inputs)
    longer["input_ids"] = torch.cat([inputs["input_ids"], answer], dim=1)
    if "attention_mask" in inputs:
        longer["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(answer)], dim=1)
    for name in TOKEN_TYPES:
        if name in inputs:
            kind = suffix_type if name == "token_type_ids" else 0
            longer[name] = torch.cat([inputs[name], torch.full_like(answer, kind)], dim=1)
    return longer


def piece_log_probabilities(
    model: Any, inputs: Mapping[str, Tensor], ids: Sequence[int], suffix_type: int = 0
) -> Tensor:
    """Log-probabilities [B, P + 1] of an answer's P tokens and of its end, given each of B examples.

    The end's is left out ([B, P]) for an answer as long as the longest, and where the model knows no end.

    Args:
        model: in evaluation mode.
        inputs: of B examples, all equally long.
        ids: the answer's P tokens.
        suffix_type: see ``extended``.
    """
    stop_if_unwanted()
    if answers_apart(model):
        start = [model.generation_config.decoder_start_token_id, *ids]
        begun = torch.tensor([start], device=inputs["input_ids"].device).expand(inputs["input_ids"].shape[0], -1)
        longer: dict[str, Any] = {**inputs, "decoder_input_ids": begun}
    else:
        longer = {**extended(inputs, ids, suffix_type)}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        longer["logits_to_keep"] = len(ids) + 1
    logits = model(**longer, use_cache=False).logits[:, -len(ids) - 1 :].float()  # [B, P + 1, vocabulary]
    log_probabilities = logits.log_softmax(dim=-1)
    answer = torch.tensor(list(ids), dtype=torch.long, device=logits.device)
    pieces = log_probabilities[:, torch.arange(len(ids), device=logits.device), answer]  # [B, P]
    ends = end_tokens(model)
    if not ends or len(ids) >= MAX_NEW_TOKENS:
        return pieces
    end = log_probabilities[:, -1, ends].logsumexp(dim=-1, keepdim=True)
    return torch.cat([pieces, end], dim=1)


def forms(answer: str, tokenizer: Any, spaced: bool) -> list[tuple[int, ...]]:
    """The ways in which a model may write an answer, as tokens: in lower case, capitalised, with a full stop.

    A text longer than ``MAX_NEW_TOKENS`` has one, its own.

    Args:
        answer: in any form; as given it is the first.
        tokenizer: of the model.
        spaced: whether a space comes before the answer, because the prompt ends without one.

    Raises:
        InputError: the answer is longer than any that the model writes, however its letters are cut.
    """
    texts = [answer, answer.lower(), answer[:1].upper() + answer[1:]]
    texts += [f"{text}." for text in texts if not text.endswith(".")]
    found = [f" {text}" if spaced else text for text in texts]
    ids = [tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in found]
    if len(ids[0]) > AS_READ * MAX_TEXT_TOKENS or not ids[0]:
        raise InputError("This answer is too long for the model to score. Shorten it.")
    return ids[:1] if len(ids[0]) > MAX_NEW_TOKENS else [kept for kept in dict.fromkeys(ids) if kept]
