"""The panel "Wrong? Correct me": the right answer and the photo are kept where a person agrees and this is set up."""

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from markupsafe import Markup, escape

from demo.languages.translate import label, say, say_html, translated
from demo.rendering.wording import notice_html, strong
from demo.settings import Settings
from demo.visit import asking
from valm_core.checkpoints.fingerprints import answer_list_fingerprint
from valm_core.corrections.database import (
    UNKNOWN_MODEL,
    CorrectionsError,
    MadeWith,
    Receipt,
    add_correction,
    delete_corrections,
)
from valm_core.outputs import InputError, Predictor

SPACE_STORAGE = Path("/data")  # where a Space has attached storage
MAX_AN_HOUR = 20  # corrections of one visitor
HOUR, DAY = 60 * 60, 24 * 60 * 60  # seconds
SUGGESTIONS = 4  # the model's answers after its first
RECEIPT_CHARACTERS = 12
LOST = "This question is no longer on the server, so nothing was stored. Ask it again, then correct the answer."
TOO_MANY = (
    "You have sent {count} corrections within an hour, the most we take. Send the next ones later. What you typed is "
    "still in the form."
)
AGREE = "I agree that this photo and these words are kept to train the model."


def start(settings: Settings) -> Settings | None:
    """Start what goes on behind the page: uploads, and the deletion of what is too old.

    On a Space the database must lie on attached storage, or a dataset be named: else all would be lost at the next
    restart.

    Returns:
        None where the form is not wanted or can't be had; the log says why.
    """
    if not settings.feedback:
        return None
    database = Path(settings.feedback).resolve()
    attached = database.is_relative_to(SPACE_STORAGE) and os.path.ismount(SPACE_STORAGE)
    try:
        if settings.space and not settings.feedback_repo and not attached:
            raise ValueError(
                f"VALM_FEEDBACK is {database}, which is lost when this Space restarts. Attach storage and use a path "
                f"under {SPACE_STORAGE}, or name a dataset to upload to in VALM_FEEDBACK_REPO."
            )
        if settings.feedback_repo:
            from valm_core.corrections.hub_dataset import CorrectionsUpload

            CorrectionsUpload(database, settings.feedback_repo, settings.feedback_days)
    except (OSError, ValueError) as error:
        logging.getLogger("valm").warning("The form for corrections is off. %s", error)
        return None
    settings = dataclasses.replace(settings, feedback=str(database))  # whatever the current folder is by then
    threading.Thread(target=delete_old_daily, args=(settings,), daemon=True).start()
    return settings


def delete_old_daily(settings: Settings) -> None:
    """Delete what was kept long enough, now and every day."""
    while True:
        delete_old(settings)
        time.sleep(DAY)


def delete_old(settings: Settings) -> None:
    """Delete what was kept long enough; what goes wrong goes to the log."""
    try:
        if Path(settings.feedback).is_file():
            delete_corrections(settings.feedback, older_than_days=settings.feedback_days)
    except OSError as error:
        logging.getLogger("valm").warning("Old corrections were not deleted. %s", error)


def made_with(predictor: Predictor) -> MadeWith:
    """Which weights and which answer list corrections are about; no weights where the facts don't name them."""
    return MadeWith(str(predictor.facts.get("checkpoint_sha256", "")), answer_list_fingerprint(predictor.answers))


def build_corrections(
    reply: gr.State, seconds: float, settings: Settings, model: MadeWith = UNKNOWN_MODEL
) -> tuple[Callable, list, list]:
    """Lay the form out and wire it, where it is set up.

    Args:
        reply: the ``Reply`` on the page, None without one.
        seconds: how long an untouched visitor's state stays in memory.
        settings: whether it is wanted, where corrections go, and for how long.
        model: what answers on this page.

    Returns:
        What to run once a new answer is shown, its inputs, and the components it empties: none without a form.
    """
    usable = start(settings)
    if usable is None:
        return dict, [], []
    settings = usable
    about = gr.State(time_to_live=seconds)  # the Reply that the form was emptied for, and that is corrected
    sent = gr.State((), time_to_live=seconds)  # when this visitor sent corrections
    about_answer, right, suggestions, terms, agreed, button, outcome = build_form()

    def empty(current, former) -> dict:
        """An empty form about a new answer; a question that was refused leaves the old answer, and the form."""
        if current is not None and former is not None and current.prediction is former.prediction:
            return {about: gr.skip()}
        answers = [] if current is None else [answer.text for answer in current.prediction.answers]
        others = answers[1 : SUGGESTIONS + 1]
        others += [None] * (SUGGESTIONS - len(others))
        return {
            about: current,
            about_answer: about_html(current.prediction.question, answers[0]) if answers else "",
            terms: terms_html(settings),
            right: "",
            agreed: False,
            outcome: "",
            **{
                button: gr.update(value=text or "", visible=text is not None)
                for button, text in zip(suggestions, others, strict=True)
            },
        }

    def send(current, answer, agree, said, times) -> dict:
        if said and not agree and not (answer or "").strip():  # pressed twice: the form was emptied by the first
            return {outcome: gr.skip()}
        try:
            receipt, times = store(settings, current, answer, agree, times, model)
        except Exception as error:
            return {outcome: notice_html(failure(error))}
        thanks = thanks_html(receipt, current.prediction.question, answer)
        return {right: "", agreed: False, outcome: thanks, sent: times}

    form = [about, right, agreed, outcome, sent]
    gr.on([button.click, right.submit], send, form, [right, agreed, outcome, sent], show_progress_on=outcome)
    for suggestion in suggestions:
        suggestion.click(lambda text: text, suggestion, right, queue=False, show_progress="hidden")
    return empty, [reply, about], [about, about_answer, terms, right, agreed, outcome, *suggestions]


def build_form() -> tuple[gr.HTML, gr.Textbox, list[gr.Button], gr.HTML, gr.Checkbox, gr.Button, gr.HTML]:
    """Lay out: what is corrected, the right answer, what it may be, the terms, consent, "Send", what came of it."""
    with gr.Accordion(label("Wrong? Correct me"), open=False, elem_id="correct"):
        about_answer = gr.HTML(elem_id="correct-about")
        right = gr.Textbox(
            label=label("The right answer"),
            placeholder=label("Type it, or pick one of the model’s other answers"),
            max_length=1000,
            lines=1,
            elem_id="right-answer",
        )
        with gr.Row(elem_id="right-suggestions"):
            suggestions = [gr.Button(size="sm", min_width=0, visible=False) for _ in range(SUGGESTIONS)]
        terms = gr.HTML()
        agreed = gr.Checkbox(label=label(AGREE), elem_id="agree")
        button = gr.Button(label("Send"), variant="primary", elem_id="send-correction")
        outcome = gr.HTML(elem_id="correct-outcome")
    return about_answer, right, suggestions, terms, agreed, button, outcome


def store(
    settings: Settings,
    reply: asking.Reply | None,
    answer: str,
    agree: bool,
    times: tuple[float, ...],
    model: MadeWith = UNKNOWN_MODEL,
) -> tuple[Receipt, tuple[float, ...]]:
    """Keep one correction of what the model said first.

    Args:
        settings: where.
        reply: the answered question.
        answer, agree: what was typed, and whether the box is ticked.
        times: when this visitor sent the former ones, in seconds.
        model: what answered.

    Returns:
        The receipt, and ``times`` with this one, without those that are older than an hour.

    Raises:
        InputError: nothing to correct, too many within an hour, or what ``add_correction`` refuses.
        CorrectionsError: see there.
    """
    now = time.time()
    times = tuple(moment for moment in times if now - moment < HOUR)
    if reply is None:
        raise InputError(LOST)
    if len(times) >= MAX_AN_HOUR:
        raise InputError(TOO_MANY, count=MAX_AN_HOUR)
    prediction = reply.prediction
    texts = (prediction.question, prediction.answers[0].text, answer)
    most_bytes = settings.feedback_mb * 1_000_000
    receipt = add_correction(settings.feedback, reply.photo.picture, *texts, agree, most_bytes, model)
    return receipt, (*times, now)


def failure(error: Exception) -> str:
    """What to tell the person; the log gets the whole of it, paths too."""
    if not isinstance(error, CorrectionsError):
        return asking.message_for(error)
    logging.getLogger("valm").error("a correction was not stored: %s", error)
    return say(
        "Your correction was not stored: {reason}. What you typed is still in the form. Try again later.",
        reason=translated(error.reason),
    )


def terms_html(settings: Settings) -> str:
    """What a person agrees to: what is kept, what for, where, for how long, and how to have it deleted."""
    where = say("on this server")
    if settings.feedback_repo:
        where = say("on this server and in the private dataset {name}", name=settings.feedback_repo)
    kept = say("this photo without its hidden data (place, time, camera), the question, the model’s answer and yours.")
    purpose = say("to train the model. What a model has learned from it can’t be taken out of it again.")
    how_long = say("{where}, for at most {days} days.", where=where, days=settings.feedback_days)
    deletion = say(
        "you get a number; give it to {contact}, and photo and words are deleted.",
        contact=contact(settings),
    )
    lines = [
        (say("Kept:"), kept),
        (say("What for:"), purpose),
        (say("Where, how long:"), how_long),
        (say("Deletion:"), deletion),
    ]
    listed = "".join(f"<li>{strong(name)} {escape(text)}</li>" for name, text in lines)
    warning = say("Send no photo that shows others against their will.")
    return f'<ul class="terms">{listed}</ul><p class="fine-print">{warning}</p>'


def contact(settings: Settings) -> str:
    """Whom to ask for the deletion of a correction."""
    if settings.feedback_contact:
        return settings.feedback_contact
    if settings.space:
        return say("the Community tab of the Space {name}", name=settings.space)
    return say("whoever gave you this page’s address")


def about_html(question: str, answer: str) -> str:
    """Which answer the form is about."""
    text = say_html("“{question}” – the model says {answer}.", question=question, answer=strong(answer))
    return f"<p>{text}</p>"


def thanks_html(receipt: Receipt, question: str, answer: str) -> str:
    """The confirmation, with the number that deletes."""
    began = say("Thank you, your correction is stored")
    if not receipt.new:
        began = say("This correction was stored already")
    text = say_html(
        "{began}: “{question}” – {answer}. Keep the number {number} if you may want it deleted.",
        began=began,
        question=question,
        answer=strong(answer.strip()),
        number=Markup("<code>{}</code>").format(receipt.photo[:RECEIPT_CHARACTERS]),
    )
    return f'<p class="thanks" role="status">{text}</p>'
