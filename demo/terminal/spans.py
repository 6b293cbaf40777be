"""What ``valm-ask`` shows of marked words: the entities of a sentence, and an answer on a page with its places."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

import numpy as np

from demo.downloads.task_json import page_answer_json, tagged_json
from demo.rendering.page_frames import MIN_FALL, marked_page

if TYPE_CHECKING:  # imported for real where they are used, so that -h answers at once
    from valm_core.tasks.reader import PageAnswer, ReadPage
    from valm_core.tasks.tagger import Tagged

SHOWN_WORDS = 3  # beside a span's own
SHOWN_LINES = 4


def tag_text(given: list[str], options: argparse.Namespace) -> str:
    """The entities of a sentence, the last thing given, with the photo before it, where there is one."""
    from valm_core.tasks.tagger import Tagger

    if options.figure:
        raise ValueError("--figure shows places of a photo or page; words of a sentence have none.")
    tagger = Tagger.from_checkpoint(options.checkpoint, options.device)
    tagged = tagger.tag(given[-1], given[0] if len(given) == 2 else None)
    return json.dumps(tagged_json(tagged)) if options.json else format_tagged(tagged)


def read_document(given: list[str], options: argparse.Namespace) -> str:
    """The answer to a question about a document."""
    from valm_core.tasks.reader import Reader

    if len(given) != 2:
        raise ValueError('Give a document and a question, for example: receipt.jpg "What is the total on the receipt?"')
    reader = Reader.from_checkpoint(options.checkpoint, options.device)
    page = reader.open(given[0], options.page)
    answer = reader.ask(page, given[1], options.top)
    if options.figure and page.picture is not None:
        marked_page(page.picture, page, answer).save(options.figure)
    return json.dumps(page_answer_json(page, answer)) if options.json else format_answer(page, answer)


def format_tagged(tagged: Tagged) -> str:
    """The sentence with its entities in brackets, and below a line for each: its probability and what it rests on."""
    opened = {span.first: span for span in tagged.spans}
    closed = {span.end - 1: span for span in tagged.spans}
    words = [
        f"{'[' * (place in opened)}{word}{' ' + closed[place].type + ']' if place in closed else ''}"
        for place, word in enumerate(tagged.words)
    ]
    lines = [" ".join(words)]
    width = max((len(span.text) for span in tagged.spans), default=0)
    for span in tagged.spans:
        others = [place for place in np.argsort(-span.word_scores) if not span.first <= place < span.end]
        named = [tagged.words[place] for place in others[:SHOWN_WORDS] if span.word_scores[place] >= MIN_FALL]
        photo = f"; photo: {span.photo_verdict}" if span.photo_verdict else ""
        lines.append(
            f"  {span.text:<{width}}  {span.type:<5} {span.probability:4.0%}, from the other words alone "
            f"{span.without_itself:.0%}; words: {span.verdict}{photo}"
            f"{'; beside itself: ' + ', '.join(named) if named else ''}"
        )
    return "\n".join(lines if tagged.spans else [*lines, "  No entity found."])


def format_answer(page: ReadPage, answer: PageAnswer) -> str:
    """The answer, the next likeliest, and which other lines of the page spoke for it."""
    lines = [f"{answer.text}  ({answer.probability:.0%})"]
    lines += [f"  or: {text}  ({probability:.0%})" for text, probability in answer.others]
    box = " to ".join(f"({x:.0%}, {y:.0%})" for x, y in (answer.boxes[0][:2], answer.boxes[-1][2:]))
    lines.append(f"Page {page.number} of {page.pages}, from left and top: {box}")
    lines.append(f"The page's other lines: {answer.verdict}")
    texts = page.page.words_of_lines()
    for place in np.argsort(-answer.line_scores)[:SHOWN_LINES]:
        if answer.line_scores[place] >= MIN_FALL:
            lines.append(f"  {answer.line_scores[place]:5.1f}  {' '.join(texts[place])}")
    return "\n".join(lines)
