"""Does an export say what its checkpoint says? Differences, equal answers and accuracy on the same questions."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from training.datasets.readers.jsonl import Row
from training.measuring.common import as_page, markdown_table
from training.metrics.vqa_accuracy import vqa_accuracy
from valm_core.answering import encode_questions
from valm_core.checkpoints.contents import WEIGHTS_FILE
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.exported import model as exported
from valm_core.exported.predictor import OnnxPredictor
from valm_core.model.encoders.packages import sha256_of
from valm_core.outputs import EncodedImage, InputError
from valm_core.predictor import VqaPredictor

MAP_METHOD = "raw_attention"


def compare_with_checkpoint(checkpoint: str | Path, output: str | Path, runtime: str, rows: list[Row]) -> dict:
    """Ask checkpoint and export the same questions.

    Returns:
        ``questions``, ``agreement`` (share of equal likeliest answers), ``accuracy`` of both in 0..1, the greatest
        difference of a probability, of an image map's cell and, relative to its size, of an image token; ``megabytes``.
        Questions that are too long for the model are left out and counted.

    Raises:
        ValueError: the export was made from another checkpoint.
    """
    ours = VqaPredictor.from_checkpoint(checkpoint, device="cpu")
    theirs = OnnxPredictor.from_checkpoint(output)
    refuse_another_checkpoint(checkpoint, output, ours.model.answers, theirs.model.metadata)
    greatest = {"image_tokens": 0.0, "probabilities": 0.0, "image_map": 0.0}
    equal, left_out = [], 0
    accuracy: dict[str, list[float]] = {"torch": [], "export": []}
    photo = None
    for row in tqdm(sorted(rows, key=lambda row: str(row.image)), desc="comparing", unit="question"):
        if row.image != photo:
            photo = row.image
            images = ours.encode(photo), theirs.encode(photo)
            tokens = images[0].tokens.numpy(), images[1].tokens
            largest = np.abs(tokens[0]).max()
            note_difference(greatest, "image_tokens", tokens[0] / largest, tokens[1] / largest)
        try:
            likely = whole_lists(ours, theirs, images, row.question)
        except InputError:
            left_out += 1
            continue
        first, second = (theirs.answers[int(probabilities.argmax())] for probabilities in likely)
        equal.append(first == second)
        for name, answer in (("torch", first), ("export", second)):
            accuracy[name].append(vqa_accuracy(answer, row.answers))
        note_difference(greatest, "probabilities", *likely)
        own_map = ours.explain(images[0], row.question, MAP_METHOD).image_map
        exported_map = theirs.explain(images[1], row.question, MAP_METHOD).image_map
        note_difference(greatest, "image_map", own_map, exported_map)
    return {
        "format": runtime,
        "questions": len(equal),
        "too_long": left_out,
        "agreement": float(np.mean(equal)),
        "accuracy": {name: float(np.mean(values)) for name, values in accuracy.items()},
        "greatest_difference": greatest,
        "megabytes": folder_megabytes(output),
    }


@torch.no_grad()
def whole_lists(
    ours: VqaPredictor, theirs: OnnxPredictor, images: tuple[EncodedImage, EncodedImage], question: str
) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities [A] of all answers by both, also of those that aren't worth a line. Raises InputError."""
    own, other = images
    _, text = encode_questions(ours.model, [question])
    logits = ours.model(text_tokens=text.tokens, text_mask=text.mask, image_tokens=own.tokens).logits[0]
    _, asked = exported.encode_question(theirs.model, question)
    (found,) = exported.fuse(theirs.model, asked, exported.photo_tokens(other), other.grid, ["logits"])
    return ours.model.probabilities(logits).numpy(), exported.probabilities(theirs.model, found[0])


def note_difference(
    greatest: dict[str, float], name: str, first: np.ndarray | float, second: np.ndarray | float
) -> None:
    """Keep the greatest difference of two arrays or numbers so far under a name."""
    greatest[name] = max(greatest[name], float(np.abs(first - second).max()))


def refuse_another_checkpoint(
    checkpoint: str | Path, output: str | Path, answers: list[str], metadata: dict[str, Any]
) -> None:
    """Refuse to compare an export, by its metadata, with a checkpoint that it wasn't made from.

    Args:
        checkpoint, output: both folders.
        answers: the checkpoint's.
        metadata: the export's.

    Raises:
        ValueError: weights or answers are others.
    """
    found, exported_from = sha256_of(fetch_checkpoint(checkpoint) / WEIGHTS_FILE), metadata["checkpoint_sha256"]
    if found != exported_from or answers != metadata["answers"]:
        raise ValueError(
            f"{output} was exported from weights {exported_from[:12]}, and {checkpoint} holds "
            f"{found[:12]}: they don't compare. Export that checkpoint, or name the one of the export."
        )


def folder_megabytes(folder: str | Path) -> float:
    """The size of the files in a folder, in MB."""
    return sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6


def format_report(report: dict) -> str:
    """The report as Markdown."""
    accuracy, greatest = report["accuracy"], report["greatest_difference"]
    measured = {
        "same likeliest answer": f"{report['agreement']:.1%}",
        "accuracy of the checkpoint, of the export": f"{accuracy['torch']:.2%}, {accuracy['export']:.2%}",
        "greatest difference of a probability": f"{greatest['probabilities']:.1e}",
        f"of a cell of the map `{MAP_METHOD}`": f"{greatest['image_map']:.1e}",
        "of an image token, relative to the largest": f"{greatest['image_tokens']:.1e}",
    }
    return export_page(report, f"{report['questions']} questions, one at a time", measured)


def export_page(report: dict, compared_on: str, measured: dict[str, str]) -> str:
    """What was measured, and the export's size, as Markdown."""
    measured = measured | {"size of the export": f"{report['megabytes']:.0f} MB"}
    return as_page(
        f"# Export to {report['format']}{', int8' if report['int8'] else ''}, against its checkpoint",
        f"    {report['command']}",
        f"On {compared_on}:",
        markdown_table(("", ""), measured.items()),
    )
