"""What stands under the photo in one breath: the answer, how sure to be of it, whether photo and place mattered.

Every sentence is a template with its values in braces, in English here and in Chinese in ``demo/languages/chinese.py``.
``docs/sentences.md`` has them all in a table; ``python -m demo.rendering.sentences`` writes it anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import escape

from demo.languages.translate import say, say_html, speaking
from valm_core.method_names import CONTROLS

if TYPE_CHECKING:  # for real it would load torch, which the terminal's -h can do without
    from valm_core.outputs import Evidence, Explanation, Prediction, TrackRecord, WordEvidence

TABLE = Path(__file__).parents[2] / "docs" / "sentences.md"
# Shares of right answers from which "very likely", "probably" and "perhaps" are said.
LIKELY, PROBABLY, UNLIKELY = 0.85, 0.55, 0.3
ALWAYS, NEVER = 0.95, 0.05  # from and below which it is nearly always and hardly ever right
EVEN = 0.45  # from here up to PROBABLY it is right about half the time
# What the page links each part of the sentence to: places in "Details", see evidence.py.
HOW_SURE, PHOTO, PLACE = "how-sure", "photo-needed", "place-mattered"


@dataclass(frozen=True)
class Sentence:
    """A template and when it is said."""

    when: str
    text: str


SENTENCES = {
    "very likely": Sentence("right in 85 % or more of such cases", "Very likely {answer}."),
    "probably": Sentence("right in 55 to 85 %", "Probably {answer}."),
    "perhaps": Sentence("right in 30 to 55 %", "Perhaps {answer}."),
    "unknown": Sentence("right in less than 30 %", "It does not know. Its best guess is {answer}."),
    "doubted": Sentence("a warning stands above, or nothing was measured", "It says {answer}."),
    "always": Sentence("right in 95 % or more", "When it is this sure, it is nearly always right."),
    "half": Sentence("right in 45 to 55 %", "When it is this sure, it is right about half the time."),
    "often": Sentence("any other share", "When it is this sure, it is right in about {count} of 10 cases."),
    "never": Sentence("right in less than 5 %", "When it is this sure, it is hardly ever right."),
    "unmeasured": Sentence("nothing was measured", "How often it is right in such a case was not measured."),
    "photo": Sentence("without the photo it gives another answer", "The photo decided it."),
    "more sure": Sentence(
        "without the photo the same answer, less likely", "It says the same without the photo, but less surely."
    ),
    "less sure": Sentence(
        "without the photo the same answer, more likely", "It says the same without the photo, and more surely."
    ),
    "guessed": Sentence(
        "without the photo the first answers are about as likely",
        "It guessed from the question: the photo hardly mattered.",
    ),
    "other text": Sentence(
        "the answer is a longer text, and another without the photo", "Without the photo it writes another text."
    ),
    "matters": Sentence("hiding the marked places moves the answer", "Where it looked mattered."),
    "matters a little": Sentence("hiding them moves it a little", "Where it looked mattered a little."),
    "no difference": Sentence(
        "hiding them moves it no more than chance",
        "Hiding where it looked cost the answer no more than chance explains.",
    ),
    "cannot tell": Sentence(
        "the answer is about as likely with nine tenths of the photo hidden",
        "Whether where it looked mattered can’t be told: the answer is about as likely with nine tenths of the photo "
        "hidden.",
    ),
    "awaited": Sentence("until it is found out", "Checking where it looked …"),
    "word matters": Sentence(
        "of a selected word: hiding where it looked moves the answer", "Where “{word}” looked mattered."
    ),
    "word matters a little": Sentence("it moves it a little", "Where “{word}” looked mattered a little."),
    "word no difference": Sentence(
        "it moves it no more than chance",
        "Hiding where “{word}” looked cost the answer no more than chance explains.",
    ),
    "word cannot tell": Sentence(
        "the answer is about as likely with nine tenths of the photo hidden",
        "Whether where “{word}” looked mattered can’t be told: the answer is about as likely with nine tenths of the "
        "photo hidden.",
    ),
    "word flat": Sentence(
        "no cell of its map stands out", "“{word}” looked everywhere alike: its map can’t be checked."
    ),
    "word same": Sentence(
        "its map is another word’s", "“{word}” looked where “{other}” did: its map says nothing of this word alone."
    ),
    "guessed matters": Sentence(
        "hiding them moves an answer that was called a guess", "Yet hiding where it looked made it less sure."
    ),
    "control": Sentence(
        "the map is a control’s, which knows nothing of the model",
        "This map is a control: it does not show where the model looked.",
    ),
    "explained": Sentence("another answer is explained; the two before follow", "For “{answer}”: {sentence}"),
}


def say_sentence(name: str, **values) -> str:
    """A sentence of ``SENTENCES`` in the visitor's language, as plain text."""
    return say(SENTENCES[name].text, **values)


def answer_name(share: float) -> str:
    """Which sentence gives an answer that is right in this share of cases, 0..1."""
    steps = ((LIKELY, "very likely"), (PROBABLY, "probably"), (UNLIKELY, "perhaps"))
    return next((name for least, name in steps if share >= least), "unknown")


def right_sentence(record: TrackRecord | None) -> str:
    """How often the model was right when it was as sure as this."""
    if record is None:
        return say_sentence("unmeasured")
    share = record.accuracy
    if share >= ALWAYS or share < NEVER:
        return say_sentence("always" if share >= ALWAYS else "never")
    return (
        say_sentence("half")
        if EVEN <= share < PROBABLY
        else say_sentence("often", count=min(max(round(10 * share), 1), 9))
    )


def photo_sentence(prediction: Prediction) -> str:
    """What the photo did for the answer; nothing where no blind answer is known."""
    if not prediction.blind_answers:
        return ""
    best, blind = prediction.answers[0], prediction.blind_answers[0]
    if prediction.guessed_from_question:
        return say_sentence("guessed")
    if best.text != blind.text:
        return say_sentence("other text" if prediction.long else "photo")
    return say_sentence("more sure" if best.probability > blind.probability else "less sure")


def is_control(method: str) -> bool:
    """Whether a map by this method says nothing of the model, so that it can't be called where the model looked."""
    return method in CONTROLS


def place_sentence(evidence: Evidence | None, likeliest: str, guessed: bool = False) -> str:
    """Whether it mattered where the model looked; plain text.

    Args:
        evidence: of the explained answer; None where there is none.
        likeliest: the answer that stands above.
        guessed: the sentence before says that the photo hardly mattered, which this one must not deny.
    """
    if evidence is None or evidence.verdict not in SENTENCES:
        return ""
    if is_control(evidence.method):
        return say_sentence("control")
    if evidence.answer != likeliest:
        return say_sentence("explained", answer=evidence.answer, sentence=say_sentence(evidence.verdict))
    if guessed and evidence.verdict in ("matters", "matters a little"):
        return say_sentence("guessed matters")
    return say_sentence(evidence.verdict)


def word_sentence(explanation: Explanation, judged: WordEvidence) -> str:
    """Whether it mattered where one word looked, or why its map can't say; plain text."""
    if is_control(explanation.method):
        return say_sentence("control")
    word = explanation.tokens[judged.word]
    if judged.flat:
        return say_sentence("word flat", word=word)
    if judged.same_as is not None:
        return say_sentence("word same", word=word, other=explanation.tokens[judged.same_as])
    return say_sentence(f"word {judged.evidence.verdict}", word=word) if judged.evidence else ""


def sentence_html(
    prediction: Prediction,
    record: TrackRecord | None,
    evidence: Evidence | None,
    doubted: bool = False,
    awaited: bool = False,
) -> str:
    """The answer as a heading, and after it what to think of it, each part a link to its place in "Details".

    Args:
        prediction: with at least one answer.
        record: of answers as sure as this one; None where nothing was measured.
        evidence: of the explained answer; None where there is none.
        doubted: a warning stands above it: nothing that was measured holds, and no answer stands out.
        awaited: the evidence is still to come.
    """
    best = prediction.answers[0]
    record = None if doubted else record
    name = answer_name(record.accuracy) if record else "doubted"
    place = place_sentence(evidence, best.text, prediction.guessed_from_question)
    parts = (
        (HOW_SURE, right_sentence(record)),
        (PHOTO, photo_sentence(prediction)),
        (PLACE, say_sentence("awaited") if awaited else place),
    )
    links = " ".join(f'<a href="#{place}" data-details>{escape(text)}</a>' for place, text in parts if text)
    if prediction.long:
        return f'<div class="sentence"><h2 class="long">{escape(best.text)}</h2><p>{links}</p></div>'
    answer = say_html(SENTENCES[name].text, answer=best.text)
    return f'<div class="sentence"><h2>{answer}</h2><p>{links}</p></div>'


def sentences_table() -> str:
    """The page of the docs that has every sentence in both languages."""
    lines = [
        "# What the page says in one sentence",
        "",
        "Each part is a link to its evidence under *Details*. *Right in … of such cases* is the share of validation "
        "questions answered as surely that were answered rightly. Values stand in braces.",
        "",
        "| when | English | 中文 |",
        "|---|---|---|",
    ]
    for sentence in SENTENCES.values():
        with speaking("zh"):
            lines.append(f"| {sentence.when} | {sentence.text} | {say(sentence.text)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(sentences_table(), encoding="utf-8")
