"""What is asked of an open vision-language model, and which of its tokens are the words of the question."""

from collections.abc import Sequence
from typing import Any

from valm_core.vision_language.families import Family

NEUTRAL = "Write a general description of the image."  # Zhang et al. 2025, https://arxiv.org/abs/2502.17422


def image_marker(processor: Any) -> str:
    """What stands for the photo in a prompt's text; empty where the processor puts image tokens there by itself."""
    if getattr(processor, "num_query_tokens", None) is not None:
        return ""
    token = getattr(processor, "image_token", "") or ""
    return getattr(token, "content", token)


def without_special_tokens(text: str, tokenizer: Any) -> str:
    """A person's text in which no special token stands: a typed ``<image>`` becomes ``< image>``, words like others."""
    for token in sorted(set(getattr(tokenizer, "all_special_tokens", ())), key=len, reverse=True):
        if len(token) > 1:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    for token in sorted(getattr(tokenizer, "get_added_vocab", dict)(), key=len, reverse=True):
        if len(token) > 1 and not token.isspace():
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def own_prompt(processor: Any, family: Family) -> str:
    """The family's prompt with ``{image}`` and ``{question}``, as this checkpoint takes it."""
    return family.prompt if getattr(processor, "chat_template", None) else family.plain


def prompt_text(processor: Any, family: Family, question: str, prompt: str | None = None) -> str:
    """The whole prompt, with the checkpoint's own chat template around it where it has one.

    Args:
        processor: of the checkpoint.
        family: for its prompt.
        question: as the person asked.
        prompt: in place of the family's, with ``{image}`` and ``{question}``.
    """
    question = without_special_tokens(question, processor.tokenizer)
    marker = image_marker(processor)
    if not getattr(processor, "chat_template", None):
        return (prompt or own_prompt(processor, family)).replace("{image}", marker).replace("{question}", question)
    before, _, after = (prompt or own_prompt(processor, family)).rpartition("{image}")
    content: list[dict[str, str]] = []
    if before.strip():
        content.append({"type": "text", "text": before.strip().replace("{question}", question)})
    content.append({"type": "image"})
    content.append({"type": "text", "text": after.strip().replace("{question}", question)})
    messages = [{"role": "user", "content": content}]
    return str(processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def word_spans(text: str, start: int = 0) -> list[tuple[int, int]]:
    """Where each word of a text, split at white space, begins and ends in another that has it at ``start``."""
    spans, place = [], 0
    for word in text.split():
        place = text.index(word, place)
        spans.append((start + place, start + place + len(word)))
        place += len(word)
    return spans


def pieces_of_words(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[list[int]]:
    """For each word the places of the tokens that overlap it; a token that begins with the space before it counts."""
    return [
        [place for place, (first, last) in enumerate(offsets) if first < end and last > start and last > first]
        for start, end in spans
    ]


def question_pieces(processor: Any, prompt: str, question: str, ids: Sequence[int]) -> list[list[int]]:
    """For each word of the question its places in the model's sequence; an empty list where that isn't known.

    The part of the prompt behind the photo is read once more by itself, with offsets, and found in the sequence.

    Args:
        processor: with a fast tokenizer, else nothing is known.
        prompt: of ``prompt_text``.
        question: the same as there.
        ids: the sequence of one example, image tokens included.
    """
    tokenizer = processor.tokenizer
    question = without_special_tokens(question, tokenizer)
    words = question.split()
    marker = image_marker(processor)
    tail = prompt.rpartition(marker)[2] if marker and marker in prompt else prompt
    start = tail.rfind(question)
    if start < 0 or not getattr(tokenizer, "is_fast", False):
        return [[] for _ in words]
    read = tokenizer(tail, add_special_tokens=False, return_offsets_mapping=True)
    pieces = list(read["input_ids"])
    sequence = list(ids)
    for dropped in range(min(3, len(pieces))):  # the first pieces may read otherwise without what stands before them
        wanted = pieces[dropped:]
        for place in range(len(sequence) - len(wanted), -1, -1):
            if sequence[place : place + len(wanted)] == wanted:
                found = pieces_of_words(read["offset_mapping"][dropped:], word_spans(question, start))
                return [[place + piece for piece in word] for word in found]
    return [[] for _ in words]
