"""The question's words above the map, and the heading that says which of them it is of.

Every text that came from a person or from the model is escaped here, by ``escape`` or ``say_html``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import escape

from demo.languages.translate import say, say_html
from demo.rendering.overlay import WHOLE_QUESTION, heat_to_show, word_colour
from demo.rendering.wording import hundredths, method_name, percent, short_answer
from valm_core.method_names import DEFAULT_METHOD

if TYPE_CHECKING:  # for real it would load torch, which the terminal's -h can do without
    from valm_core.outputs import Explanation


def place_text(direction: str, layer: int | None, head: int | None) -> str:
    """Which maps of an explanation these are: their direction, layer and head, counted from 1 (None: all of them)."""
    toward = say("where the words looked") if direction == "text_to_image" else say("what the photo’s cells read")
    if layer is None and head is None:
        return f"{toward} · {say('all layers and heads')}"
    in_layer = say("all layers") if layer is None else say("layer {layer}", layer=layer + 1)
    in_head = say("all heads") if head is None else say("head {head}", head=head + 1)
    return f"{toward} · {say('attention in {layer}, {head}', layer=in_layer, head=in_head)}"


def subject_html(
    answer: str,
    explanation: Explanation,
    direction: str,
    layer: int | None,
    head: int | None,
    words: tuple[int, ...] = (),
    quiet: bool = False,
) -> str:
    """What the map is of: the explained answer or the selected words, the method, direction, layer and head.

    Args:
        answer: the explained one.
        explanation: W words.
        direction: "text_to_image" or "image_to_text".
        layer, head: None for all of them.
        words: selected ones.
        quiet: the method and its place only where someone chose them; a tooltip otherwise.
    """
    names = [f"“{explanation.tokens[word]}”" for word in words]
    if not names:
        title = say_html("Where it looked for “{answer}”", answer=short_answer(answer))
    elif len(names) == 1:
        title = say_html("Where it looked for {word}", word=names[0])  # short: on a phone it has one line
    else:
        title = say_html("Where it looked for the words {words}", words=say(" and ").join(names))
    made = escape(f"{method_name(explanation.method)} · {place_text(direction, layer, head)}")
    chosen = (explanation.method, direction, layer, head) != (DEFAULT_METHOD, "text_to_image", None, None)
    if quiet and not chosen:
        return f'<h2 title="{made}">{title}</h2>'
    return f'<h2>{title}</h2><p class="fine-print">{made}</p>'


def words_html(explanation: Explanation, words: tuple[int, ...], whole: str = "") -> str:
    """The question's words, and the whole question, as a row of buttons for selection.js; selected ones are pressed.

    Several selected words carry the colours that ``overlay`` gives them. Each button has its map to preview, and a bar
    as long as its share of the question's weight, the heaviest word's being full. ``whole`` is what all words together
    are called, the whole question by default.
    """
    heaviest = max(float(explanation.token_scores.max()), 1e-9)
    buttons = []
    for word in (WHOLE_QUESTION, *range(len(explanation.tokens))):
        pressed = word in words or (word == WHOLE_QUESTION and not words)
        enters = word == (words[0] if words else WHOLE_QUESTION)
        name, weight, title = whole or say("whole question"), "", ""
        if word != WHOLE_QUESTION:
            name, score = explanation.tokens[word], float(explanation.token_scores[word])
            if explanation.answer_words and word == len(explanation.tokens) - explanation.answer_words:
                name = f"→ {name}"  # from here on the words are the answer's
            title = f' title="{say("{share} of the question’s weight", share=percent(score))}"'
            weight = f'<span class="weight" aria-hidden="true" style="--weight:{score / heaviest:.2f}"></span>'
        swatch = swatch_html(words.index(word)) if len(words) > 1 and word in words else ""
        buttons.append(
            f'<button type="button" class="word" data-item="{word}" aria-pressed="{str(pressed).lower()}"{title} '
            f'data-shares="{hundredths(heat_to_show(explanation, word))}" '
            f'tabindex="{0 if enters else -1}">{swatch}{escape(name)}{weight}</button>'
        )
    return (
        f'<div class="words" role="toolbar" aria-label="{say("Words of your question")}" '
        f'data-preview-on="#overlay .cells" data-columns="{len(buttons)}">' + "".join(buttons) + "</div>"
    )


def swatch_html(place: int) -> str:
    """The colour of the word that was selected as number ``place``, from 0."""
    return '<span class="swatch" aria-hidden="true" style="background:rgb({} {} {})"></span>'.format(
        *word_colour(place)
    )
