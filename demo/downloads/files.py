"""The question on the page to take away: a figure, its numbers as JSON, a report in one HTML file, the map as it is.

Nothing is made before it is asked for. The files lie in gradio's folder, which ``delete_cache`` clears.
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import escape
from PIL import Image

from demo.downloads.task_json import printed_json
from demo.languages.translate import html_language, language, say, speaking
from demo.rendering.answers import is_doubted, result_html
from demo.rendering.evidence import evidence_html
from demo.rendering.map import colour_bar_html, map_description
from demo.rendering.overlay import WHOLE_QUESTION, Look, overlay
from demo.rendering.wording import data_address, method_name
from demo.rendering.words import place_text, subject_html
from valm_core import __version__

if TYPE_CHECKING:  # for real it would load torch, which the terminal's -h can do without
    from demo.visit.asking import Reply, Selection
    from demo.visit.printed import Printed
    from valm_core.captions.describing import Description
    from valm_core.outputs import Evidence, Explanation, Prediction, TrackRecord

FILE_SIDE = 1200  # pixels, at least, of the longer side of the map to download
DECIMALS = 6  # of numbers in JSON
REPORT_WORDS = 40  # whose maps a report holds, 30 to 100 kB each: a longer answer has hundreds
STYLE = """
:root { color-scheme: light; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; color: #1e293b; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { margin-top: 2rem; font-size: 1.2rem; }
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; break-inside: avoid; } img { width: 100%; height: auto; border-radius: 6px; }
.photo { max-width: 32rem; }
ol { list-style: none; padding: 0; max-width: 32rem; }
.answers li { display: grid; grid-template-columns: 1fr auto; }
.answers li:first-child { font-weight: 700; font-size: 1.2rem; }
.doubted .answers li:first-child, .doubted .blind strong, .doubted dd strong { font-weight: inherit; }
.answer-track { grid-column: 1 / -1; height: 8px; background: #e2e8f0; } .answer-track span { display: block; height: 100%; background: #0f766e; }
.colour-bar p, .gate p { margin: 0.2rem 0; } .colour-bar-strip { height: 10px; }
.colour-bar-numbers, .gate-numbers { display: flex; justify-content: space-between; font-size: 0.85rem; }
.gate-divider { display: none; } .gate-bar { height: 8px; background: #0f766e; } .gate-bar span { display: block; height: 100%; background: #94a3b8; }
.fine-print, footer { font-size: 0.85rem; color: #475569; }
.known-mistake { padding: 0.4rem 0.8rem; background: #fff7e6; }
dt { font-weight: 600; } dd { margin: 0 0 0.7rem; } .verdict { font-weight: 700; }
table { border-collapse: collapse; } th, td { padding: 0.2rem 1rem 0.2rem 0; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
"""  # noqa: E501
# Nothing may run or be fetched, whatever the texts in it hold.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True, eq=False)
class Shown:
    """What is on the page: the reply, what is selected in it, which maps and how they are drawn.

    ``layer`` and ``head`` count from 0, None for all; ``view`` is "map", "side_by_side" or "slider".
    """

    reply: Reply
    selection: Selection
    direction: str = "text_to_image"
    layer: int | None = None
    head: int | None = None
    look: Look = dataclasses.field(default_factory=Look)
    view: str = "map"
    right_answer: str | None = None
    record: TrackRecord | None = None

    @property
    def part(self) -> Explanation:
        """The explanation with the maps that are shown."""
        from demo.visit.map_parts import part_of  # not above: torch, see there

        return part_of(self.reply.explanation, self.direction, self.layer, self.head)

    @property
    def place(self) -> str:
        """The maps' direction, layer and head in words."""
        from demo.visit.map_parts import place_in

        return place_text(self.direction, *place_in(self.reply.explanation, self.layer, self.head))


def answers_json(prediction: Prediction, read: Printed | None = None) -> dict:
    """The answers alone as plain values, and what a second model ``read`` on the photo."""
    return {
        "question": prediction.question,
        "answers": [{"answer": answer.text, "probability": answer.probability} for answer in prediction.answers],
        "blind_answers": [
            {"answer": blind.text, "probability": blind.probability} for blind in prediction.blind_answers
        ],
        "guessed_from_question": prediction.guessed_from_question,
        "gate": prediction.gate,
        "kinds": prediction.kinds,
        "unfamiliar": list(prediction.unfamiliar),
        "read": printed_json(read),
    }


def reply_json(
    prediction: Prediction,
    explanation: Explanation,
    evidence: Evidence | None,
    facts: dict,
    read: Printed | None = None,
) -> dict:
    """A reply, its maps by word, layer and head, their evidence and the model's facts as plain values.

    The form of the page's JSON file, of ``python -m demo.ask --json`` and of the API's ``explain``;
    ``layer_head_maps`` are [L, H, W, N] and [L, H, N, W] for W words and N cells in row-major order.
    """
    return answers_json(prediction, read) | {
        "explanation": {
            "method": explanation.method,
            "grid": explanation.grid,
            "box": explanation.box,
            "words": explanation.tokens,
            "word_scores": _plain(explanation.token_scores),
            "image_map": _plain(explanation.image_map),
            "word_maps": [_plain(explanation.token_map(word)) for word in range(len(explanation.tokens))],
            "cells_read_words": _plain(explanation.patch_to_token),
            "layer_head_maps": {
                "text_to_image": _plain(explanation.text_to_image),
                "image_to_text": _plain(explanation.image_to_text),
            },
        },
        "evidence": dataclasses.asdict(evidence) if evidence else None,
        "model": facts_of(facts, prediction),
        "valm_version": __version__,
    }


def _plain(numbers: np.ndarray) -> list:
    return np.asarray(numbers, dtype=np.float64).round(DECIMALS).tolist()


def json_file(shown: Shown, facts: dict) -> bytes:
    """The JSON file: ``reply_json``, and what of it is on the page."""
    reply = shown.reply
    plain = reply_json(reply.prediction, reply.explanation, reply.evidence, facts, reply.read)
    plain["shown"] = {
        "explained_answer": reply.answer,
        "direction": shown.direction,
        "layer": shown.layer,
        "head": shown.head,
        "picked_words": shown.selection.words,
        "picked_cells": shown.selection.cells,
        "photo_sha256": reply.photo.digest,
    }
    # A line a part, and none a number: a large model's maps by layer and head are millions of numbers.
    parts = (f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in plain.items())
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()


def figure_file(shown: Shown, facts: dict, kind: str = "png") -> bytes:
    """The figure of ``question_figure`` as a file; in English where no font has the visitor's letters.

    ``kind`` is "png" (over 3,000 pixels wide), "svg" or "pdf", whose letters and lines are drawn at any size.
    """
    from demo.downloads.question_figure import can_write_chinese, question_figure

    content = io.BytesIO()
    reply = shown.reply
    with speaking(language() if can_write_chinese() else "en"):
        figure = question_figure(
            reply.photo.picture,
            reply.prediction,
            shown.part,
            reply.answer,
            shown.place,
            figure_footer(facts, reply.prediction),
        )
        figure.savefig(content, format=kind)
    return content.getvalue()


def map_file(shown: Shown, facts: dict) -> bytes:
    """The map over the photo as a PNG file, as it is drawn on the page; with the photo beside it if that is shown.

    Its longer side has at least ``FILE_SIDE`` pixels, so that it can be printed.
    """
    picture = shown.reply.photo.picture
    drawn = overlay(picture, shown.part, shown.selection.words, shown.look, FILE_SIDE)
    if shown.view == "side_by_side":
        both = Image.new("RGB", (2 * drawn.width + 8, drawn.height), "white")
        both.paste(drawn, (0, 0))
        both.paste(picture.convert("RGB").resize(drawn.size), (drawn.width + 8, 0))
        drawn = both
    content = io.BytesIO()
    drawn.save(content, "PNG")
    return content.getvalue()


def facts_line(facts: dict) -> str:
    """Which model this was, in one line."""
    name, digest = facts.get("checkpoint"), facts.get("checkpoint_sha256", "")[:12]
    model = f"{say('checkpoint')} {name} (sha256 {digest}…) · " if name else ""
    if "family" in facts:  # an open model
        return f"VALM {__version__} · {model}{facts['family']}, {facts['precision']}"
    return f"VALM {__version__} · {model}{say('temperature')} {facts.get('temperature', 1):.3f}"


def figure_footer(facts: dict, prediction: Prediction) -> str:
    """What stands beneath a figure: the model, that its percentages aren't calibrated where so, and its prompt."""
    parts = [facts_line(facts)]
    if not prediction.calibrated and not prediction.long:
        parts.append(say("percentages not calibrated"))
    prompt = " ".join(str(facts_of(facts, prediction).get("prompt_without_template") or "").split())
    if prompt:
        parts.append(say("asked by “{prompt}”", prompt=shorten(prompt, 200, placeholder="…")))
    return " · ".join(parts)


def facts_of(facts: dict, prediction: Prediction) -> dict:
    """A model's facts, with the prompt that this answer was asked by, and what its percentages then are."""
    if prediction.prompt is None:
        return facts
    if "probabilities" in facts and not prediction.calibrated:
        facts = facts | {"probabilities": "not calibrated"}
    return facts | {"prompt": prediction.prompt, "prompt_without_template": prediction.prompt}


def words_in_report(count: int, selected: tuple[int, ...] = ()) -> list[int]:
    """Which of ``count`` words have their maps in a report: those selected and the first, ``REPORT_WORDS`` at most."""
    first = dict.fromkeys([*(word for word in selected if word < count), *range(count)])
    return sorted([*first][:REPORT_WORDS])


def left_out_html(count: int) -> str:
    """Of how many words a report has no map, and where these are; nothing where it has all."""
    if count <= 0:
        return ""
    text = say(
        "The maps of {count} more words are left out, so that this file stays small: the page shows them, and the "
        "JSON file has their numbers.",
        count=count,
    )
    return f'<p class="fine-print">{escape(text)}</p>'


def report_file(shown: Shown, facts: dict) -> bytes:
    """The report: one HTML file that holds its pictures, runs nothing and fetches nothing."""
    reply, part = shown.reply, shown.part
    prediction = reply.prediction
    photo = reply.photo.picture.convert("RGB")
    maps = []
    words_shown = words_in_report(len(part.tokens), shown.selection.words)
    for word in (WHOLE_QUESTION, *words_shown):
        words = () if word == WHOLE_QUESTION else (word,)
        picture = data_address(overlay(photo, part, words, shown.look))
        alt = escape(map_description(part, words))
        bar = colour_bar_html(part, words, shown.look)
        maps.append(f'<figure><img src="{picture}" alt="{alt}"><figcaption>{bar}</figcaption></figure>')
    raw, same = shown.look.raw_cells, shown.look.same_scale
    settings = {
        say("Question"): prediction.question,
        say("Explained answer"): reply.answer,
        say("Method"): method_name(part.method),
        say("Maps"): shown.place,
        say("Cells"): f"{part.grid[0]} × {part.grid[1]}, {say('shown raw') if raw else say('smoothed between')}",
        say("Scale"): say("one scale for all words") if same else say("each map has its own scale"),
        say("Heat map opacity (%)"): f"{100 * shown.look.opacity:.0f}",
        say("Part of the photo that the model saw"): ", ".join(f"{side:.2f}" for side in part.box),
        "VALM": __version__,
    } | {say(name.replace("_", " ")): value for name, value in facts_of(facts, prediction).items()}
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in settings.items())
    evidence = evidence_html(reply.evidence, prediction.gate, is_doubted(prediction), calibrated=prediction.calibrated)
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    page = f"""<!doctype html>
<html lang="{html_language()}">
<head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(prediction.question)}</title><style>{STYLE}</style></head><body>
<h1>{escape(prediction.question)}</h1>
<img class="photo" src="{data_address(photo)}" alt="{say("The photo itself")}">
<h2>{say("Answers")}</h2>{result_html(prediction, shown.right_answer, shown.record)}
{subject_html(reply.answer, part, shown.direction, shown.layer, shown.head)}
<div class="maps">{"".join(maps)}</div>{left_out_html(len(part.tokens) - len(words_shown))}
<h2>{say("Can this be believed?")}</h2>{evidence}
<h2>{say("Settings")}</h2><table>{rows}</table>
<footer><p>{say("Made by VALM, {time}.", time=made)}</p></footer></body></html>
"""
    return page.encode()


FILES: dict[str, tuple[str, Callable[[Shown, dict], bytes]]] = {
    "map": ("map.png", map_file),
    "figure": ("figure.png", figure_file),
    "svg": ("figure.svg", partial(figure_file, kind="svg")),
    "pdf": ("figure.pdf", partial(figure_file, kind="pdf")),
    "json": ("data.json", json_file),
    "report": ("report.html", report_file),
}


def file_name(question: str, ending: str) -> str:
    """A name for a file about a question: its letters and digits, at most 40."""
    words = re.sub(r"\W+", "-", question.casefold())[:40].strip("-")
    return f"valm-{words or 'question'}-{ending}"


def description_json(description: Description) -> dict:
    """A description as plain values, maps included."""
    words = [
        {"word": word.text, "probability": word.probability, "support": word.support, "verdict": word.verdict}
        for word in description.words
    ]
    return {
        "description": description.text,
        "others": list(description.others),
        "words": words,
        "grid": list(description.maps.shape[1:]),
        "word_maps": [[[round(float(share), DECIMALS) for share in row] for row in one] for one in description.maps],
    }
