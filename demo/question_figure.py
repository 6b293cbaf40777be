"""One question as a picture for paper or slides: the photo, its answer, the map of the question and of each word."""

import math

import numpy as np
from PIL import Image

from demo.figures import method_name
from valm_core.outputs import Explanation, Prediction

COLUMNS = 4


def question_figure(photo: Image.Image, prediction: Prediction, explanation: Explanation):
    """Draw the figure; save it with ``figure.savefig(path)``.

    All maps share one colour scale, so that they can be compared; cells are shown as they are, without smoothing.

    Args:
        photo: upright RGB, as ``VqaPredictor.open_photo`` gives it.
        prediction: the reply.
        explanation: its maps, word by word.

    Returns:
        A ``matplotlib.figure.Figure``.
    """
    from matplotlib.figure import Figure  # without pyplot: nothing global, safe on a server

    maps = [("whole question", explanation.image_map)]
    maps += [(word, explanation.token_map(index)) for index, word in enumerate(explanation.tokens)]
    rows = math.ceil((len(maps) + 1) / COLUMNS)
    width, height = photo.size
    panel = 3.2 * min(max(height / width, 0.5), 2) + 0.4  # inches, title included
    figure = Figure(figsize=(3.2 * COLUMNS, panel * rows + 0.4), layout="constrained", dpi=150)
    figure.suptitle(_plain(prediction.question))
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for axis in axes:
        axis.set_axis_off()

    left, top, right, bottom = np.multiply(explanation.box, (width, height, width, height))
    best = prediction.answers[0]
    axes[0].imshow(photo)
    axes[0].set_title(f"{_plain(best.text)} ({best.probability:.0%})")
    hottest = max(values.max() for _, values in maps)
    for axis, (name, values) in zip(axes[1:], maps, strict=False):
        axis.imshow(photo, cmap="gray")
        heat = axis.imshow(
            values, extent=(left, right, bottom, top), cmap="inferno", alpha=0.6, vmin=0, vmax=hottest, zorder=2
        )
        axis.set_xlim(0, width)
        axis.set_ylim(height, 0)
        axis.set_title(_plain(name))
    grid = f"{explanation.grid[0]} × {explanation.grid[1]} cells"
    figure.colorbar(heat, ax=axes.tolist(), shrink=0.6, label=f"share of {method_name(explanation.method)}, {grid}")
    return figure


def _plain(text: str) -> str:
    """Keep matplotlib from reading dollar signs as mathematics."""
    return text.replace("$", r"\$")
