"""One question as a picture for paper or slides: the photo, its answer, the map of the question and of each word."""

import functools
import html
import math
import textwrap

import numpy as np
from PIL import Image

from demo.languages.translate import say
from demo.rendering.answers import is_doubted
from demo.rendering.overlay import Look, density
from demo.rendering.wording import method_name, percent, short_answer
from demo.rendering.words import place_text
from valm_core.evidence.rules import is_flat
from valm_core.outputs import Explanation, Prediction

COLUMNS = 4
WIDTH = 3.2  # inches of a panel
PICTURE = 2.75  # inches of them that a photo gets, beside the colour bar
OPACITY = Look().opacity
MAX_MAPS = 31  # of a longer text not every word has its own
COLOUR_MAP = "inferno"  # of matplotlib: the page's colours
# matplotlib's own font has no Chinese, Japanese or Korean letters: the first of these that is installed lends them.
FONTS_FOR_MORE_LETTERS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Microsoft YaHei",
    "PingFang SC",
    "Arial Unicode MS",
)


def question_figure(
    photo: Image.Image,
    prediction: Prediction,
    explanation: Explanation,
    explained: str | None = None,
    place: str = "",
    footer: str = "",
):
    """Draw the figure; save it with ``figure.savefig(path)``.

    All maps share one colour scale, so that they can be compared; cells are shown as they are, without smoothing, and
    the photo stays visible where a map is low. Method, layer and head stand once above all maps, each map says its own
    range; a flat one says so and is the photo without any heat.

    Args:
        photo: upright RGB, as ``VqaPredictor.open_photo`` gives it.
        prediction: the reply.
        explanation: its maps, word by word.
        explained: the answer that the maps explain, the likeliest for None.
        place: which direction, layers and heads the maps are of, from ``words.place_text``; all of them for "".
        footer: what stands small beneath everything.

    Returns:
        A ``matplotlib.figure.Figure`` of 300 dots an inch.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # without pyplot: nothing global, safe on a server

    maps = [(say("whole question"), explanation.image_map)]
    maps += [(word, explanation.token_map(index)) for index, word in enumerate(explanation.tokens)]
    if explanation.answer_words:
        first = len(maps) - explanation.answer_words
        maps[first] = (f"→ {maps[first][0]}", maps[first][1])  # from here on the words are the answer's
    left_out, maps = len(maps) - MAX_MAPS, maps[:MAX_MAPS]
    rows = math.ceil((len(maps) + 1) / COLUMNS)
    panel = PICTURE * min(max(photo.height / photo.width, 0.5), 2) + 0.6  # inches, words above and below included
    best = prediction.answers[0]
    explained = short_answer(explained or best.text)
    place = place or place_text("text_to_image", None, None)
    subject = say("where it looked for “{answer}”", answer=explained)
    answered = answer_title(prediction)
    if left_out > 0:
        footer = " · ".join(filter(None, (say("without the last {count} words", count=left_out), footer)))
    hottest = max(values.max() for _, values in maps)
    with rc_context({"font.family": _fonts(), "axes.titlesize": 11, "font.size": 9}):
        figure = Figure(figsize=(WIDTH * COLUMNS, panel * rows + 1.2), layout="constrained", dpi=300)
        made_by = _wrapped(f"{method_name(explanation.method)} · {place}", 150)
        figure.suptitle(f"{_wrapped(f'{prediction.question} – {subject}', 110)}\n{made_by}", fontsize=12)
        axes = _empty_panels(figure, rows, len(maps) + 1)
        axes[0].imshow(photo)
        axes[0].set_title(_wrapped(answered, 26), fontweight="normal" if is_doubted(prediction) else "bold")
        axes[0].set_xlabel(say("The photo itself"))
        heat = None
        for axis, (name, values) in zip(axes[1:], maps, strict=False):
            if is_flat(values):
                axis.imshow(photo.convert("L"), cmap="gray")
            else:
                heat = _draw_map(axis, photo, values, explanation.box, hottest)
            axis.set_title(_wrapped(name, 32))
            axis.set_xlabel(_range(values), fontsize=7.5)
        rows, columns = explanation.grid
        scale = say("% of the map per cell ({rows} × {columns} cells), one scale for all", rows=rows, columns=columns)
        if heat is not None:
            figure.colorbar(heat, ax=axes.tolist(), shrink=0.7, label=scale)
        if footer:
            figure.supxlabel(_wrapped(footer, 150), fontsize=7.5, color="0.35")
    return figure


def answer_title(prediction: Prediction) -> str:
    """The likeliest answer with its probability, in plain text; the beginning of a longer one, which has none."""
    best = prediction.answers[0]
    if prediction.long:
        return say("answer: {answer}", answer=textwrap.shorten(best.text, 60, placeholder="…"))
    text = textwrap.shorten(best.text, 100, placeholder="…")
    return say("answer: {answer} ({share})", answer=text, share=html.unescape(percent(best.probability)))


def _empty_panels(figure, rows: int, used: int):
    """A row of panels after the other without ticks, of which those after the first ``used`` aren't seen."""
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for axis in axes[used:]:
        axis.set_axis_off()
    for axis in axes[:used]:
        axis.set_xticks([])
        axis.set_yticks([])
    return axes


def _draw_map(axis, photo: Image.Image, values: np.ndarray, box: tuple[float, ...], hottest: float):
    """One map [rows, columns] over the grey photo, as hot as its share of ``hottest``; returns the drawn heat."""
    width, height = photo.size
    left, top, right, bottom = np.multiply(box, (width, height, width, height))
    axis.imshow(photo.convert("L"), cmap="gray")
    heat = axis.imshow(
        100 * values,
        extent=(left, right, bottom, top),
        cmap=COLOUR_MAP,
        alpha=density(values / hottest, OPACITY),
        vmin=0,
        vmax=100 * hottest,
        zorder=2,
    )
    axis.set_xlim(0, width)
    axis.set_ylim(height, 0)
    return heat


def _range(values: np.ndarray) -> str:
    """A map's own range on the common scale, in percent, or that there is none to see."""
    if is_flat(values):
        return say("no place stands out")
    return f"{100 * values.min():.1f}–{100 * values.max():.1f} %"


@functools.cache
def _fonts() -> list[str]:
    """matplotlib's own font, and one with more letters where there is one."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *[name for name in FONTS_FOR_MORE_LETTERS if name in installed][:1]]


def can_write_chinese() -> bool:
    """Whether an installed font has Chinese letters for the figure."""
    return len(_fonts()) > 1


def _wrapped(text: str, width: int) -> str:
    """Lines of at most ``width`` letters; dollar signs escaped, which matplotlib would read as mathematics."""
    return textwrap.fill(text, width).replace("$", r"\$")
