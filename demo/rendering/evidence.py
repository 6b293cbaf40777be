"""The evidence for a map as HTML and in a sentence.

Every text that came from a person or from the model is escaped here, by ``escape`` or ``say_html``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import escape

from demo.languages.translate import say, say_html
from demo.rendering.sentences import HOW_SURE, PHOTO, PLACE, is_control
from demo.rendering.wording import exact_percent, percent, strong

if TYPE_CHECKING:  # for real it would load torch, which the terminal's -h can do without
    from valm_core.outputs import Evidence


VERDICT_WORDS = {
    "matters": "where it looked matters",
    "matters a little": "where it looked matters a little",
    "no difference": "no difference beyond chance",
    "cannot tell": "can’t be told: the answer is about as likely with nine tenths of the photo hidden",
}
SHORT_VERDICT_WORDS = {  # the same in a table
    "matters": "matters",
    "matters a little": "matters a little",
    "no difference": VERDICT_WORDS["no difference"],
    "cannot tell": "can’t be told",
}
CONTROL_WORDS = {"matters": "what it marks matters", "matters a little": "what it marks matters a little"}


def verdict_words(evidence: Evidence) -> str:
    """A verdict in words, in English; a control marks places without having looked."""
    words = VERDICT_WORDS[evidence.verdict]
    return CONTROL_WORDS.get(evidence.verdict, words) if is_control(evidence.method) else words


def gate_html(gate: float) -> str:
    """The gate as a bar of two parts. ``gate`` is the question's share in 0..1."""
    question = round(100 * gate)
    meaning = say("How the model mixed its two streams for this answer. It is no proof of what it relied on.")
    return (
        f'<div class="gate"><p class="gate-numbers"><span>{say("question {share} %", share=question)}</span>'
        f'<span class="gate-divider"> | </span><span>{say("photo {share} %", share=100 - question)}</span></p>'
        f'<div class="gate-bar" aria-hidden="true"><span style="width:{question}%"></span></div>'
        f'<p class="fine-print">{meaning}</p></div>'
    )


def evidence_text(evidence: Evidence) -> str:
    """The evidence for a map in one sentence. Plain text, not HTML."""

    def listed(probabilities: tuple[float, ...]) -> str:
        return ", ".join(exact_percent(probability) for probability in probabilities)

    return say(
        "Hiding the {shares} of the photo marked hottest moves “{answer}” from {whole} to {hottest}; hiding as much at "
        "random (mean of {draws} draws) moves it to {random}.",
        shares=", ".join(f"{share:.0%}" for share in evidence.hidden_shares),
        answer=evidence.answer,
        whole=exact_percent(evidence.probability),
        hottest=listed(evidence.hottest_hidden),
        random=listed(evidence.random_hidden),
        draws=evidence.random_draws,
    )


def thresholds_text(evidence: Evidence) -> str:
    """Whose thresholds the verdict goes by, where they aren't this model's; plain text."""
    if evidence.own_thresholds:
        return ""
    return say("What counts as mattering was measured on another model, the one that VALM ships, and not on this one.")


def evidence_html(
    evidence: Evidence | None,
    gate: float | None,
    doubted: bool = False,
    sure: str | None = None,
    calibrated: bool = True,
) -> str:
    """What speaks for and against the map of the whole question, and what no such map can show.

    Args:
        evidence: of the explained answer and method; None where there is none.
        gate: the question's share in 0..1; None of an open model.
        doubted: ``is_doubted`` of the answer.
        sure: HTML about how sure the answer is, None in a file, which says what the page has under "About".
        calibrated: whether the percentages are chances of being right.
    """
    blind = "" if evidence is None else f"<p>{blind_line(evidence)}</p>"
    rows = [(PHOTO, say("Did it need the photo?"), blind + ("" if gate is None else gate_html(gate)))]
    if evidence is not None:
        rows += map_rows(evidence)
    unlike, uncalibrated = reservations(doubted, calibrated)
    if sure is not None:
        notes = "".join(f"<p>{note}</p>" for note in (unlike, uncalibrated) if note)
        rows.insert(0, (HOW_SURE, say("How sure to be?"), sure + notes))
    else:  # a file, which has no "About"
        honest = uncalibrated or say(
            "They were calibrated on the validation questions of this checkpoint: right on average over many "
            "questions like those, not for each one, and less on other kinds of photos."
        )
        limits = say(
            "It shows what was read, not what was understood or why. A cell’s vector also holds what lies around "
            "it, and the answer may come from the question alone. The verdict is about the map of the whole "
            "question, all layers and heads together."
        )
        rows += [("honest", say("Are the percentages honest?"), unlike or honest)]
        rows += [("limits", say("What attention can’t show"), limits)]
    lines = "".join(f'<dt id="{place}" tabindex="-1">{title}</dt><dd>{text}</dd>' for place, title, text in rows)
    return f'<dl class="evidence{" doubted" if doubted else ""}">{lines}</dl>'


def blind_line(evidence: Evidence) -> str:
    """What the model would answer without the photo, in a sentence."""
    blind = evidence.blind_answer
    values = {"answer": strong(blind.text), "share": percent(blind.probability)}
    if evidence.same_as_blind:
        return say_html("Without the photo it would say {answer} ({share}), the explained answer too.", **values)
    return say_html("Without the photo it would say {answer} ({share}), not the explained answer.", **values)


def map_rows(evidence: Evidence) -> list[tuple[str, str, str]]:
    """What speaks for and against the map, each with its place on the page and its title."""
    kind, agreement = evidence.verdict.replace(" ", "-"), evidence.agreement
    if agreement >= 0.6:
        agrees = say("They mostly agree")
    else:
        agrees = say("They agree in part") if agreement >= 0.3 else say("They disagree")
    verdict = (
        f'<span class="verdict verdict-{escape(kind)}">{escape(say(verdict_words(evidence)))}</span> '
        f"{escape(evidence_text(evidence))} {escape(thresholds_text(evidence))}"
    )
    others = say(
        "{agrees}: {agreement}, where 1 is the same order of cells and 0 no relation. Evenness of the map "
        "{evenness}, where 1 is everywhere the same.",
        agrees=agrees,
        agreement=f"{agreement:.2f}",
        evenness=f"{evidence.evenness:.2f}",
    )
    return [
        (PLACE, say("Does it matter where it looked?"), verdict),
        ("methods", say("Do other methods agree?"), others),
    ]


def reservations(doubted: bool, calibrated: bool) -> tuple[str, str]:
    """Why the percentages may not hold: for this question or photo, and for this model; "" for no reason."""
    unlike = say(
        "They were measured on questions unlike this one or about photos unlike this one, so they may not hold here."
    )
    uncalibrated = say(
        "They are the model’s own probabilities of each answer as a text, and were not calibrated: read them as an "
        "order, not as chances of being right."
    )
    return unlike if doubted else "", "" if calibrated else uncalibrated
