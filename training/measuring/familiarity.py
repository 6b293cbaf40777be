"""Teach a checkpoint which photos and questions are of the kind that it learned from, and test that on other kinds.

Example:
    python -m training.familiarity --checkpoint assets/checkpoints/everyday --data train.jsonl \\
        --validation validation.jsonl --report docs/reports/accuracy/familiarity.json

A fifth of the photos and questions learned from sets the limits and the others the subspaces; the validation data
tells how often the usual is called unfamiliar. Pages of text, charts, drawings, digits, noise and plain colours are
made here; the questions are about knowledge, in other languages, or letters at random.
"""

import argparse
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from training.datasets import load_rows
from training.datasets.feature_cache import FeatureCache, read_pixels
from training.measuring.common import add_measuring_options, as_page, data_name, load_model, markdown_table, tell_report
from valm_core.checkpoints.contents import FAMILIARITY_FILE, changing
from valm_core.commands import ending_in_a_line
from valm_core.familiarity import Subspace, photo_vectors, question_vectors, save_familiarity
from valm_core.model.model import ValmModel

COMPONENTS = {"photo": 128, "question": 32}
WITHIN = {"photo": 0.998, "question": 0.99}  # share of the usual within the limit
MADE = 40  # pictures of each kind
BATCH = 32
KNOWLEDGE = """Who was the president of France in 1990? What is the capital of Peru? How do I boil an egg?
Who wrote Hamlet? What is 17 times 23? What is the meaning of life? How do I install Python? What does GDP stand for?
Who made you? When did World War II end? What is the boiling point of water? Who won the world cup in 2014?
What is photosynthesis? Can you help me with my homework? How old are you? Is bitcoin a good investment?
What does this function return? Should I sell my house? Who discovered penicillin? How many bytes are in a megabyte?"""
LANGUAGES = """Welches Tier ist das? Combien de personnes y a-t-il? Quanti cani ci sono? Hoeveel mensen zijn er?
Är det dag eller natt? Какого цвета машина? 这是什么动物? 図の中に何がありますか? Co robi ten człowiek? Kaç kişi var?"""


def of_text(text: str) -> list[str]:
    """The questions of a text, one for each question mark."""
    return [f"{question.strip()}?" for question in text.split("?") if question.strip()]


def made_pictures(generator: np.random.Generator) -> dict[str, list[Image.Image]]:
    """``MADE`` pictures of each kind that isn't a photo of everyday life."""
    kinds: dict[str, Callable[[np.random.Generator], Image.Image]] = {
        "page of text": page_of_text,
        "chart": chart,
        "drawing": drawing,
        "digit": digit,
        "noise": lambda chance: Image.fromarray(chance.integers(0, 256, (224, 224, 3), dtype=np.uint8)),
        "plain colour": lambda chance: Image.new("RGB", (224, 224), tuple(chance.integers(0, 256, 3).tolist())),
    }
    return {kind: [make(generator) for _ in range(MADE)] for kind, make in kinds.items()}


def page_of_text(chance: np.random.Generator) -> Image.Image:
    """Lines of words out of letters, black on white."""
    page = Image.new("RGB", (600, 800), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=14)
    for line in range(20, 780, 20):
        draw.text((20, line), " ".join(letters(chance) for _ in range(10)), fill="black", font=font)
    return page


def letters(chance: np.random.Generator) -> str:
    """Three to nine letters at random."""
    return "".join(chance.choice(list("abcdefghijklmnopqrstuvwxyz"), chance.integers(3, 10)))


def chart(chance: np.random.Generator) -> Image.Image:
    """Bars, lines, points or a pie, by matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3))
    axes, values = figure.subplots(), chance.random(chance.integers(4, 10))
    kind = chance.integers(4)
    if kind == 0:
        axes.bar(range(len(values)), values)
    elif kind == 1:
        axes.plot(chance.random((30, 3)).cumsum(axis=0))
    elif kind == 2:
        axes.scatter(chance.random(50), chance.random(50))
    else:
        axes.pie(values)
    axes.set_title(letters(chance))
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return Image.open(content).convert("RGB")


def drawing(chance: np.random.Generator) -> Image.Image:
    """One to five filled shapes on a light ground."""
    picture = Image.new("RGB", (300, 300), tuple(chance.integers(200, 256, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for _ in range(chance.integers(1, 6)):
        left, top = chance.integers(0, 200, 2).tolist()
        right, bottom = (np.array([left, top]) + chance.integers(30, 100, 2)).tolist()
        shape = draw.ellipse if chance.integers(2) else draw.rectangle
        shape((left, top, right, bottom), fill=tuple(chance.integers(0, 256, 3).tolist()), outline="black")
    return picture


def digit(chance: np.random.Generator) -> Image.Image:
    """A handwritten digit of scikit-learn's, 8 x 8 pixels enlarged."""
    from sklearn.datasets import load_digits

    images = load_digits().images
    pixels = (images[chance.integers(len(images))] * 15.9).astype(np.uint8)
    return Image.fromarray(pixels).resize((224, 224)).convert("RGB")


@torch.no_grad()
def vectors_of_photos(model: ValmModel, photos: list, what: str, features: FeatureCache | None = None) -> np.ndarray:
    """The vectors [P, D] of photos of a data set, perhaps encoded beforehand, or of pictures."""

    def batches() -> Iterator[np.ndarray]:
        for first in tqdm(range(0, len(photos), BATCH), desc=f"encoding {what}", unit="batch", leave=False):
            batch = photos[first : first + BATCH]
            if features is not None:
                yield photo_vectors(model, features.image_tokens(batch))
                continue
            pixels = torch.stack([read_pixels(model, photo) for photo in batch])
            yield photo_vectors(model, model.encode_image(pixels.to(model.device)).tokens)

    return np.concatenate(list(batches()))


@torch.no_grad()
def vectors_of_questions(model: ValmModel, questions: list[str]) -> np.ndarray:
    """The vectors [Q, D] of questions, cut where they are too long."""

    def batches() -> Iterator[np.ndarray]:
        for first in range(0, len(questions), 8 * BATCH):
            ids, mask = model.tokenizer(questions[first : first + 8 * BATCH], True)
            yield question_vectors(model.encode_question(ids.to(model.device), mask.to(model.device)))

    return np.concatenate(list(batches()))


def measure(
    model: ValmModel, data: str, validation: str, limit: int, cache: str = ""
) -> tuple[dict, dict[str, Subspace]]:
    """Fit on ``limit`` photos and questions of ``data``, and tell how much of each kind is called unfamiliar.

    Args:
        model: a trained model.
        data: what it learned from.
        validation: the same kind, which it did not learn from.
        limit: how many photos and how many questions of each are used.
        cache: folder for encoded photos, as in training; empty encodes them here.

    Returns:
        The report, and the subspaces by part.
    """
    chance = np.random.default_rng(0)
    learned, others = load_rows(data), load_rows(validation)

    def some(values: set, most: int) -> list:
        ordered = sorted(values, key=str)
        return [ordered[place] for place in chance.permutation(len(ordered))[:most]]

    sets = {"fit": learned, "test": others}
    photos = {name: some({row.image for row in rows}, limit) for name, rows in sets.items()}
    questions = {name: some({row.question for row in rows}, limit) for name, rows in sets.items()}
    gibberish = [f"{letters(chance)} {letters(chance)}" for _ in range(MADE)]
    for part, values in (("photo", photos["fit"]), ("question", questions["fit"])):
        if len(values) < (least := max(5, 2 * COMPONENTS[part])):
            raise ValueError(f"{data} has {len(values)} {part}s; at least {least} are needed.")
    features = FeatureCache(model, [*photos["fit"], *photos["test"]], [], cache) if cache else None
    vectors = {
        "photo": {
            name: vectors_of_photos(model, paths, f"photos to {name}", features) for name, paths in photos.items()
        },
        "question": {name: vectors_of_questions(model, texts) for name, texts in questions.items()},
    }
    unusual = {
        "photo": {kind: vectors_of_photos(model, made, kind) for kind, made in made_pictures(chance).items()},
        "question": {
            "about knowledge": vectors_of_questions(model, of_text(KNOWLEDGE)),
            "in another language": vectors_of_questions(model, of_text(LANGUAGES)),
            "letters at random": vectors_of_questions(model, gibberish),
        },
    }
    subspaces, report = {}, {}
    for part, found in vectors.items():
        fifth = len(found["fit"]) // 5  # in an order drawn by chance
        subspace = Subspace.fit(found["fit"][fifth:], found["fit"][:fifth], COMPONENTS[part], WITHIN[part])
        kinds = {"usual": found["test"]} | unusual[part]
        shares = {kind: float((subspace.distance(tested) > subspace.limit).mean()) for kind, tested in kinds.items()}
        subspaces[part] = subspace
        report[part] = {
            "fitted_on": len(found["fit"]) - fifth,
            "limited_by": fifth,
            "limit": round(subspace.limit, 4),
            "tested": {kind: len(tested) for kind, tested in kinds.items()},
            "called_unfamiliar": {kind: round(share, 4) for kind, share in shares.items()},
        }
    return report, subspaces


def format_report(report: dict) -> str:
    """The report as Markdown."""
    parts = ["# What is called unfamiliar", f"    {report.get('command', '')}"]
    for part in COMPONENTS:
        found = report[part]
        parts.append(
            f"A {part} is unfamiliar when its vector leads further than {found['limit']} out of the subspace of "
            f"{found['fitted_on']} {part}s that training saw ({COMPONENTS[part]} dimensions); a limit that "
            f"{100 * (1 - WITHIN[part]):.1f} % of {found['limited_by']} others of them pass."
        )
        rows = [
            ("of validation" if kind == "usual" else kind, found["tested"][kind], f"{100 * share:.1f} %")
            for kind, share in found["called_unfamiliar"].items()
        ]
        parts.append(markdown_table((f"{part}s", "tested", "called unfamiliar"), rows))
    return as_page(*parts)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_measuring_options(parser, report="write this JSON file, and beside it the same as .md")
    parser.add_argument("--data", required=True, help="what the model learned from, with photos")
    parser.add_argument("--validation", required=True, help="the same kind, which it did not learn from")
    parser.add_argument("--cache", default="", help="folder of encoded photos, as in training (default: none)")
    parser.add_argument("--limit", type=int, default=12000, help="photos and questions of each (default 12000)")
    options = parser.parse_args(arguments)
    if options.limit <= 2 * max(COMPONENTS.values()):
        parser.error(f"--limit is {options.limit}; more than {2 * max(COMPONENTS.values())} are needed.")
    with ending_in_a_line(parser, writes=options.report):
        model = load_model(options)
        report, subspaces = measure(model, options.data, options.validation, options.limit, options.cache)
        folder = Path(options.checkpoint)
        with changing(folder) as fresh:
            save_familiarity(subspaces, fresh / FAMILIARITY_FILE)
        report["command"] = (
            f"python -m training.familiarity --checkpoint {options.checkpoint} --data {data_name(options.data)} "
            f"--validation {data_name(options.validation)} --limit {options.limit}"
        )
        tell_report(report, format_report(report), options.report)


if __name__ == "__main__":
    main()
