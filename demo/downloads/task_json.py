"""What models for other tasks than answering say, as plain values: for the API, the terminal, and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for real it would load torch, which the terminal's -h can do without
    from demo.visit.printed import Printed
    from valm_core.tasks.labeller import Labelled
    from valm_core.tasks.reader import PageAnswer, ReadPage
    from valm_core.tasks.tagger import Tagged


def labelled_json(labelled: Labelled) -> dict:
    """A label as plain values, the map included."""

    def ranked(labels) -> list[dict] | None:
        return labels and [{"label": answer.text, "probability": answer.probability} for answer in labels]

    places = labelled.places_judged
    return {
        "labels": ranked(labelled.labels),
        "without_photo": ranked(labelled.blind_labels),
        "words": [
            {"text": word, "effect": round(float(effect), 4), "verdict": verdict}
            for word, effect, verdict in zip(labelled.words, labelled.effects, labelled.word_verdicts, strict=True)
        ],
        "marked": [list(span) for span in labelled.spans],
        "map": None if labelled.image_map is None else labelled.image_map.round(5).tolist(),
        "places_verdict": places and {"support": places.support, "verdict": places.verdict},
    }


def tagged_json(tagged: Tagged) -> dict:
    """A labelled sentence as plain values."""
    return {
        "words": list(tagged.words),
        "labels": list(tagged.labels),
        "probabilities": [round(value, 4) for value in tagged.probabilities],
        "spans": [
            {
                "first": span.first,
                "end": span.end,
                "type": span.type,
                "text": span.text,
                "probability": round(span.probability, 4),
                "without_itself": round(span.without_itself, 4),
                "word_scores": span.word_scores.astype(float).round(4).tolist(),
                "support": round(span.support, 3),
                "verdict": span.verdict,
                "map": None if span.cell_map is None else span.cell_map.astype(float).round(5).tolist(),
                "photo_verdict": span.photo_verdict or None,
            }
            for span in tagged.spans
        ],
    }


def page_answer_json(page: ReadPage, answer: PageAnswer) -> dict:
    """An answer on a page as plain values: with the words of the page, their places and lines."""
    return {
        "question": answer.question,
        "answer": answer.text,
        "probability": round(answer.probability, 4),
        "words": [answer.first, answer.end],
        "boxes": answer.boxes.astype(float).round(4).tolist(),
        "others": [{"answer": text, "probability": round(value, 4)} for text, value in answer.others],
        "support": round(answer.support, 3),
        "verdict": answer.verdict,
        "line_scores": answer.line_scores.astype(float).round(4).tolist(),
        "page": {
            "number": page.number,
            "pages": page.pages,
            "words": list(page.page.words),
            "boxes": page.page.boxes.astype(float).round(4).tolist(),
            "lines": page.page.lines.tolist(),
        },
    }


def printed_json(printed: Printed | None) -> dict | None:
    """What a second model read on a photo, or why it could not; None where there was no need or nothing to read."""
    if printed is None:
        return None
    if printed.page is None or printed.answer is None:
        return {"error": printed.message} if printed.message else None
    return page_answer_json(printed.page, printed.answer)
