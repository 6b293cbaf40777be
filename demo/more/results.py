"""HTML of the page More: labels with bars, words that spoke for and against, marked sentences, read pages."""

import numpy as np
from markupsafe import escape
from PIL import Image

from demo.languages.translate import say, say_html
from demo.rendering.answers import bars_html
from demo.rendering.evidence import SHORT_VERDICT_WORDS
from demo.rendering.map import picture_html
from demo.rendering.overlay import Look, overlay
from demo.rendering.page_frames import MIN_FALL, marked_page
from demo.rendering.sentences import say_sentence
from demo.rendering.wording import notice_html, percent, strong
from demo.visit.printed import Printed
from valm_core.answers import differ
from valm_core.outputs import Answer
from valm_core.tasks.labeller import Labelled
from valm_core.tasks.reader import PageAnswer, ReadPage
from valm_core.tasks.tagger import Tagged

STRONG_EFFECT = 2.0  # log-odds from which on a word is drawn in full colour
FRAMED = {  # the same of the lines of a page that spoke for its answer
    "matters": "The framed lines mattered.",
    "matters a little": "The framed lines mattered a little.",
    "no difference": "Hiding the framed lines cost the answer no more than chance explains.",
    "cannot tell": "Whether the framed lines mattered can’t be told.",
}


def labelled_html(labelled: Labelled) -> str:
    """The likeliest labels, what the photo changed, and each word by how it spoke for the first one."""
    first = labelled.labels[0]
    parts = [f'<h2 class="more-title">{escape(first.text)}</h2>', bars_html(labelled.labels[:5])]
    if labelled.blind_labels:
        blind = labelled.blind_labels[0]
        template = "Without the photo: {answer} ({share})."
        changed = say_html(template, answer=strong(blind.text), share=percent(blind.probability))
        same = blind.text == first.text and not differ(first.probability, blind.probability)
        parts.append(f"<p>{changed} {say('The photo changed nothing.') if same else ''}</p>")
    parts.append(_words_html(labelled))
    if labelled.places_judged:
        parts.append(f"<p>{escape(say_sentence(labelled.places_judged.verdict))}</p>")
    return "".join(parts)


def _words_html(labelled: Labelled) -> str:
    marked = {word for start, end in labelled.spans for word in range(start, end)}
    chips = []
    for place, (word, verdict) in enumerate(zip(labelled.words, labelled.word_verdicts, strict=True)):
        effect = float(labelled.effects[place])
        side = "for" if effect > 0 else "against"
        share = min(abs(effect) / STRONG_EFFECT, 1) if verdict == "matters" else 0
        kind = "marked" if place in marked else side if share else "plain"
        note = say("marked" if place in marked else side if share else SHORT_VERDICT_WORDS["no difference"])
        chips.append(
            f'<span class="spoke {kind}" style="--share:{share:.2f}" title="{escape(note)}">{escape(word)}'
            f'<span class="sr-only"> ({escape(note)})</span></span>'
        )
    title = say("Words that spoke for it, and against it")
    return f'<h3>{title}</h3><p class="spoken">{" ".join(chips)}</p>'


def tagged_html(tagged: Tagged) -> str:
    """The sentence with its entities marked, and a row for each: how likely, what is left without itself, verdict."""
    if not tagged.spans:
        return f"<p>{say('No entity was found in this sentence.')}</p>"
    opened = {span.first: span for span in tagged.spans}
    pieces, place = [], 0
    while place < len(tagged.words):
        span = opened.get(place)
        if span:
            kind = f'<span class="entity-type">{escape(span.type)}</span>'
            pieces.append(f'<mark class="entity">{escape(span.text)} {kind}</mark>')
            place = span.end
        else:
            pieces.append(str(escape(tagged.words[place])))
            place += 1
    rows = []
    for span in tagged.spans:
        others = [one for one in np.argsort(-span.word_scores) if not span.first <= one < span.end]
        named = [tagged.words[one] for one in others[:3] if span.word_scores[one] >= MIN_FALL]
        cells = (
            escape(span.text),
            escape(span.type),
            percent(span.probability),
            percent(span.without_itself),
            escape(", ".join(named) or "–"),
            say(SHORT_VERDICT_WORDS[span.verdict]) if span.verdict else "–",
        )
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    names = ("Entity", "Type", "Probability", "By the other words alone", "Other words that spoke for it", "Verdict")
    head = "".join(f'<th scope="col">{say(name)}</th>' for name in names)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    scrolled = f'<div class="wide-table" tabindex="0" role="region" aria-label="{say("Entities")}">{table}</div>'
    return f'<p class="entities">{" ".join(pieces)}</p>{scrolled}'


def read_html(page: ReadPage, answer: PageAnswer) -> str:
    """What the page answers, how sure, further answers, and whether the lines that spoke for it matter."""
    share = percent(answer.probability)
    parts = [f'<h2 class="more-title">{escape(answer.text)}</h2>']
    parts.append(bars_html((Answer(answer.text, answer.probability), *(Answer(*other) for other in answer.others))))
    note = "{share}: how sure it is of these words, on receipts like those it learned from; elsewhere less can be said."
    parts.append(f'<p class="fine-print">{say_html(note, share=share)}</p>')
    if answer.verdict:
        parts.append(f"<p>{escape(say(FRAMED[answer.verdict]))}</p>")
    if page.pages > 1:
        parts.append(
            f'<p class="fine-print">{say_html("Page {number} of {pages}.", number=page.number, pages=page.pages)}</p>'
        )
    return "".join(parts)


def printed_html(printed: Printed) -> str:
    """A photo that was read on the first page: the answer among its words, whose it is, and its place in a frame."""
    page, answer = printed.page, printed.answer
    if page is None or answer is None:
        return notice_html(printed.message)
    title = say_html("Read on the page: {answer}", answer=answer.text)
    lead = "By a second model, from the {count} words that OCR found here. It says {share}."
    first = say_html(lead, count=len(page.page.words), share=percent(answer.probability))
    note = say("It learned company, date, address and total of receipts; of other pages and questions it knows little.")
    others = (Answer(answer.text, answer.probability), *(Answer(*other) for other in answer.others))
    judged = escape(say(FRAMED[answer.verdict])) if answer.verdict else ""
    return (
        f'<section class="printed" aria-label="{say("What was read")}"><h2 class="more-title">{title}</h2>'
        f"<p>{first} {judged}</p>{bars_html(others)}"
        f'<p class="fine-print">{note}</p>{page_picture_html(page, answer)}</section>'
    )


def reading_html() -> str:
    """What stands there while a page is read."""
    return f'<p class="fine-print" role="status">{say("A second model looks for printed words on it …")}</p>'


def map_picture_html(picture: Image.Image, labelled: Labelled) -> str:
    """The map of a label over its photo."""
    name = say_html("Where it looked for “{answer}”", answer=labelled.labels[0].text)
    return picture_html(overlay(picture, labelled.explanation(), (), Look()), name)


def page_picture_html(page: ReadPage, answer: PageAnswer) -> str:
    """The page with the answer and what spoke for it in frames; "" where only its lines are known."""
    if page.picture is None:
        return ""
    name = say_html("The page, with a frame around “{answer}”", answer=answer.text)
    return picture_html(marked_page(page.picture, page, answer), name)
