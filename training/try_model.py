"""Try an open vision-language model: load it, ask three questions, check its maps, print a table for an issue.

Examples:
    python -m training.try_model HuggingFaceTB/SmolVLM-256M-Instruct
    python -m training.try_model FOLDER --measure

Checked of every method: all values are finite, maps sum to 1; of every photo: its image tokens are as many as the
family's geometry says. ``--measure`` adds time and memory of one pass without maps, with the rows of the question, and
with full attention maps. Exit code: 0, 1 where a check failed, 2 where the model can't be used.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers

from training.measuring.common import markdown_table
from training.metrics.memory import peak_bytes
from valm_core import __version__
from valm_core.commands import ending_in_a_line
from valm_core.loading import load_predictor
from valm_core.outputs import Explanation, InputError
from valm_core.vision_language.attention_rows import collecting
from valm_core.vision_language.predictor import EncodedPhoto, TransformersPredictor
from valm_core.vision_language.sequence import SequenceReader

EXAMPLES = Path(__file__).parents[1] / "assets" / "examples"
ASKED = (("cat.jpg", "What animal is this?"), ("coffee.jpg", "What is in the cup?"), ("cat.jpg", "Is it a dog?"))
ROWS = 20  # tokens whose rows are kept in the measurement, about a question and its answer


def problems_of(explanation: Explanation) -> list[str]:
    """What is wrong with an explanation's numbers; empty where nothing is."""
    found = []
    for name in ("image_map", "token_scores", "token_to_patch", "patch_to_token", "text_to_image"):
        values = getattr(explanation, name)
        if not np.isfinite(values).all() or (values < 0).any():
            found.append(f"{name} isn't finite or below 0")
    if abs(float(explanation.image_map.sum()) - 1) > 1e-3:
        found.append(f"image_map sums to {explanation.image_map.sum():.4f}")
    if np.abs(explanation.token_to_patch.sum(axis=1) - 1).max() > 1e-3:
        found.append("token_to_patch has rows that don't sum to 1")
    return found


def geometry_of(predictor: TransformersPredictor, image: EncodedPhoto) -> tuple[str, bool]:
    """In words whether a photo's image tokens lie where the family's do, and whether that is a failed check."""
    if not predictor.reader.sees_words:
        return "no attention maps: the family or its second decoder isn't known", False
    if image.picture is None or predictor.reader.places(image.picture) is None:
        return "the image tokens don't lie where the family's do", True
    return "image tokens as expected", False


def try_questions(predictor: TransformersPredictor, photos: Path) -> tuple[str, int]:
    """A table, a row a question and method, and how many checks failed."""
    rows: list[tuple[object, ...]] = []
    failed = 0
    for file, question in ASKED:
        image = predictor.encode(photos / file)
        start = time.perf_counter()
        prediction = predictor.answer(image, question)
        best = prediction.answers[0]
        took = time.perf_counter() - start
        geometry, wrong_places = geometry_of(predictor, image)
        failed += wrong_places
        answer = f"{best.text} ({best.probability:.1%})"
        rows.append((file, question, answer, "", image.grid, "", f"{took:.1f}", geometry))
        for method in predictor.explanation_methods:
            start = time.perf_counter()
            try:
                explanation = predictor.explain(image, question, method, best.text)
            except InputError as error:
                rows.append(("", "", "", method, "", "", "", error))
                failed += 1
                continue
            took = time.perf_counter() - start
            wrong = problems_of(explanation)
            failed += bool(wrong)
            cell = tuple(int(place) for place in np.unravel_index(explanation.image_map.argmax(), image.grid))
            rows.append(("", "", "", method, "", cell, f"{took:.1f}", "; ".join(wrong) or "ok"))
    heads = ("photo", "question", "answer", "method", "grid", "hottest cell", "seconds", "checks")
    return markdown_table(heads, rows), failed


def measure(predictor: TransformersPredictor, image: EncodedPhoto) -> str:
    """A table: time and memory of one pass without maps, with some rows, with full maps."""
    reader = predictor.reader
    if not isinstance(reader, SequenceReader) or image.picture is None:
        return "Only models that write have rows to measure."
    inputs = reader.inputs([image.picture], "What is in the photo?")
    length, decoder = inputs["input_ids"].shape[1], reader.model.get_decoder()
    last = torch.arange(max(length - ROWS, 0), length, device=reader.device)

    def plain() -> int:
        reader.model(**inputs, use_cache=False)
        return 0

    def with_rows(queries: torch.Tensor | None = None) -> int:
        with collecting([decoder], queries) as rows:
            reader.model(**inputs, use_cache=False)
        return sum(row.numel() * row.element_size() for row in rows.rows)

    rows = []
    ways = {"no maps": plain, f"rows of {len(last)} tokens": lambda: with_rows(last), "full": with_rows}
    for name, run in ways.items():
        try:
            seconds, peak, maps = _measured(run, reader.device)
            rows.append((name, f"{seconds:.3f}", f"{peak / 1e9:.2f} GB", f"{maps / 1e6:.1f} MB"))
        except (torch.OutOfMemoryError, MemoryError):
            rows.append((name, "", "out of memory", ""))
    return markdown_table((f"one pass over {length} tokens", "seconds", "peak memory", "maps alone"), rows)


@torch.no_grad()
def _measured(run: Callable[[], int], device: torch.device) -> tuple[float, float, int]:
    """Seconds of the second run, peak memory in bytes (of the process, on a CPU), and what the run returned."""
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    maps = run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    if device.type == "cuda":
        return seconds, float(torch.cuda.max_memory_allocated(device)), maps
    return seconds, float(peak_bytes()), maps


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder, or user/model on the hub")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--photos", type=Path, default=EXAMPLES, help="folder with the example photos")
    parser.add_argument("--measure", action="store_true", help="also time and memory with and without maps")
    options = parser.parse_args(arguments)
    with ending_in_a_line(parser, ImportError):
        predictor = load_predictor(options.model, options.device)
        if not isinstance(predictor, TransformersPredictor):
            raise ValueError(f"{options.model} is a VALM model or an export of one; `python -m demo.ask` tries those.")
        found, failed = try_questions(predictor, options.photos)
        if options.measure:
            found += "\n\n" + measure(predictor, predictor.encode(options.photos / ASKED[0][0]))
    facts = ", ".join(f"{name} {value}" for name, value in predictor.facts.items() if not name.startswith("prompt"))
    print(f"{facts}\nprompt: {predictor.facts['prompt']!r}")
    print(f"VALM {__version__}, transformers {transformers.__version__}, torch {torch.__version__}, ", end="")
    print(f"Python {platform.python_version()}\n")
    print(found)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
