"""One question after another about a photo: follow-ups are completed, wishes for a description heard."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from demo.languages.translate import say, say_html
from demo.rendering.description import description_html
from demo.rendering.wording import strong
from demo.visit import asking
from demo.visit.antecedents import Before
from demo.visit.asking import OpenedPhoto, Outcome, Reply
from demo.visit.description import is_command, wants_description
from demo.visit.follow_up import Understood, understand
from demo.visit.suggestions import concepts_of, named_concepts, questions_for
from valm_core.outputs import Predictor
from valm_core.vision_language.families import for_longer_texts

if TYPE_CHECKING:  # for real it would load torch
    from valm_core.captions.captioner import Captioner

MAX_EARLIER = 4  # outcomes that may wait to be remembered


def answer(
    predictor: Predictor,
    path: str | None,
    known: OpenedPhoto | None,
    text: str | None,
    last: Outcome | None = None,
    exactly: bool = False,
    captioner: Captioner | None = None,
    prompt: str | None = None,
) -> Outcome:
    """Answer what was typed, see ``follow_up.understand``; whatever goes wrong is turned into a message.

    Args:
        predictor: as the page has it.
        path: of the photo.
        known: the photo, where it is encoded already.
        text: what was typed.
        last: what became of the question before.
        exactly: ask nothing but what was typed.
        captioner: describes photos; None where there is none.
        prompt: of an open model, in place of its own.
    """
    typed = " ".join((text or "").split())
    if path and not exactly and wants_description(typed):
        return describe(predictor, path, known, typed, captioner)
    understood = Understood(typed, typed) if exactly else understand(typed, before(last, path))
    return as_understood(asking.answer(predictor, path, known, understood.asked, prompt), understood)


def write(
    predictor: Predictor,
    path: str | None,
    known: OpenedPhoto | None,
    text: str | None,
    last: Outcome | None = None,
    prompt: str | None = None,
) -> Iterator[str | Outcome]:
    """What ``answer`` gives of a model that writes, after its text as far as it is written.

    It describes photos itself: where that is wished for, its own prompt lets the answer be longer.
    """
    typed = " ".join((text or "").split())
    if prompt is None and is_command(typed):
        prompt = for_longer_texts(str(predictor.facts["prompt_without_template"]))
    understood = understand(typed, before(last, path))
    for part in asking.write(predictor, path, known, understood.asked, prompt):
        yield part if isinstance(part, str) else as_understood(part, understood)


def prompt_shown(predictor: Predictor, question: str, prompt: str | None) -> str:
    """What stands in the prompt's box beside a question that was asked by a prompt, None for the model's own.

    It is the model's own, too, where nobody chose another: a wish for a description lengthens it by itself.
    """
    own = str(predictor.facts.get("prompt_without_template", ""))
    return own if prompt is None or (is_command(question) and prompt == for_longer_texts(own)) else prompt


def as_understood(outcome: Outcome, understood: Understood) -> Outcome:
    """An outcome with what was typed, where that was a follow-up."""
    follows = understood.rewritten or understood.unclear
    if outcome.reply is None or not follows:
        return outcome
    return dataclasses.replace(outcome, reply=dataclasses.replace(outcome.reply, understood=understood))


def before(last: Outcome | None, path: str | None) -> Before | None:
    """The question before, where it was about the same photo and was answered."""
    if last is None or last.reply is None:
        return None
    if last.path != path and not asking.holds(path, last.reply.photo):  # gradio copies an example to another path
        return None
    best = last.reply.prediction.answers[0]
    return Before(last.reply.prediction.question, best.text, best.probability)


def describe(
    predictor: Predictor, path: str, known: OpenedPhoto | None, typed: str, captioner: Captioner | None = None
) -> Outcome:
    """What who wants the photo described gets: a description, or that this model can't, and what to ask instead.

    What is a question is asked nevertheless: "What is in the photo?" has an answer of a word or two.
    """
    try:
        photo = asking.open_photo(predictor, path, known)
        concepts = concepts_of(predictor, photo.encoded)
        description = captioner.describe(photo.picture) if captioner else None
        described = description_html(photo.picture, description) if description else ""
    except Exception as error:
        return Outcome(path, message=asking.message_for(error))
    named = [word for word, _ in named_concepts(concepts)]
    messages = []
    if not described:
        messages.append(say("This model answers short questions in a word or two; it can’t describe a whole photo."))
        if named:
            messages.append(say("What it finds most surely here: {things}.", things=", ".join(named)))
            messages.append(say("The questions on the buttons fit this photo."))
    asked = Outcome(path) if is_command(typed) else asking.answer(predictor, path, photo, typed)
    message = " ".join(filter(None, (asked.message, *messages)))
    return dataclasses.replace(
        asked,
        message=message,
        suggestions=questions_for(concepts),
        described=described,
        said=description.text if description else "",
    )


def suggest(predictor: Predictor, photo: OpenedPhoto | None) -> tuple[str, ...]:
    """Four questions for a photo, from the encoding that is there; general ones for none."""
    return questions_for(concepts_of(predictor, photo.encoded) if photo else ())


def in_order(outcome: Outcome, last: Outcome | None, visit: int) -> Outcome:
    """An outcome of a visit with those before it, so that a quick next question leaves none of them out."""
    earlier = (*last.earlier, dataclasses.replace(last, earlier=())) if last is not None else ()
    same = tuple(one for one in earlier if one.visit == visit and one.reply is not None and one.path == outcome.path)
    return dataclasses.replace(outcome, visit=visit, earlier=same[-MAX_EARLIER:])


def shown_question(reply: Reply) -> str:
    """What a reply's question was typed as."""
    return reply.understood.typed if reply.understood else reply.prediction.question


def asked_as_html(understood: Understood | None) -> str:
    """One line above the answers; nothing for a question that follows no other."""
    if understood is None:
        return ""
    if not understood.rewritten:
        text = say_html(
            "Asked as typed: it isn’t certain what “{words}” stands for after the question before.",
            words=understood.unclear,
        )
        return f'<p class="asked-as">{text}</p>'
    asked = say_html("Asked as: {question}", question=strong(understood.asked))
    exactly = say_html("Ask exactly “{typed}”", typed=understood.typed)
    return f'<p class="asked-as">{asked} <button type="button" data-item="0" data-columns="1">{exactly}</button></p>'
