"""Scenes with objects at known places, and questions or sentences of which only the scene tells the answer.

Example:
    python -m training.datasets.planted_scenes --output runs/planted/train --scenes 4000 --photos my/photos --plain 0.5
    python -m training.datasets.planted_scenes --output runs/planted/photos --scenes 300 --photos assets/examples
    python -m training.datasets.planted_scenes --output runs/planted/tags --scenes 1500 --rows tags
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from training.datasets.readers.jsonl import DataError
from valm_core.inputs.photo import PHOTO_ENDINGS, open_photo, photos_in
from valm_core.outputs import InputError

SIDE = 224  # pixels of a scene
OBJECTS = 3  # in a scene, each of its own shape and its own color
SIZES = (44, 64)  # pixels of an object
COLORS = {
    "red": (214, 39, 40),
    "green": (44, 140, 50),
    "blue": (38, 84, 200),
    "yellow": (240, 214, 40),
    "purple": (140, 60, 170),
    "orange": (245, 133, 20),
}
WARM = ("red", "yellow", "orange")  # half of the colors; the others are cold
SENTENCES = (  # about one, two or three objects; {} is the name of a shape
    ("look at the {} .", "here is a {} again"),
    ("a {} beside the {}", "the {} , and not far from it a {} ."),
    ("we saw a {} , a {} and a {} today", "{} and {} , {} as well !"),
)
SHAPES = ("circle", "square", "triangle", "star", "cross")
_SMOOTHING = 4  # scenes are drawn so many times larger


def draw_scene(generator: np.random.Generator, photos: list[Image.Image]) -> tuple[Image.Image, list[dict]]:
    """One scene and its objects, each {shape, color, box} with box in 0..1; boxes don't overlap.

    Args:
        generator: of everything random.
        photos: what backgrounds are cut from; none of them makes plain backgrounds.
    """
    scene = _background(generator, photos).resize((SIDE * _SMOOTHING,) * 2, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(scene)
    shapes = generator.permutation(SHAPES)[:OBJECTS]
    colors = generator.permutation(list(COLORS))[:OBJECTS]
    objects: list[dict] = []
    while len(objects) < OBJECTS:
        size = int(generator.integers(*SIZES, endpoint=True))
        left, top = (int(place) for place in generator.integers(0, SIDE - size, size=2, endpoint=True))
        box = (left, top, left + size, top + size)
        if any(_overlap(box, other["box"]) for other in objects):
            continue
        shape, color = str(shapes[len(objects)]), str(colors[len(objects)])
        _draw_shape(draw, shape, COLORS[color], [edge * _SMOOTHING for edge in box])
        objects.append({"shape": shape, "color": color, "box": box})
    for item in objects:
        item["box"] = tuple(edge / SIDE for edge in item["box"])
    return scene.resize((SIDE, SIDE), Image.Resampling.LANCZOS), objects


def questions_about(objects: list[dict], generator: np.random.Generator) -> list[dict]:
    """One question an object, about its color or its shape: {question, answer, source, region}."""
    rows = []
    for item in objects:
        if generator.random() < 0.5:
            question, answer, source = f"what color is the {item['shape']}?", item["color"], "color"
        else:
            question, answer, source = f"what shape is the {item['color']} thing?", item["shape"], "shape"
        rows.append({"question": question, "answer": answer, "source": source, "region": list(item["box"])})
    return rows


def sentence_about(objects: list[dict], generator: np.random.Generator) -> dict:
    """A sentence that names shapes of a scene, each labelled WARM or COLD by its color: {tokens, labels}.

    Nothing in it tells the colors: without the scene half of the labels can be guessed.
    """
    described = generator.permutation(len(objects))[: generator.integers(1, len(SENTENCES), endpoint=True)]
    chosen = [objects[place] for place in described]
    pattern = str(generator.choice(SENTENCES[len(chosen) - 1])).split()
    named = iter(chosen)
    tokens, labels = [], []
    for word in pattern:
        item = next(named) if word == "{}" else None
        tokens.append(item["shape"] if item else word)
        labels.append(("B-WARM" if item["color"] in WARM else "B-COLD") if item else "O")
    return {"tokens": tokens, "labels": labels}


def write_scenes(
    folder: str | Path,
    scenes: int,
    seed: int,
    photos: Sequence[Path] = (),
    rows: str = "questions",
    plain: float = 0.0,
) -> Path:
    """Write ``scenes`` photos and ``rows.jsonl`` (one question an object, with its region) into a folder.

    Args:
        folder: where to; files of the same name are replaced.
        scenes: how many.
        seed: the same one gives the same scenes.
        photos: files that backgrounds are cut from; none makes plain backgrounds.
        plain: of the scenes the share that has a plain background nevertheless, 0..1.
        rows: one of ``ROWS``: ``tags`` writes a labelled sentence a scene, see ``sentence_about``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    opened = [open_photo(photo) for photo in photos]
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number in range(scenes):
            scene, objects = draw_scene(generator, [] if plain and generator.random() < plain else opened)
            name = f"{number:05}.jpg"
            scene.save(folder / name, quality=92)
            for row in ROWS[rows](objects, generator):
                file.write(json.dumps({"image": name, **row}) + "\n")
    return folder / "rows.jsonl"


ROWS = {
    "questions": questions_about,
    "tags": lambda objects, generator: [sentence_about(objects, generator)],
}


def _background(generator: np.random.Generator, photos: list[Image.Image]) -> Image.Image:
    if not photos:
        grey = generator.integers(150, 236)
        color = np.clip(grey + generator.integers(-15, 16, size=3), 0, 255)
        return Image.new("RGB", (SIDE, SIDE), tuple(int(part) for part in color))
    photo = photos[generator.integers(len(photos))]
    side = int(min(photo.size) * generator.uniform(0.4, 1))
    left, top = (int(generator.integers(0, length - side, endpoint=True)) for length in photo.size)
    return photo.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _draw_shape(draw: ImageDraw.ImageDraw, shape: str, color: tuple[int, int, int], box: list[int]) -> None:
    left, top, right, bottom = box
    size = right - left
    if shape == "circle":
        draw.ellipse(box, fill=color)
    elif shape == "square":
        draw.rectangle(box, fill=color)
    elif shape == "triangle":
        draw.polygon([(left, bottom), (right, bottom), ((left + right) / 2, top)], fill=color)
    elif shape == "cross":
        third = size / 3
        draw.rectangle((left + third, top, right - third, bottom), fill=color)
        draw.rectangle((left, top + third, right, bottom - third), fill=color)
    else:  # star
        middle = ((left + right) / 2, (top + bottom) / 2)
        points = []
        for corner in range(10):
            radius = size / 2 if corner % 2 == 0 else size / 5
            angle = math.pi * corner / 5 - math.pi / 2
            points.append((middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle)))
        draw.polygon(points, fill=color)


def _overlap(one: tuple, other: tuple) -> bool:
    gap = 6  # pixels between objects
    return one[0] < other[2] + gap and other[0] < one[2] + gap and one[1] < other[3] + gap and other[1] < one[3] + gap


def background_photos(folder: str | Path) -> list[Path]:
    """The photos of a folder, by name. Raises DataError where there is none."""
    photos, _ = photos_in(folder)
    if not photos:
        raise DataError(f"There is no photo in {folder}. Name a folder with {', '.join(PHOTO_ENDINGS)} files.")
    return photos


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, help="folder for the scenes and rows.jsonl")
    parser.add_argument("--scenes", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--photos", help="folder of photos for backgrounds; without it they are plain")
    parser.add_argument("--plain", type=float, default=0.0, help="with --photos, the share of plain backgrounds")
    parser.add_argument("--rows", choices=ROWS, default="questions", help="what is written about each scene")
    parser.add_argument("--seed", type=int, default=0, help="the same one gives the same scenes")
    options = parser.parse_args(arguments)
    if options.scenes < 1:
        parser.error(f"--scenes is {options.scenes}; at least 1 is needed.")
    if not 0 <= options.plain <= 1:
        parser.error(f"--plain is {options.plain}; allowed: 0 to 1, a share of the scenes.")
    try:
        photos = background_photos(options.photos) if options.photos else []
        rows = write_scenes(options.output, options.scenes, options.seed, photos, options.rows, options.plain)
    except (OSError, DataError, InputError) as error:
        parser.exit(2, f"{error}\n")
    print(f"{options.scenes} scenes with {options.rows}: {rows}")


if __name__ == "__main__":
    main()
