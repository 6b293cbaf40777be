"""What the page draws: maps over the photo, their colours in numbers and words, answers and evidence.

Every text that came from a person or from the model goes through ``html.escape`` here.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from demo.languages.translate import is_doubtful, say, translated

if TYPE_CHECKING:  # for real it would load torch, which the terminal's -h can do without
    from valm_core.outputs import Answer, Evidence, Explanation, Prediction, TrackRecord

# Matplotlib's inferno at 33 even steps (perceptually uniform, readable in print and with colour blindness), so that
# the page doesn't need matplotlib; between the steps we interpolate (at most 5 of 255 off, see the test).
INFERNO = np.frombuffer(
    bytes.fromhex(
        "0000040403120b0724150b37210c4a2f0a5b3d09654a0c6b57106e64156e71196e"
        "7d1e6d8a226a972766a32c61b0315bbc3754c73e4cd24644db503be45a31eb6628"
        "f1731df68013f98e09fb9d07fcac11fbbc21f9cb35f5db4cf2ea69f3f68afcffa4"
    ),
    dtype=np.uint8,
).reshape(-1, 3)  # [33, 3]
# Okabe and Ito's colours, told apart with any kind of colour vision: one a word where several are shown at once.
WORD_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (204, 121, 167),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
)
UNSURE = 0.3  # share of right answers below which the page says that the model doesn't know
MAX_SIDE = 1024  # pixels of the drawn overlay
WHOLE_QUESTION = -1  # in place of a word's index
MIN_CONTRAST = 0.05  # of the hottest cell's share; with less between hottest and coldest a map is flat
FLAT_GREY = (128, 128, 128)  # of a flat map where there is no photo beneath it


@dataclass(frozen=True)
class Look:
    """How the person wants the map: opacity in 0..1, raw cells or smooth, one scale for all words or each its own."""

    opacity: float = 0.55
    raw_cells: bool = False
    same_scale: bool = False


def word_map(explanation: Explanation, word: int) -> np.ndarray:
    """The map [rows, columns] of one word, or of the whole question."""
    return explanation.image_map if word == WHOLE_QUESTION else explanation.token_map(word)


def words_map(explanation: Explanation, words: tuple[int, ...]) -> np.ndarray:
    """The mean map [rows, columns] of some words, that of the whole question for none."""
    return np.mean([word_map(explanation, word) for word in words or (WHOLE_QUESTION,)], axis=0)


def scale_top(explanation: Explanation, word: int, same_scale: bool) -> float:
    """The share of the map at the hot end of the colour bar; the cold end is 0."""
    if same_scale:
        return float(max(explanation.token_to_patch.max(), explanation.image_map.max()))
    return float(word_map(explanation, word).max())


def is_flat(heat: np.ndarray) -> bool:
    """Whether no place of a map stands out: its hottest cell is hardly hotter than its coldest."""
    return float(np.ptp(heat)) <= MIN_CONTRAST * float(heat.max())


def colour(values: np.ndarray) -> np.ndarray:
    """Inferno colours, uint8 [..., 3], of values in 0..1."""
    steps = np.linspace(0, 1, len(INFERNO))
    channels = [np.interp(values, steps, INFERNO[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlay(picture: Image.Image, explanation: Explanation, words: tuple[int, ...], look: Look) -> Image.Image:
    """The photo with maps stretched over the part that the model saw (``Explanation.box``).

    One map (of one word, or of the whole question for none) has the inferno colours: inside the box every pixel is
    ``opacity`` heat and the rest photo. Several words have a colour each over the photo in grey, the denser the
    hotter. Outside the box the photo stays as it is, behind a thin frame. Smooth maps are interpolated between the
    cells' centres, raw ones show the cells themselves. A flat map leaves the photo as it is: no colour would be true.
    """
    canvas = picture.convert("RGB")
    canvas.thumbnail((MAX_SIDE, MAX_SIDE))
    left, top, right, bottom = pixel_box(explanation.box, canvas.size)
    size = (right - left, bottom - top)
    seen = canvas.crop((left, top, right, bottom))
    if all(is_flat(word_map(explanation, word)) for word in words or (WHOLE_QUESTION,)):
        drawn = seen
    elif len(words) < 2:
        heat = _stretched(explanation, words[0] if words else WHOLE_QUESTION, size, look)
        drawn = Image.blend(seen, Image.fromarray(colour(heat)), look.opacity)
    else:
        heats = np.stack([_stretched(explanation, word, size, look) for word in words])  # [K, height, width]
        colours = np.array([word_colour(place) for place in range(len(words))], dtype=np.float32)  # [K, 3]
        strength = heats**2
        mixed = np.einsum("khw,kc->hwc", strength, colours) / np.maximum(strength.sum(axis=0), 1e-6)[..., None]
        density = min(1.5 * look.opacity, 1) * heats.max(axis=0)[..., None]  # [height, width, 1]
        grey = Image.blend(seen, ImageOps.grayscale(seen).convert("RGB"), look.opacity)
        grey = np.asarray(grey, dtype=np.float32) * (1 - 0.4 * look.opacity)  # darker, so that the colours stand out
        drawn = Image.fromarray((grey * (1 - density) + mixed * density).round().astype(np.uint8))
    canvas.paste(drawn, (left, top))
    if (left, top, right, bottom) != (0, 0, *canvas.size):
        ImageDraw.Draw(canvas).rectangle((left, top, right - 1, bottom - 1), outline=(255, 255, 255))
    return canvas


def _stretched(explanation: Explanation, word: int, size: tuple[int, int], look: Look) -> np.ndarray:
    """A word's map as heat in 0..1, [height, width] of a size (width, height) in pixels; a flat one has none."""
    resampling = Image.Resampling.NEAREST if look.raw_cells else Image.Resampling.BICUBIC
    heat = Image.fromarray(np.asarray(_heat_to_show(explanation, word), dtype=np.float32))
    heat = np.asarray(heat.resize(size, resampling))
    highest = scale_top(explanation, word, look.same_scale)
    return np.clip(heat / highest, 0, 1) if highest > 0 else np.zeros_like(heat)


def word_colour(place: int) -> tuple[int, int, int]:
    """The colour of the word that was picked as number ``place``, counted from 0; the page lets no more be picked."""
    return WORD_COLOURS[place % len(WORD_COLOURS)]


def pixel_box(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box in 0..1 as whole pixels of an image of that size, at least one pixel each way."""
    width, height = size
    left, top = min(round(box[0] * width), width - 1), min(round(box[1] * height), height - 1)
    return left, top, max(round(box[2] * width), left + 1), max(round(box[3] * height), top + 1)


def percent(share: float) -> str:
    """A share in 0..1 for people: 62 %, 0.7 %, below 0.1 %."""
    if 0 < share < 0.001:
        return "&lt; 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def exact_percent(share: float) -> str:
    """A probability with the digits that tell it from another with 1.3 times its odds: 62%, 97.4%, 0.23%."""
    away = min(share, 1 - share)
    decimals = 0 if away >= 0.0995 else 1 if away >= 0.00995 else 2
    return f"{share:.{decimals}%}"


def method_name(method: str) -> str:
    """An explanation method's name for people."""
    return say(method.replace("_", " "))


def notice_html(message: str) -> str:
    """A message for the person in their language, read out by screen readers; nothing for no message."""
    return f'<p class="notice" role="alert">{escape(translated(message))}</p>' if message else ""


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
    return bool(prediction.unfamiliar) or is_doubtful(prediction.question)


def answers_html(prediction: Prediction) -> str:
    """The likeliest answers as bars on one common scale, 0 to 100 %."""
    rows = "".join(
        f'<li><span class="answer-text">{escape(answer.text)}</span>'
        f'<span class="answer-share">{percent(answer.probability)}</span>'
        f'<span class="answer-track" aria-hidden="true"><span style="width:{100 * answer.probability:.1f}%"></span>'
        "</span></li>"
        for answer in prediction.answers
    )
    return f'<ol class="answers" aria-label="{say("Likeliest answers and their probabilities")}">{rows}</ol>'


def blind_html(prediction: Prediction) -> str:
    """What the model would say without the photo, and whether the photo changed that."""
    if not prediction.blind_answers or not prediction.answers:
        return ""
    blind = prediction.blind_answers[0]
    told = {"answer": f"<strong>{escape(blind.text)}</strong>", "share": percent(blind.probability)}
    if blind.text == prediction.answers[0].text:
        text = say(
            "Without the photo it would say: {answer} ({share}) – the same answer, so the photo did not change it.",
            **told,
        )
    else:
        text = say("Without the photo it would say: {answer} ({share}) – so the photo changed the answer.", **told)
    return f'<p class="blind">{text}</p>'


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


def known_mistake_html(right_answer: str | None) -> str:
    """A label for an example that the model is known to get wrong; nothing for any other question."""
    if right_answer is None:
        return ""
    right = f"<strong>{escape(right_answer)}</strong>"
    told = say("The model gets this one wrong. Right answer: {answer}", answer=right)
    return f'<p class="known-mistake">{told}</p>'


def doubt_html(question: str) -> str:
    """A notice above the answers to a question that is perhaps not English; nothing for any other."""
    if not is_doubtful(question):
        return ""
    told = say("This model was trained on English questions; the answers below may be meaningless.")
    return f'<p class="known-mistake doubt" role="status">{told}</p>'


def record_html(record: TrackRecord | None) -> str:
    """How often the model was right when it was as sure as this, and that it is unsure where that was rarely."""
    if record is None:
        return ""
    kinds = {
        "yes/no": say("with yes or no"),
        "number": say("with a number"),
        "other": say("with a word"),
    }
    told = say(
        "Of {count} validation questions answered {kind} this surely ({low} to {high} %), {share} were right.",
        count=record.questions,
        kind=kinds[record.kind],
        low=round(100 * record.low),
        high=round(100 * record.high),
        share=percent(record.accuracy),
    )
    unsure = f"<strong>{say('The model does not know.')}</strong> " if record.accuracy < UNSURE else ""
    return f'<p class="record">{unsure}{told}</p>'


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
    told = ", ".join(f"{names[kind]} {percent(share)}" for kind, share in kinds.items())
    return f'<p class="record">{say("Kind of answer: {kinds}.", kinds=told)}</p>'


def guess_html(prediction: Prediction) -> str:
    """What leads where the photo hardly mattered: nothing for any other answer."""
    if not prediction.guessed_from_question:
        return ""
    lead = f"<strong>{say('A guess from the question alone.')}</strong>"
    return f'<p class="guess">{lead} {say("Without the photo the answer is the same, and about as likely.")}</p>'


def result_html(prediction: Prediction, right_answer: str | None = None, record: TrackRecord | None = None) -> str:
    """Answers and how sure they are, what makes them doubtful, a known mistake and the blind answer together.

    Under a warning no answer stands out and no track record is told, see ``is_doubted``.
    """
    doubts, doubted = doubt_html(prediction.question), is_doubted(prediction)
    unfamiliar = [part for part in prediction.unfamiliar if not (doubts and part == "question")]  # told once
    warnings = doubts + unfamiliar_html(tuple(unfamiliar)) + guess_html(prediction)
    notes = kinds_html(prediction.kinds) + ("" if doubted else record_html(record)) + known_mistake_html(right_answer)
    html = warnings + answers_html(prediction) + notes + blind_html(prediction)
    return f'<div class="doubted">{html}</div>' if doubted else html


def announcement_text(prediction: Prediction) -> str:
    """A new answer in one sentence, for screen readers. Plain text, not HTML."""
    best = prediction.answers[0]
    told = say(
        "Answer to “{question}”: {answer}, {share}.",
        question=prediction.question,
        answer=best.text,
        share=exact_percent(best.probability),
    )
    if is_doubted(prediction):
        told += " " + say("It may be meaningless: see the warning.")
    if prediction.guessed_from_question:
        told += " " + say("A guess from the question alone.")
    return told


def place_text(direction: str, layer: int | None, head: int | None) -> str:
    """Which maps of an explanation these are: their direction, layer and head, counted from 1 (None: all of them)."""
    toward = say("where the words looked") if direction == "text_to_image" else say("what the photo’s cells read")
    if layer is None and head is None:
        return f"{toward} · {say('all layers and heads')}"
    in_layer = say("all layers") if layer is None else say("layer {layer}", layer=layer + 1)
    in_head = say("all heads") if head is None else say("head {head}", head=head + 1)
    return f"{toward} · {say('attention in {layer}, {head}', layer=in_layer, head=in_head)}"


def subject_html(answer: str, explanation: Explanation, direction: str, layer: int | None, head: int | None) -> str:
    """What the map is of: the explained answer, the method, the direction, the layer and head (None: all of them)."""
    return (
        f"<h2>{say('Where did it look for “{answer}”?', answer=escape(answer))}</h2>"
        f'<p class="fine-print">{escape(method_name(explanation.method))} · {place_text(direction, layer, head)}</p>'
    )


def words_html(explanation: Explanation, words: tuple[int, ...]) -> str:
    """The question's words, and the whole question, as a row of buttons for selection.js; the picked ones are pressed.

    Several picked words carry the colours that ``overlay`` gives them. Each button has its map to preview.
    """
    buttons = []
    for word in (WHOLE_QUESTION, *range(len(explanation.tokens))):
        pressed = word in words or (word == WHOLE_QUESTION and not words)
        enters = word == (words[0] if words else WHOLE_QUESTION)
        name = say("whole question") if word == WHOLE_QUESTION else explanation.tokens[word]
        swatch = _swatch(words.index(word)) if len(words) > 1 and word in words else ""
        buttons.append(
            f'<button type="button" class="word" data-item="{word}" aria-pressed="{str(pressed).lower()}" '
            f'data-shares="{_hundredths(_heat_to_show(explanation, word))}" '
            f'tabindex="{0 if enters else -1}">{swatch}{escape(name)}</button>'
        )
    return (
        f'<div class="words" role="toolbar" aria-label="{say("Words of your question")}" '
        f'data-preview-on="#overlay .cells" data-columns="{len(buttons)}">' + "".join(buttons) + "</div>"
    )


def map_html(
    picture: Image.Image,
    explanation: Explanation,
    words: tuple[int, ...],
    cells: tuple[int, ...],
    look: Look,
    original: bool = False,
    direction: str = "text_to_image",
) -> str:
    """The map over the photo, under a grid of buttons for selection.js: one a cell, the picked ones selected.

    Args:
        picture: the photo.
        explanation: W words, N = rows x columns cells.
        words: whose map is drawn; none for the whole question.
        cells: picked cells, in row-major order.
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
            serves = _hundredths(served_shares(explanation, (cell,), direction))
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
        f'data-preview-on="#words .words" data-draggable data-columns="{columns}" style="{place}">'
        f"{''.join(lines)}</div>"
    )
    shape = f"--aspect:{drawn.width / drawn.height:.4f}"
    figures = f'<div class="map" style="{shape}"><img src="{data_address(drawn)}" alt="{alt}">{grid}</div>'
    if original:
        small = picture.convert("RGB")
        small.thumbnail((MAX_SIDE, MAX_SIDE))
        itself = say("The photo itself")
        figures += f'<div class="map" style="{shape}"><img src="{data_address(small)}" alt="{itself}"></div>'
    return f'<div class="maps">{figures}</div>'


def _heat_to_show(explanation: Explanation, word: int) -> np.ndarray:
    """A word's map [rows, columns] to be coloured: zeros where it is flat, or all of it would be hottest."""
    heat = word_map(explanation, word)
    return np.zeros_like(heat) if is_flat(heat) else heat


def _hundredths(shares: np.ndarray) -> str:
    """Numbers as hundredths of the largest, for selection.js."""
    return ",".join(str(round(100 * float(share))) for share in shares.ravel() / max(float(shares.max()), 1e-9))


def data_address(picture: Image.Image, kind: str = "JPEG") -> str:
    """A picture as an address that holds its content."""
    content = io.BytesIO()
    picture.save(content, kind, quality=85)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"


def _swatch(place: int) -> str:
    return '<span class="swatch" aria-hidden="true" style="background:rgb({} {} {})"></span>'.format(
        *word_colour(place)
    )


def colour_bar_html(explanation: Explanation, words: tuple[int, ...], look: Look) -> str:
    """The numbers of the map's colours: share of the map per cell, whose map it is, grid size and scale."""
    rows, columns = explanation.grid
    scale = say("one scale for all words") if look.same_scale else say("each map has its own scale")
    told = say(
        "Share of the map per cell, {scale}. {rows} × {columns} cells; evenly spread, each would have {share}.",
        scale=scale,
        rows=rows,
        columns=columns,
        share=percent(1 / (rows * columns)),
    )
    fine_print = f'<p class="fine-print">{told}</p>'
    if len(words) > 1:
        names = "".join(
            f"<li>{_swatch(place)}<strong>{escape(explanation.tokens[word])}</strong> "
            f"{_scale_text(explanation, word, look)}</li>"
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
        name = f"<strong>{escape(explanation.tokens[word])}</strong>"
        whose = say("Where it looked for {word}, {share} of the question’s weight.", word=name, share=score)
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
    """The words that some cells served and how strongly, strongest first; how to pick cells where there are none.

    Args:
        explanation: W words, N cells.
        cells: picked cells.
        direction: "text_to_image": which share of where each word looked lies in the cells; "image_to_text": which
            share of what the cells read in the question each word has.
    """
    if not cells:
        how = say(
            "Click a place in the photo, or drag a box over it, to see which words it served. By keyboard: Tab into "
            "the photo, move with the arrow keys, pick with Space, a box with Shift and arrows."
        )
        return f'<p class="fine-print">{how}</p>'
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
    picked: tuple,
    number: str,
) -> str:
    """Every head's map as a small picture with a number, a row a layer, as buttons for selection.js.

    Args:
        parts: the explanation by layer and head, see ``asking.part_of``.
        words: whose maps; none for the whole question.
        cells: picked cells.
        look: ``same_scale`` gives all heads one scale.
        picked: (layer, head) that the large map shows, None for all.
        number: "evenness", the map's entropy as a share of an even map's in 0..1, or "attention", the share of the map
            in the picked cells, for none in the tenth of the cells that is hottest over all heads.
    """
    from valm_core.evidence.measure import evenness  # imported here: torch, which the terminal's -h can do without

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
            here = picked == (layer, head)
            enters = here or (None in picked and layer == head == 0)
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
        meaning = say("Share of each head’s map in the picked cells.")
    else:
        meaning = say("Share of each head’s map in the cells that are hottest over all heads.")
    return (
        f'<div class="heads" role="toolbar" aria-label="{say("Layers and heads")}" data-columns="{heads}" '
        f'style="--heads:{heads}">{"".join(lines)}</div>'
        f'<p class="fine-print">{meaning} {say("Pick one to see it large.")}</p>'
    )


def no_heads_html(method: str) -> str:
    """What stands in place of the small maps where a method isn't made of layers and heads."""
    told = say("“{method}” isn’t made of layers and heads, so there is none to pick.", method=method_name(method))
    return f'<p class="fine-print">{escape(told)}</p>'


def evidence_text(evidence: Evidence) -> str:
    """The evidence for a map in one sentence. Plain text, not HTML."""
    moved = (evidence.probability, evidence.hottest_hidden, evidence.random_hidden)
    whole, hottest, random = (exact_percent(probability) for probability in moved)
    return say(
        "Hiding the {share} of the photo marked hottest moves “{answer}” from {whole} to {hottest}; hiding a random "
        "{share} (mean of {draws} draws) moves it to {random}.",
        share=f"{evidence.hidden_share:.0%}",
        answer=evidence.answer,
        whole=whole,
        hottest=hottest,
        random=random,
        draws=evidence.random_draws,
    )


def evidence_html(evidence: Evidence | None, gate: float, doubted: bool = False) -> str:
    """What speaks for and against the map of the whole question, and what no such map can show.

    Args:
        evidence: of the explained answer and method; None where there is none.
        gate: the question's share in 0..1.
        doubted: ``is_doubted`` of the answer.
    """
    rows, blind_line = [], ""
    if evidence is not None:
        kind = evidence.verdict.replace(" ", "-")
        agreement = evidence.agreement
        if agreement >= 0.6:
            agrees = say("They mostly agree")
        else:
            agrees = say("They agree in part") if agreement >= 0.3 else say("They disagree")
        blind = evidence.blind_answer
        rows = [
            (
                say("Is the map faithful?"),
                f'<span class="verdict verdict-{escape(kind)}">{escape(say(evidence.verdict))}</span> '
                f"{escape(evidence_text(evidence))}",
            ),
            (
                say("Do other methods agree?"),
                say(
                    "{agrees}: {agreement}, where 1 is the same order of cells and 0 no relation. Evenness of the map "
                    "{evenness}, where 1 is everywhere the same.",
                    agrees=agrees,
                    agreement=f"{agreement:.2f}",
                    evenness=f"{evidence.evenness:.2f}",
                ),
            ),
        ]
        told = {"answer": f"<strong>{escape(blind.text)}</strong>", "share": percent(blind.probability)}
        if evidence.same_as_blind:
            blind_line = say("Without the photo it would say {answer} ({share}), the explained answer too.", **told)
        else:
            blind_line = say("Without the photo it would say {answer} ({share}), not the explained answer.", **told)
        blind_line = f"<p>{blind_line}</p>"
    rows += [
        (say("Did it need the photo?"), blind_line + gate_html(gate)),
        (
            say("Are the percentages honest?"),
            say(
                "They were measured on questions unlike this one or about photos unlike this one, so they may not hold "
                "here."
            )
            if doubted
            else say(
                "They were calibrated on the validation questions of this checkpoint: right on average over many "
                "questions like those, not for each one, and less on other kinds of photos."
            ),
        ),
        (
            say("What attention can’t show"),
            say(
                "It shows what was read, not what was understood or why. A cell’s vector also holds what lies around "
                "it, and the answer may come from the question alone. The verdict is about the map of the whole "
                "question, all layers and heads together."
            ),
        ),
    ]
    lines = "".join(f"<dt>{title}</dt><dd>{text}</dd>" for title, text in rows)
    return f'<dl class="evidence{" doubted" if doubted else ""}">{lines}</dl>'
