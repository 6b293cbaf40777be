"""The answers as HTML, and what makes them doubtful.

Every text that came from a person or from the model is escaped here, by ``escape`` or ``say_html``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import escape

from demo.languages.translate import is_doubtful, say, say_html
from demo.rendering.sentences import sentence_html
from demo.rendering.wording import exact_percent, percent, strong

if TYPE_CHECKING:  # for real it would load torch, which the terminal's -h can do without
    from valm_core.outputs import Answer, Evidence, Prediction, TrackRecord

UNSURE = 0.3  # share of right answers below which the page says that the model doesn't know


def side_by_side_html(columns: list[tuple[str, tuple[Answer, ...], str]]) -> str:
    """Lists of answers as columns, each with its title and a note beneath it, "" for none."""
    lists = "".join(
        f'<div><p class="fine-print">{escape(title)}</p><ol>'
        + "".join(f"<li><span>{escape(a.text)}</span> <span>{percent(a.probability)}</span></li>" for a in answers)
        + "</ol>"
        + (f'<p class="fine-print">{escape(note)}</p>' if note else "")
        + "</div>"
        for title, answers, note in columns
    )
    return f'<div class="two-lists">{lists}</div>'


def is_doubted(prediction: Prediction) -> bool:
    """Whether a warning belongs to the answers: perhaps no English, or a photo or question unlike those learned from.

    What was measured on the validation questions says nothing about such an answer.
    """
    return bool(prediction.unfamiliar) or (not prediction.any_language and is_doubtful(prediction.question))


def writing_html(text: str) -> str:
    """A longer text as far as it is written."""
    return f'<p class="writing" aria-busy="true">{escape(text)} <span aria-hidden="true">▍</span></p>'


def answers_html(prediction: Prediction) -> str:
    """The likeliest answers as bars on one common scale, 0 to 100 %; of a longer text how likely one piece of it is."""
    if not prediction.long:
        return bars_html(prediction.answers)
    best = prediction.answers[0]
    text = say(
        "A text of {count} words. Each of its pieces was {share} likely after those before it, in the geometric mean.",
        count=len(best.text.split()),
        share=percent(best.probability),
    )
    return f'<p class="answers fine-print">{text}</p>'


def bars_html(answers: tuple[Answer, ...]) -> str:
    """Texts with their probabilities as bars on one common scale, 0 to 100 %."""
    rows = "".join(
        f'<li><span class="answer-text">{escape(answer.text)}</span>'
        f'<span class="answer-share">{percent(answer.probability)}</span>'
        f'<span class="answer-track" aria-hidden="true"><span style="width:{100 * answer.probability:.1f}%"></span>'
        "</span></li>"
        for answer in answers
    )
    return f'<ol class="answers" aria-label="{say("Likeliest answers and their probabilities")}">{rows}</ol>'


def blind_html(prediction: Prediction) -> str:
    """What the model would say without the photo, and whether the photo changed that."""
    if not prediction.blind_answers or not prediction.answers:
        return ""
    blind = prediction.blind_answers[0]
    values = {"answer": strong(blind.text), "share": percent(blind.probability)}
    if blind.text == prediction.answers[0].text:
        text = say_html(
            "Without the photo it would say: {answer} ({share}) – the same answer, so the photo did not change it.",
            **values,
        )
    elif prediction.guessed_from_question:
        text = say_html(
            "Without the photo it would say: {answer} ({share}) – both answers are about as likely with it.", **values
        )
    else:
        text = say_html(
            "Without the photo it would say: {answer} ({share}) – so the photo changed the answer.", **values
        )
    return f'<p class="blind">{text}</p>'


def known_mistake_html(right_answer: str | None) -> str:
    """A label for an example that the model is known to get wrong; nothing for any other question."""
    if right_answer is None:
        return ""
    text = say_html("The model gets this one wrong. Right answer: {answer}", answer=strong(right_answer))
    return f'<p class="known-mistake">{text}</p>'


def doubt_html(question: str) -> str:
    """A notice above the answers to a question that is perhaps not English; nothing for any other."""
    if not is_doubtful(question):
        return ""
    text = say("This model was trained on English questions; the answers below may be meaningless.")
    return f'<p class="known-mistake doubt" role="status">{text}</p>'


def record_html(record: TrackRecord | None) -> str:
    """How often the model was right when it was as sure as this, and that it is unsure where that was rarely."""
    if record is None:
        return ""
    kinds = {
        "yes/no": say("with yes or no"),
        "number": say("with a number"),
        "other": say("with a word"),
    }
    text = say(
        "Of {count} validation questions answered {kind} this surely ({low} to {high} %), {share} were right.",
        count=record.questions,
        kind=kinds[record.kind],
        low=round(100 * record.low),
        high=round(100 * record.high),
        share=percent(record.accuracy),
    )
    unsure = f"<strong>{say('The model does not know.')}</strong> " if record.accuracy < UNSURE else ""
    return f'<p class="record">{unsure}{text}</p>'


def unfamiliar_html(parts: tuple[str, ...]) -> str:
    """A notice about a photo or a question unlike those that the model learned from; nothing for none."""
    notices = {
        "photo": say("Few photos it learned from look like this one: the percentages may not hold."),
        "question": say("Few questions it learned from are like this one: the percentages may not hold."),
    }
    return "".join(f'<p class="known-mistake doubt" role="status">{notices[part]}</p>' for part in parts)


def kinds_html(kinds: dict[str, float]) -> str:
    """How likely each kind of answer is, in one line; nothing where it isn't known."""
    if not kinds:
        return ""
    names = {"yes/no": say("yes or no"), "number": say("a number"), "other": say("something else")}
    each = ", ".join(f"{names[kind]} {percent(share)}" for kind, share in kinds.items())
    return f'<p class="record">{say("Kind of answer: {kinds}.", kinds=each)}</p>'


def guess_html(prediction: Prediction) -> str:
    """What leads where the photo hardly mattered: nothing for any other answer."""
    if not prediction.guessed_from_question:
        return ""
    lead = f"<strong>{say('A guess from the question alone.')}</strong>"
    return f'<p class="guess">{lead} {say("Without the photo the first answers are about as likely.")}</p>'


def warnings_html(prediction: Prediction, read: bool = False) -> str:
    """What makes the answers doubtful, each thing said once; under what was ``read``, whose answers these are."""
    doubts = "" if prediction.any_language else doubt_html(prediction.question)
    said = {"question"} if doubts else set()
    note = ""
    if read:
        said.add("photo")
        text = say("From here on the model for photos speaks, which saw hardly any printed pages when it learned:")
        note = f'<p class="fine-print">{text}</p>'
    return doubts + unfamiliar_html(tuple(part for part in prediction.unfamiliar if part not in said)) + note


def lead_html(
    prediction: Prediction,
    record: TrackRecord | None,
    evidence: Evidence | None,
    read: bool = False,
    awaited: bool = False,
) -> str:
    """What stands first: warnings, and the answer with what to think of it in one breath, see ``sentences``.

    Where the photo was ``read`` by a second model, that stands above, and no warning about the photo is needed.
    ``awaited`` evidence is still to come.
    """
    doubted = is_doubted(prediction)
    html = warnings_html(prediction, read) + sentence_html(prediction, record, evidence, doubted, awaited)
    return f'<div class="doubted">{html}</div>' if doubted else html


def likely_html(prediction: Prediction, right_answer: str | None) -> str:
    """The likeliest answers as bars, and the right one where the model is known to be wrong."""
    html = answers_html(prediction) + known_mistake_html(right_answer)
    return f'<div class="doubted">{html}</div>' if is_doubted(prediction) else html


def sure_html(prediction: Prediction, record: TrackRecord | None) -> str:
    """How sure to be of the answer, in numbers; no track record under a warning."""
    return ("" if is_doubted(prediction) else record_html(record)) + kinds_html(prediction.kinds)


def result_html(prediction: Prediction, right_answer: str | None = None, record: TrackRecord | None = None) -> str:
    """All of it for a file: answers and how sure they are, doubts, a known mistake and the blind answer.

    Under a warning no answer stands out and no track record stands, see ``is_doubted``.
    """
    doubted = is_doubted(prediction)
    warnings = warnings_html(prediction) + guess_html(prediction)
    notes = kinds_html(prediction.kinds) + ("" if doubted else record_html(record)) + known_mistake_html(right_answer)
    html = warnings + answers_html(prediction) + notes + blind_html(prediction)
    return f'<div class="doubted">{html}</div>' if doubted else html


def announcement_text(prediction: Prediction) -> str:
    """A new answer in one sentence, for screen readers. Plain text, not HTML."""
    best = prediction.answers[0]
    text = say(
        "Answer to “{question}”: {answer}, {share}.",
        question=prediction.question,
        answer=best.text,
        share=exact_percent(best.probability),
    )
    if is_doubted(prediction):
        text += " " + say("It may be meaningless: see the warning.")
    if prediction.guessed_from_question:
        text += " " + say("A guess from the question alone.")
    return text
