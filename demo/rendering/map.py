"""The map as HTML: the photo's cells, the heads, the numbers of its colours, and the map in words.

Every text that came from a person or from the model is escaped here, by ``escape`` or ``say_html``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import escape
from PIL import Image

from demo.languages.translate import say, say_html
from demo.rendering.overlay import (
    FLAT_GREY,
    INFERNO,
    MAX_SIDE,
    WHOLE_QUESTION,
    Look,
    colour,
    density,
    overlay,
    pixel_box,
    scale_top,
    word_map,
    words_map,
)
from demo.rendering.wording import data_address, hundredths, method_name, percent, strong
from demo.rendering.words import swatch_html
from valm_core.evidence.rules import evenness, is_flat

if TYPE_CHECKING:  # for real it would load torch, which the terminal's -h can do without
    from valm_core.outputs import Explanation

PREVIEW_SIDE = 480  # pixels of the photo under a previewed map
PREVIEW_COLOURS = " ".join(",".join(map(str, step)) for step in INFERNO.tolist())


def map_html(
    picture: Image.Image,
    explanation: Explanation,
    words: tuple[int, ...],
    cells: tuple[int, ...],
    look: Look,
    original: bool = False,
    direction: str = "text_to_image",
) -> str:
    """The map over the photo, under a grid of buttons for selection.js: one a cell, marked where selected.

    zoom.js enlarges it between two fingers.

    Args:
        picture: the photo.
        explanation: W words, N = rows x columns cells.
        words: whose map is drawn; none for the whole question.
        cells: selected cells, in row-major order.
        look: how it is drawn.
        original: show the photo itself beside it.
        direction: what each cell previews by its button, as ``served_html`` has it.
    """
    drawn = overlay(picture, explanation, words, look)
    heat = words_map(explanation, words)
    rows, columns = explanation.grid
    enters = cells[0] if cells else int(heat.argmax())
    lines = []
    for row in range(rows):
        line = []
        for column in range(columns):
            cell = row * columns + column
            share = percent(float(heat[row, column]))
            name = say("row {row}, column {column}: {share}", row=row + 1, column=column + 1, share=share)
            serves = hundredths(served_shares(explanation, (cell,), direction))
            line.append(
                f'<button type="button" role="gridcell" class="cell" data-item="{cell}" title="{name}" '
                f'data-shares="{serves}" aria-label="{name}" aria-selected="{str(cell in cells).lower()}" '
                f'tabindex="{0 if cell == enters else -1}"></button>'
            )
        lines.append(f'<div role="row">{"".join(line)}</div>')
    left, top, right, bottom = (100 * side for side in explanation.box)
    place = f"left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;height:{bottom - top:.2f}%"
    alt = escape(map_description(explanation, words))
    grid = (
        f'<div class="cells" role="grid" aria-multiselectable="true" aria-label="{say("Cells of the photo")}" '
        f'data-preview-on="#words .words" data-draggable data-columns="{columns}" style="{place}" '
        f'data-density="{density(np.ones(1), look.opacity)[0]:.3f}" data-colours="{PREVIEW_COLOURS}" '
        f"{'data-raw ' if look.raw_cells else ''}"
        f'data-photo="{data_address(_seen(picture, explanation.box))}">'
        f"{''.join(lines)}</div>"
    )
    shape = f"--aspect:{drawn.width / drawn.height:.4f}"
    figures = figure_html(shape, f'<img src="{data_address(drawn)}" alt="{alt}">{grid}')
    if original:
        figures += figure_html(shape, small_picture_html(picture, say("The photo itself")))
    whole = f'<button type="button" class="whole">{say("Whole photo")}</button>'
    return f'<div class="maps">{figures}{whole}</div>'


def small_picture_html(picture: Image.Image, name: str) -> str:
    """A picture of at most ``MAX_SIDE`` pixels, with its name as HTML for those who can't see it."""
    small = picture.convert("RGB")
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    return f'<img src="{data_address(small)}" alt="{name}">'


def picture_html(picture: Image.Image, name: str = "") -> str:
    """A picture without words or cells to click, where a map else stands."""
    return f'<div class="maps"><div class="map">{small_picture_html(picture, name)}</div></div>'


def figure_html(shape: str, content: str) -> str:
    """A frame of the photo's ``shape`` (CSS) whose content zoom.js enlarges within it."""
    return f'<div class="map" style="{shape}"><div class="enlarged">{content}</div></div>'


def _seen(picture: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """What the model saw of a photo, small: a previewed map lies over it."""
    seen = picture.convert("RGB").crop(pixel_box(box, picture.size))
    seen.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return seen


def colour_bar_html(explanation: Explanation, words: tuple[int, ...], look: Look) -> str:
    """The numbers of the map's colours: share of the map per cell, whose map it is, grid size and scale."""
    rows, columns = explanation.grid
    scale = say("one scale for all words") if look.same_scale else say("each map has its own scale")
    text = say(
        "Share of the map per cell, {scale}. {rows} × {columns} cells; evenly spread, each would have {share}.",
        scale=scale,
        rows=rows,
        columns=columns,
        share=percent(1 / (rows * columns)),
    )
    fine_print = f'<p class="fine-print">{text}</p>'
    if len(words) > 1:
        names = "".join(
            f"<li>{swatch_html(place)}{strong(explanation.tokens[word])} {_scale_text(explanation, word, look)}</li>"
            for place, word in enumerate(words)
        )
        return f'<div class="colour-bar"><ul class="legend">{names}</ul>{fine_print}</div>'
    word = words[0] if words else WHOLE_QUESTION
    highest = scale_top(explanation, word, look.same_scale)
    gradient = ", ".join("rgb({} {} {})".format(*step) for step in INFERNO)
    if word == WHOLE_QUESTION:
        whose = say("Where the model looked for <strong>the whole question</strong>.")
    else:
        score = percent(float(explanation.token_scores[word]))
        name = strong(explanation.tokens[word])
        whose = say_html("Where it looked for {word}, {share} of the question’s weight.", word=name, share=score)
    if is_flat(word_map(explanation, word)):
        return f'<div class="colour-bar flat"><p>{whose}</p><p><strong>{no_place_text()}</strong></p>{fine_print}</div>'
    return (
        f'<div class="colour-bar"><p>{whose}</p>'
        f'<div class="colour-bar-strip" aria-hidden="true" style="background:linear-gradient(90deg, {gradient})"></div>'
        f'<div class="colour-bar-numbers"><span>0 %</span><span>{percent(highest / 2)}</span>'
        f"<span>{percent(highest)}</span></div>{fine_print}</div>"
    )


def _scale_text(explanation: Explanation, word: int, look: Look) -> str:
    """What a word's colour goes from and to, or that it has no place to colour."""
    if is_flat(word_map(explanation, word)):
        return say("no place stands out")
    return say("0 to {share}", share=percent(scale_top(explanation, word, look.same_scale)))


def no_place_text() -> str:
    """What stands in place of the colours of a flat map."""
    return say("No place stands out: every cell counted about the same, so nothing is coloured.")


def map_description(explanation: Explanation, words: tuple[int, ...]) -> str:
    """The map in words, for people who can't see it: where it is strongest and how gathered. Plain text, not HTML."""
    parts = []
    for word in words or (WHOLE_QUESTION,):
        heat = word_map(explanation, word)
        name = say("the whole question") if word == WHOLE_QUESTION else f"“{explanation.tokens[word]}”"
        if is_flat(heat):
            parts.append(say("{name}: no place stands out, every cell counted about the same", name=name))
            continue
        ranked = np.sort(heat.ravel())[::-1].cumsum()
        count = min(int(np.searchsorted(ranked, 0.5 * ranked[-1])) + 1, heat.size)
        part = say(
            "{name}: strongest {place}; {share} % of the map in {count} of {cells} cells",
            name=name,
            place=place_name(heat),
            share=f"{100 * ranked[count - 1]:.0f}",
            count=count,
            cells=heat.size,
        )
        parts.append(part)
    return say("Map over the photo for {parts}.", parts=say(". For ").join(parts))


def place_name(heat: np.ndarray) -> str:
    """Where a map [rows, columns] is hottest, by thirds: “in the upper left”, “in the middle”."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    names = (
        (say("in the upper left"), say("in the upper middle"), say("in the upper right")),
        (say("at the left, halfway up"), say("in the middle"), say("at the right, halfway up")),
        (say("in the lower left"), say("in the lower middle"), say("in the lower right")),
    )
    return names[min(3 * int(row) // heat.shape[0], 2)][min(3 * int(column) // heat.shape[1], 2)]


def served_shares(explanation: Explanation, cells: tuple[int, ...], direction: str) -> np.ndarray:
    """How much each word [W] was served by some cells; the arguments as in ``served_html``."""
    if direction == "text_to_image":
        return explanation.token_to_patch[:, list(cells)].sum(axis=1)
    return explanation.patch_to_token[list(cells)].mean(axis=0)


def served_html(explanation: Explanation, cells: tuple[int, ...], direction: str) -> str:
    """The words that some cells served and how strongly, strongest first; how to select cells where there are none.

    Args:
        explanation: W words, N cells.
        cells: selected cells.
        direction: "text_to_image": which share of where each word looked lies in the cells; "image_to_text": which
            share of what the cells read in the question each word has.
    """
    if not cells:
        how = say("Tap a place in the photo, or drag a box over it, to see which words it served.")
        keys = say(
            "By keyboard: Tab into the photo, move with the arrow keys, select with Space, a box with Shift and arrows."
        )
        return f'<p class="fine-print">{how} <span class="by-keyboard">{keys}</span></p>'
    number = say("this cell") if len(cells) == 1 else say("these {count} cells", count=len(cells))
    shares = served_shares(explanation, cells, direction)
    if direction == "text_to_image":
        even = percent(len(cells) / explanation.token_to_patch.shape[1])
        title = say(
            "How much of where each word looked lies in {cells} (evenly spread: {share})", cells=number, share=even
        )
    else:
        even = percent(1 / len(shares))
        title = say(
            "How much of what {cells} read in the question was each word (evenly spread: {share})",
            cells=number,
            share=even,
        )
    top = max(float(shares.max()), 1e-9)
    rows = "".join(
        f'<li><span class="answer-text">{escape(explanation.tokens[word])}</span>'
        f'<span class="answer-share">{percent(float(shares[word]))}</span>'
        f'<span class="answer-track" aria-hidden="true"><span style="width:{100 * shares[word] / top:.1f}%"></span>'
        "</span></li>"
        for word in np.argsort(-shares, kind="stable")
    )
    return f'<div class="served"><p>{title}</p><ol class="served-words" aria-label="{title}">{rows}</ol></div>'


def heads_html(
    parts: list[list[Explanation]],
    words: tuple[int, ...],
    cells: tuple[int, ...],
    look: Look,
    selected: tuple,
    number: str,
) -> str:
    """Every head's map as a small picture with a number, a row a layer, as buttons for selection.js.

    Args:
        parts: the explanation by layer and head, see ``map_parts.part_of``.
        words: whose maps; none for the whole question.
        cells: selected cells.
        look: ``same_scale`` gives all heads one scale.
        selected: (layer, head) that the large map shows, None for all.
        number: "evenness", the map's entropy as a share of an even map's in 0..1, or "attention", the share of the map
            in the selected cells, for none in the tenth of the cells that is hottest over all heads.
    """
    maps = np.array([[words_map(part, words) for part in layer] for layer in parts])  # [L, H, rows, columns]
    layers, heads = maps.shape[:2]
    flat = maps.reshape(layers, heads, -1)
    counted = list(cells) or np.argsort(-flat.mean(axis=(0, 1)))[: max(1, round(0.1 * flat.shape[-1]))].tolist()
    lines = []
    for layer in range(layers):
        line = []
        for head in range(heads):
            heat = maps[layer, head]
            top = max(float(maps.max() if look.same_scale else heat.max()), 1e-9)
            value = evenness(heat) if number == "evenness" else float(flat[layer, head, counted].sum())
            shown = f"{value:.2f}" if number == "evenness" else percent(value)
            here = selected == (layer, head)
            enters = here or (None in selected and layer == head == 0)
            name = say("layer {layer}, head {head}: {value}", layer=layer + 1, head=head + 1, value=shown)
            if is_flat(heat):
                drawn = np.full((*heat.shape, 3), FLAT_GREY, dtype=np.uint8)
                name = f"{name}, {say('no place stands out')}"
            else:
                drawn = colour(heat / top)
            line.append(
                f'<button type="button" class="head-map" data-item="{layer * heads + head}" '
                f'aria-pressed="{str(here).lower()}" tabindex="{0 if enters else -1}" '
                f'aria-label="{name}">'
                f'<img src="{data_address(Image.fromarray(drawn), "PNG")}" alt="">'
                f"<span>{shown}</span></button>"
            )
        row = say("layer {layer}", layer=layer + 1)
        lines.append(f'<div class="heads-row"><span>{row}</span>{"".join(line)}</div>')
    if number == "evenness":
        meaning = say("Evenness of each head’s map: 1 is everywhere the same, 0 all in one cell.")
    elif cells:
        meaning = say("Share of each head’s map in the selected cells.")
    else:
        meaning = say("Share of each head’s map in the cells that are hottest over all heads.")
    return (
        f'<div class="heads" role="toolbar" aria-label="{say("Layers and heads")}" data-columns="{heads}" '
        f'style="--heads:{heads}">{"".join(lines)}</div>'
        f'<p class="fine-print">{meaning} {say("Select one to see it large.")}</p>'
    )


def no_heads_html(method: str) -> str:
    """What stands in place of the small maps where a method isn't made of layers and heads."""
    text = say("“{method}” isn’t made of layers and heads, so there is none to select.", method=method_name(method))
    return f'<p class="fine-print">{escape(text)}</p>'
