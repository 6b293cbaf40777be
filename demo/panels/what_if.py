"""The panel "What if": change the photo, the question or the model, and see what it says beside what it said."""

import dataclasses
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import gradio as gr
import numpy as np
from markupsafe import Markup, escape
from PIL import Image, ImageDraw

from demo.languages.translate import label, say, say_html
from demo.panels.late import find_out
from demo.rendering.answers import side_by_side_html
from demo.rendering.go_to import go_to
from demo.rendering.menus import Menu, Ticks
from demo.rendering.overlay import pixel_box
from demo.rendering.photo_input import NO_SHARING, Painting, ShownPicture
from demo.rendering.wording import notice_html, strong
from demo.visit import asking
from valm_core.captions.captioner import Captioner
from valm_core.outputs import Counterfactual, EncodedImage, Prediction, Predictor

MAX_PAINTED = 512  # pixels of the photo to paint on; the model sees fewer
HELP = (
    "Paint over a part of the photo, switch off words or attention heads, or name the only answers allowed. The "
    "model is asked again; its former answers stay beside the new ones."
)
MASKED = "Only these answers of the model’s list were allowed; their shares sum to 100 % and are not calibrated."
BY_LIKELIHOOD = (
    "Only these answers were allowed, each scored by how likely the model is to write it; the shares sum to 100 % and "
    "are not calibrated."
)
BY_MEANING = (
    "Not all of these answers are in the model’s list, so each was scored by its nearness in meaning to what the model "
    "finds likely; the shares sum to 100 % and are not calibrated."
)


@dataclass(frozen=True)
class Parts:
    """The panel's components."""

    panel: gr.Accordion
    painted: Painting
    words: gr.CheckboxGroup
    heads: gr.Dropdown
    candidates: gr.Textbox
    again: gr.Button
    flip: gr.Button
    describe: gr.Button
    outcome: gr.HTML
    flip_picture: ShownPicture


def build_what_if(
    predictor: Predictor,
    reply: gr.State,
    seconds: float,
    forward: tuple[gr.Button, gr.Button],
    captioner: Captioner | None = None,
) -> tuple[Callable, list, list]:
    """Lay the panel out and wire it.

    Args:
        predictor: that answers.
        reply: the ``Reply`` on the page, None without one.
        seconds: how long what it found out stays in memory.
        forward: the buttons under the map that lead here: to paint, and to search what would change the answer.
        captioner: describes photos; None where there is none.

    Returns:
        What makes the panel ready for a new ``Reply`` (it returns the updates), the components that takes, and the
        events that take long and are to be cancelled when something else is asked.
    """
    parts = build_parts(predictor, captioner)
    panel = WhatIf(predictor, parts, captioner)
    changed = [parts.outcome, parts.flip_picture]
    changes = [reply, parts.painted, parts.words, parts.heads, parts.candidates]
    paint, flip = forward
    # First of all: gradio takes an event's listeners in their order and waits for each, here for seconds.
    paint.click(None, js=go_to("#what-if", "#painted"))
    flip.click(None, js=go_to("#what-if", "#flip"))
    searching = find_out(partial(gr.on, [parts.flip.click, flip.click]), panel.find_flip, [reply], changed, seconds)
    again = [parts.again.click, parts.candidates.submit]
    gr.on(again, None, cancels=[searching])
    find_out(partial(gr.on, again), panel.ask_again, changes, changed, seconds)
    find_out(parts.describe.click, panel.describe_again, [reply, parts.painted], changed, seconds)
    if "what_if" in predictor.offers:
        parts.panel.expand(lambda: gr.update(visible=True), None, parts.painted, queue=False, show_progress="hidden")
    return panel.prepare, [parts.painted, parts.words, parts.heads, *changed], [searching]


def build_parts(predictor: Predictor, captioner: Captioner | None = None) -> Parts:
    """Lay the panel out; what the predictor doesn't offer isn't shown, and a line says why."""
    offered = "what_if" in predictor.offers
    with gr.Accordion(label("What if …"), open=False, elem_id="what-if") as panel:
        gr.HTML(label(HELP), elem_classes="fine-print", visible=offered)
        if not offered:
            gr.HTML(label("This kind of model can’t be asked again without parts."), elem_classes="fine-print")
        elif not predictor.attention_heads:
            gr.HTML(
                label("The attention heads of this kind of model can’t be switched off."), elem_classes="fine-print"
            )
        painted = Painting(
            label=label("Paint over what the model should not see"),
            type="pil",
            image_mode="RGBA",
            sources=[],
            brush=gr.Brush(default_size=40, colors=["#808080", "#000000", "#ffffff"], color_mode="fixed"),
            eraser=gr.Eraser(default_size=40),
            layers=False,
            transforms=[],
            buttons=["fullscreen"],
            visible=False,  # its code is large: the browser loads it when the panel is opened
            elem_id="painted",
        )
        words = Ticks(label=label("Switch off words"), choices=[], visible=offered, elem_id="words-off")
        heads = Menu(
            [],
            multiselect=True,
            label=label("Switch off attention heads"),
            visible=offered and bool(predictor.attention_heads),
            elem_id="heads-off",
        )
        candidates = gr.Textbox(
            label=label("Allow these answers only, with commas between"),
            placeholder="cat, dog, rabbit",
            max_length=2000,
            visible=offered,
            elem_id="candidates",
        )
        with gr.Row():
            again = gr.Button(label("Ask again"), variant="primary", visible=offered, elem_id="ask-again")
            flip = gr.Button(
                label("What would change the answer?"), visible="counterfactual" in predictor.offers, elem_id="flip"
            )
            describe = gr.Button(
                label("Describe the painted photo"), visible=offered and captioner is not None, elem_id="describe-again"
            )
        outcome = gr.HTML(elem_id="what-if-outcome")
        flip_picture = ShownPicture(
            label=label("The photo with these cells darkened"),
            interactive=False,
            visible=False,
            format="jpeg",
            buttons=NO_SHARING,
            elem_id="flip-picture",
        )
    return Parts(panel, painted, words, heads, candidates, again, flip, describe, outcome, flip_picture)


class WhatIf:
    """The panel's callbacks; they keep nothing about the visitors, who all share them."""

    def __init__(self, predictor: Predictor, parts: Parts, captioner: Captioner | None = None):
        self.predictor, self.parts, self.captioner = predictor, parts, captioner

    def prepare(self, current) -> dict:
        """A new answer: its photo and words, and nothing switched off."""
        parts = self.parts
        all_heads = [(head_name(head), json.dumps(head)) for head in self.predictor.attention_heads]
        cleared = {
            parts.outcome: "",
            parts.flip_picture: gr.update(value=None, visible=False),
            parts.heads: gr.update(choices=all_heads, value=[]),
        }
        if current is None:
            return cleared | {parts.painted: None, parts.words: gr.update(choices=[], value=[])}
        small = current.photo.picture.copy()
        small.thumbnail((MAX_PAINTED, MAX_PAINTED))
        choices = [(word, place) for place, word in enumerate(current.prediction.question.split())]
        return cleared | {parts.painted: small, parts.words: gr.update(choices=choices, value=[])}

    def ask_again(self, current, edited, words_off, heads_off, allowed) -> dict:
        """The answer to what is left, beside the former one."""
        outcome, hidden = self.parts.outcome, {self.parts.flip_picture: gr.update(value=None, visible=False)}
        if current is None:
            return hidden | {outcome: notice_html(asking.NO_QUESTION)}
        try:
            choices = split_candidates(allowed)
            changed = painted_photo(edited)
            encoded = current.photo.encoded
            if changed:
                painted = dataclasses.replace(current.photo, encoded=self.predictor.encode(changed))
                encoded = asking.with_prompt(painted, asking.prompt_of(current.photo)).encoded
            asked = self.predictor.what_if(
                encoded,
                current.prediction.question,
                hidden_words=words_off,
                masked_heads=[tuple(json.loads(head)) for head in heads_off],
                candidates=choices,
            )
            rule = say(self.rule_for(choices)) if choices else ""
            off = switched_off(current.prediction.question, words_off, heads_off, choices, changed is not None)
            return hidden | {outcome: comparison_html(current.prediction, asked, rule, off)}
        except Exception as error:
            return hidden | {outcome: notice_html(asking.message_for(error))}

    def rule_for(self, choices: list[str]) -> str:
        """How given answers are scored, in words."""
        if not self.predictor.answers:  # it writes them
            return BY_LIKELIHOOD
        return MASKED if self.predictor.masks(choices) else BY_MEANING

    def describe_again(self, current, edited) -> dict:
        """The description of the painted photo, beside that of the whole one."""
        outcome, hidden = self.parts.outcome, {self.parts.flip_picture: gr.update(value=None, visible=False)}
        if current is None or self.captioner is None:
            return hidden | {outcome: notice_html(asking.NO_QUESTION)}
        painted = painted_photo(edited)
        if painted is None:
            return hidden | {outcome: notice_html(say("Nothing is painted over yet: paint on the photo first."))}
        try:
            texts = [self.captioner.write(photo) for photo in (current.photo.picture, painted)]
        except Exception as error:
            return hidden | {outcome: notice_html(asking.message_for(error))}
        return hidden | {outcome: descriptions_html(*texts)}

    def find_flip(self, current) -> dict:
        """The fewest cells and words without which the answer is another."""
        outcome = self.parts.outcome
        if current is None:
            return {outcome: notice_html(asking.NO_QUESTION)}
        try:
            best = current.prediction.answers[0].text
            found = self.predictor.counterfactual(current.photo.encoded, current.prediction.question, answer=best)
        except Exception as error:
            return {outcome: notice_html(asking.message_for(error))}
        region, photo = found.region, current.photo
        drawn = region is not None and bool(region.any())
        picture = region_picture(photo.picture, region, photo.encoded) if region is not None and drawn else None
        return {
            outcome: flip_html(found, current.prediction.question, best),
            self.parts.flip_picture: gr.update(value=picture, visible=bool(drawn)),
        }


def head_name(head: tuple[str, int, int]) -> str:
    """A head for people, counted from 1."""
    step, layer, number = head
    reads = {
        "text_to_image": say("words read the photo"),
        "image_to_text": say("the photo reads words"),
        "text_to_text": say("words read words"),
        "image_to_image": say("the photo reads itself"),
        "joint_to_joint": say("all tokens read each other"),
    }[step]
    return say("{reads}: layer {layer}, head {head}", reads=reads, layer=layer + 1, head=number + 1)


def split_candidates(text: str | None) -> list[str]:
    """What stands between the commas, Chinese ones too, without what is empty."""
    return [part.strip() for part in re.split("[,，、]", text or "") if part.strip()]


def painted_photo(edited: dict | None) -> Image.Image | None:
    """The photo under its paint, None where nothing was painted.

    Args:
        edited: an ``ImageEditor``'s value: ``composite``, and ``layers`` of paint over the photo, RGBA.
    """
    edited = edited or {}
    painted = any(np.asarray(layer.convert("RGBA"))[..., 3].any() for layer in edited.get("layers") or [])
    return edited["composite"].convert("RGB") if painted and edited.get("composite") is not None else None


def switched_off(question: str, words_off, heads_off, allowed, painted: bool) -> list[str]:
    """Everything that was changed for asking again, each in words: plain text, nothing for nothing.

    Args:
        question: as it was first asked.
        words_off: places of its words.
        heads_off: the chosen heads, as the menu gives them.
        allowed: the only answers allowed, none for all.
        painted: whether a part of the photo was painted over.
    """
    changes = [say("a part of the photo painted over")] if painted else []
    words = question.split()
    changes += [say("without “{word}”", word=words[place]) for place in sorted(words_off)]
    changes += [say("without the head {head}", head=head_name(tuple(json.loads(head)))) for head in heads_off]
    if allowed:
        changes.append(say("answers allowed: {answers}", answers=", ".join(allowed)))
    return changes


def comparison_html(before: Prediction, after: Prediction, rule: str = "", off: list[str] | None = None) -> str:
    """Former and new answers side by side, and in one sentence whether the likeliest is another.

    Args:
        before, after: the former reply and the new one.
        rule: how the new one was scored.
        off: what was switched off, see ``switched_off``.
    """
    first, now = before.answers[0].text, after.answers[0].text
    names = {"now": strong(now), "before": strong(first)}
    if first == now:
        message = say_html("The answer stays {now}.", **names)
    else:
        message = say_html("The answer changes from {before} to {now}.", **names)
    lists = side_by_side_html([(say("before"), before.answers, ""), (say("now"), after.answers, "")])
    asked = (
        ""
        if after.question == before.question
        else f"<p>{say_html('Asked: “{question}”', question=after.question)}</p>"
    )
    note = f'<p class="fine-print">{escape(rule)}</p>' if rule else ""
    changed = say("Changed: {list}.", list="; ".join(off)) if off else say("Nothing was switched off.")
    changed = f'<p class="changed">{escape(changed)}</p>'
    return f'<div class="comparison" role="status"><p>{message}</p>{changed}{asked}{lists}{note}</div>'


def descriptions_html(before: str, after: str) -> str:
    """Two descriptions, one below the other; the words that the other one lacks are marked."""
    verdict = say("The description stays the same." if before == after else "The description changes.")
    gone = _marked(before, after, Markup("<del>{}</del>"))
    come = _marked(after, before, Markup("<ins>{}</ins>"))
    rows = "".join(
        f'<dt>{escape(say(when))}</dt><dd lang="en">{text}</dd>' for when, text in (("before", gone), ("now", come))
    )
    return f'<div class="comparison" role="status"><p>{escape(verdict)}</p><dl class="descriptions">{rows}</dl></div>'


def _marked(text: str, other: str, around: Markup) -> Markup:
    """A text as HTML, ``around`` each word that ``other`` lacks."""
    known = {_plain(word) for word in other.split()}
    return Markup(" ").join(word if _plain(word) in known else around.format(word) for word in text.split())


def _plain(word: str) -> str:
    """A word of a sentence as it would stand anywhere in it."""
    return word.lower().rstrip(".")


def flip_html(found: Counterfactual, question: str, best: str | None = None) -> str:
    """What would change the answer, in two sentences; ``best`` is the likeliest on the page, None for the same."""
    answer = strong(found.answer)
    if found.region is None:
        region = say_html("It answers {answer} even when the whole photo is hidden.", answer=answer)
    else:
        region = say_html(
            "With {count} of {total} cells hidden (shown darkened) it answers {new} and not {answer}.",
            count=int(found.region.sum()),
            total=found.region.size,
            new=strong(found.region_answer or ""),
            answer=answer,
        )
    if found.words is None:
        words = say_html("No words could be left out to change it from {answer}.", answer=answer)
    else:
        dropped = " ".join(f"“{question.split()[place]}”" for place in found.words)
        new = strong(found.words_answer or "")
        words = say_html("Without {words} it answers {new}.", words=dropped, new=new)
    note = say("Found by a greedy search: a smaller set of other cells may exist.")
    if best not in (None, found.answer):
        other = say("It is about the answer that the model writes word after word, not the likeliest of several.")
        note = f"{other} {note}"
    return f'<div class="comparison" role="status"><p>{region}</p><p>{words}</p><p class="fine-print">{note}</p></div>'


def region_picture(picture: Image.Image, region: np.ndarray, encoded: EncodedImage) -> Image.Image:
    """The photo with the cells of ``region`` [rows, columns] darkened and framed."""
    canvas = picture.convert("RGB")
    left, top, right, bottom = pixel_box(encoded.box, canvas.size)
    rows, columns = region.shape
    shade = Image.new("L", canvas.size, 0)
    draw = ImageDraw.Draw(shade)
    for row, column in np.argwhere(region):
        x0, x1 = (left + (right - left) * place / columns for place in (column, column + 1))
        y0, y1 = (top + (bottom - top) * place / rows for place in (row, row + 1))
        draw.rectangle((x0, y0, x1, y1), fill=215)
    canvas.paste(Image.new("RGB", canvas.size, (20, 20, 28)), mask=shade)
    return canvas
