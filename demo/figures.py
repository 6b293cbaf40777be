"""What the page draws: the heat map over the photo, its colour bar, the answer bars and the gate, as images and HTML.

Every text that came from a person or from the model goes through ``html.escape`` here.
"""

from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image, ImageDraw

from valm_core.outputs import Evidence, Explanation, Prediction

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
LONGEST_SIDE = 1024  # pixels of the drawn overlay
WHOLE_QUESTION = -1  # in place of a word's index


@dataclass(frozen=True)
class Look:
    """How the person wants the map: opacity in 0..1, raw cells or smooth, one scale for all words or each its own."""

    opacity: float = 0.55
    raw_cells: bool = False
    same_scale: bool = False


def word_map(explanation: Explanation, word: int) -> np.ndarray:
    """The map [rows, columns] of one word, or of the whole question."""
    return explanation.image_map if word == WHOLE_QUESTION else explanation.token_map(word)


def scale_top(explanation: Explanation, word: int, same_scale: bool) -> float:
    """The share of the map at the hot end of the colour bar; the cold end is 0."""
    if same_scale:
        return float(max(explanation.token_to_patch.max(), explanation.image_map.max()))
    return float(word_map(explanation, word).max())


def colour(values: np.ndarray) -> np.ndarray:
    """Inferno colours, uint8 [..., 3], of values in 0..1."""
    steps = np.linspace(0, 1, len(INFERNO))
    channels = [np.interp(values, steps, INFERNO[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlay(picture: Image.Image, explanation: Explanation, word: int, look: Look) -> Image.Image:
    """The photo with one map stretched over the part that the model saw (``Explanation.box``).

    Inside the box every pixel is ``opacity`` heat and the rest photo; outside it the photo stays as it is, behind a
    thin frame. Smooth maps are interpolated between the cells' centres, raw ones show the cells themselves.
    """
    canvas = picture.convert("RGB")
    canvas.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    left, top, right, bottom = pixel_box(explanation.box, canvas.size)
    resampling = Image.Resampling.NEAREST if look.raw_cells else Image.Resampling.BICUBIC
    heat = Image.fromarray(np.asarray(word_map(explanation, word), dtype=np.float32))
    heat = np.asarray(heat.resize((right - left, bottom - top), resampling))  # [height, width] of the box
    highest = scale_top(explanation, word, look.same_scale)
    heat = np.clip(heat / highest, 0, 1) if highest > 0 else np.zeros_like(heat)
    seen = canvas.crop((left, top, right, bottom))
    canvas.paste(Image.blend(seen, Image.fromarray(colour(heat)), look.opacity), (left, top))
    if (left, top, right, bottom) != (0, 0, *canvas.size):
        ImageDraw.Draw(canvas).rectangle((left, top, right - 1, bottom - 1), outline=(255, 255, 255))
    return canvas


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


def answers_html(prediction: Prediction) -> str:
    """The likeliest answers as bars on one common scale, 0 to 100 %."""
    rows = "".join(
        f'<li><span class="answer-text">{escape(answer.text)}</span>'
        f'<span class="answer-share">{percent(answer.probability)}</span>'
        f'<span class="answer-track" aria-hidden="true"><span style="width:{100 * answer.probability:.1f}%"></span>'
        "</span></li>"
        for answer in prediction.answers
    )
    return f'<ol class="answers" aria-label="Likeliest answers and their probabilities">{rows}</ol>'


def blind_html(prediction: Prediction) -> str:
    """What the model would say without the photo, and whether the photo changed that."""
    if not prediction.blind_answers or not prediction.answers:
        return ""
    blind = prediction.blind_answers[0]
    same = blind.text == prediction.answers[0].text
    verdict = "the same answer, so the photo did not change it" if same else "so the photo changed the answer"
    return (
        f'<p class="blind">Without the photo it would say: <strong>{escape(blind.text)}</strong> '
        f"({percent(blind.probability)}) – {verdict}.</p>"
    )


def gate_html(gate: float) -> str:
    """The gate as a bar of two parts. ``gate`` is the question's share in 0..1."""
    question = round(100 * gate)
    return (
        f'<div class="gate"><p class="gate-numbers"><span>question {question} %</span>'
        f'<span class="gate-divider"> | </span><span>photo {100 - question} %</span></p>'
        f'<div class="gate-bar" aria-hidden="true"><span style="width:{question}%"></span></div>'
        '<p class="fine-print">How the model mixed its two streams for this answer. '
        "It is no proof of what it relied on.</p></div>"
    )


def known_mistake_html(right_answer: str | None) -> str:
    """A label for an example that the model is known to get wrong; nothing for any other question."""
    if right_answer is None:
        return ""
    told = f"The model gets this one wrong. Right answer: <strong>{escape(right_answer)}</strong>"
    return f'<p class="known-mistake">{told}</p>'


def result_html(prediction: Prediction, right_answer: str | None = None) -> str:
    """Answers, the label of a known mistake, the blind answer and the gate together."""
    parts = answers_html(prediction), known_mistake_html(right_answer), blind_html(prediction)
    return "".join(parts) + gate_html(prediction.gate)


def colour_bar_html(explanation: Explanation, word: int, look: Look) -> str:
    """The numbers of the map's colours: share of the map per cell, whose map it is, grid size and scale."""
    highest = scale_top(explanation, word, look.same_scale)
    rows, columns = explanation.grid
    gradient = ", ".join("rgb({} {} {})".format(*step) for step in INFERNO)
    if word == WHOLE_QUESTION:
        whose = "Where the model looked for <strong>the whole question</strong>."
    else:
        score = percent(float(explanation.token_scores[word]))
        name = f"<strong>{escape(explanation.tokens[word])}</strong>"
        whose = f"Where it looked for {name}, {score} of the question’s weight."
    scale = "one scale for all words" if look.same_scale else "scale of this map alone"
    cells = f"{rows} × {columns} cells; evenly spread, each would have {percent(1 / (rows * columns))}"
    return (
        f'<div class="colour-bar"><p>{whose}</p>'
        f'<div class="colour-bar-strip" aria-hidden="true" style="background:linear-gradient(90deg, {gradient})"></div>'
        f'<div class="colour-bar-numbers"><span>0 %</span><span>{percent(highest / 2)}</span>'
        f"<span>{percent(highest)}</span></div>"
        f'<p class="fine-print">Share of the map per cell, {scale}. {cells}.</p></div>'
    )


def evidence_text(evidence: Evidence) -> str:
    """The evidence for a map in one sentence. Plain text, not HTML."""
    share, hottest, random = evidence.hidden_share, evidence.hottest_hidden, evidence.random_hidden
    return (
        f"Hiding the {share:.0%} of the photo marked hottest moves “{evidence.answer}” from {evidence.probability:.0%} "
        f"to {hottest:.0%}; hiding a random {share:.0%} (mean of {evidence.random_draws} draws) moves it to "
        f"{random:.0%}."
    )


def evidence_html(evidence: Evidence | None) -> str:
    """The verdict on the map of the whole question, the sentence behind it, and how much other methods agree."""
    if evidence is None:
        return ""
    kind = evidence.verdict.replace(" ", "-")
    blind = "also the" if evidence.same_as_blind else "not the"
    details = (
        f"Agreement with other methods {evidence.agreement:.2f} (1 is the same order of cells, 0 none). "
        f"Evenness {evidence.evenness:.2f} (1 is everywhere the same). It is {blind} answer without the photo. "
        "Measured on the map of the whole question."
    )
    return (
        f'<div class="evidence"><p><span class="verdict verdict-{escape(kind)}">{escape(evidence.verdict)}</span> '
        f'{escape(evidence_text(evidence))}</p><p class="fine-print">{escape(details)}</p></div>'
    )


def map_description(explanation: Explanation, word: int) -> str:
    """The overlay in words, for people who can't see it: where the hottest cell lies. Plain text, not HTML."""
    heat = word_map(explanation, word)
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    rows, columns = explanation.grid
    vertical = ("top", "middle", "bottom")[min(3 * int(row) // rows, 2)]
    horizontal = ("left", "centre", "right")[min(3 * int(column) // columns, 2)]
    name = "the whole question" if word == WHOLE_QUESTION else f"“{explanation.tokens[word]}”"
    place = f"strongest at the {vertical} {horizontal}, {100 * heat.max():.1f} % in one cell"
    return f"Heat map for {name} over the photo: {place}."
