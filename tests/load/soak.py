"""The long forms of the reliability tests; writes docs/reports/running/reliability.md and .json.

Example:
    python -m tests.load.soak --questions 2000 --visitors 64 --kills 50
"""

import argparse
import asyncio
import dataclasses
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "helpers")]
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

PARTS = ("corpus", "tasks", "fuzz", "load", "life", "kills")
PHOTO_DOORS = ("describe", "find photo")  # where nothing is asked
MORE_TASKS = ("feel", "read")


def corpus(predictor, folder: Path, options) -> dict:
    """The whole hostile corpus, large photos too, through the predictor, the page's handlers, HTTP and the API."""
    from hostile.test_hostile_http import api_door, http_door
    from hostile.test_hostile_photos import page_door, predictor_door
    from served_page import served

    with served(predictor) as url:
        doors = {"predictor": predictor_door(predictor), "page": page_door(predictor), "http": http_door(url)}
        return passed_through(doors | {"api": api_door(url)}, folder, options)


def tasks(predictor, folder: Path, options) -> dict:
    """As ``corpus``, through the doors of describing, finding and the page More, each with its shipped model."""
    return passed_through(task_doors(folder), folder, options)


def passed_through(doors: dict, folder: Path, options) -> dict:
    """What became of the hostile corpus at each door."""
    from hostile.doors import faults_of, through, write
    from hostile.photos import PICTURE, hostile_photos, saved
    from hostile.questions import HOSTILE_QUESTIONS

    result = {}
    for name, door in doors.items():
        passages, faults = [], []
        photos = islice(hostile_photos(large=True), 0, None, 1 if name == "predictor" else options.every)
        pairs = [(write(folder, photo.name[-80:], photo.content), "what is in the photo?") for photo in photos]
        right = write(folder, "right.png", saved(PICTURE, "PNG"))
        if name in PHOTO_DOORS:
            texts = []
        elif name in ("http", "api"):
            texts = [text for text in HOSTILE_QUESTIONS if "\ud800" not in text]
        else:
            texts = list(HOSTILE_QUESTIONS)
        pairs += [(right, text) for text in texts]
        if name == "find words":
            pairs = pairs[-len(texts) :]  # no photo goes through it
        for path, question in pairs:
            passages.append(through(door, path, question))
            faults += [f"{path.name}, {question[:30]!r}: {fault}" for fault in faults_of(passages[-1])]
        result[name] = {
            "inputs": len(pairs),
            "faults": faults,
            "slowest_cpu_seconds": max(passage.cpu_seconds for passage in passages),
            "slowest_seconds": max(passage.seconds for passage in passages),
            "most_megabytes": max(passage.megabytes for passage in passages),
        }
        print(f"{name}: {len(pairs)} inputs, {len(faults)} faults", flush=True)
    return result


def task_doors(folder: Path) -> dict:
    """The doors of ``tasks``."""
    from hostile.photos import PICTURE
    from hostile.task_doors import describe_door, find_photo_door, find_words_door, more_door

    from demo.finding.collection import Collection
    from demo.more.models import MoreModels
    from demo.page.more import MorePage
    from valm_core.captions.captioner import Captioner
    from valm_core.retrieval.finder import PhotoFinder

    shipped = ROOT / "assets" / "checkpoints"
    (folder / "collection").mkdir()
    PICTURE.save(folder / "collection" / "right.png")
    collection = Collection(folder / "collection", PhotoFinder.from_checkpoint(shipped / "find", "cpu"))
    collection.update()
    page = MorePage(MoreModels({task: shipped / task for task in MORE_TASKS}))
    doors = {
        "describe": describe_door(Captioner.from_checkpoint(shipped / "describe", "cpu")),
        "find photo": find_photo_door(collection),
        "find words": find_words_door(collection),
    }
    return doors | {f"more: {task}": more_door(page, task) for task in MORE_TASKS}


def fuzz(predictor, folder: Path, options) -> dict:
    """Changed photos for a while; whatever isn't opened or refused clearly is kept under ``folder``."""
    from hostile.photos import KINDS, PICTURE, mutated, saved

    from valm_core.inputs.photo import open_photo
    from valm_core.outputs import InputError

    chance, tried, opened, faults = random.Random(options.seed), 0, 0, []
    sources = [saved(PICTURE, kind) for kind in KINDS]
    sources += [saved(PICTURE, "TIFF", compression=how) for how in ("tiff_lzw", "jpeg", "tiff_adobe_deflate")]
    sources += [saved(PICTURE, "JPEG", progressive=True), saved(PICTURE.convert("RGBA"), "WEBP", lossless=True)]
    end = time.monotonic() + options.fuzz_seconds
    while time.monotonic() < end:
        content = mutated(chance.choice(sources), chance)
        begin = time.process_time()
        tried += 1
        try:
            open_photo(content)
            opened += 1
        except InputError:
            pass
        except Exception as error:
            faults.append(repr(error))
            (folder / f"fault_{tried}").write_bytes(content)
        if (seconds := time.process_time() - begin) > 2:
            faults.append(f"{seconds:.1f} s")
            (folder / f"slow_{tried}").write_bytes(content)
    return {"seconds": options.fuzz_seconds, "seed": options.seed, "tried": tried, "opened": opened, "faults": faults}


def load(predictor, folder: Path, options) -> dict:
    """Many visitors at once on a served page, and far more than its queue takes."""
    from load.drive import drive, flood
    from served_page import served

    with served(predictor) as url:
        driven = asyncio.run(drive(url, options.visitors, 2))
        answered, refusals = asyncio.run(flood(url, 2 * options.visitors))
    return {
        "visitors": options.visitors,
        "questions": len(driven.seconds),
        "errors": driven.errors,
        "crossed": driven.crossed,
        "p50": driven.percentile(50),
        "p95": driven.percentile(95),
        "p99": driven.percentile(99),
        "weighed_p50": driven.percentile(50, weighed=True),
        "weighed_p95": driven.percentile(95, weighed=True),
        "questions_per_second": len(driven.seconds) / driven.wall_seconds,
        "longest_queue_told": driven.longest_queue,
        "flood": {"sent": answered + len(refusals), "answered": answered, "told_busy": len(refusals)},
    }


def life(predictor, folder: Path, options) -> dict:
    """Questions with explanations in one process."""
    from load.long_life import live

    lived = live(predictor, options.questions, min(200, options.questions // 2))
    return dataclasses.asdict(lived) | {"growth": lived.growth}


def kills(predictor, folder: Path, options) -> dict:
    """kill -9 during writes."""
    from load.kills import kill_checkpoint_writers, kill_correction_writers, kill_indexers

    from demo.settings import checkpoint_folder
    from valm_core.retrieval.finder import PhotoFinder

    shutil.copytree(checkpoint_folder(), folder / "checkpoint")
    chance = random.Random(options.seed)
    finder = PhotoFinder.from_checkpoint(ROOT / "assets" / "checkpoints" / "find", "cpu")
    (folder / "find").mkdir()
    return {
        "moments_each": options.kills,
        "corrections_kept": kill_correction_writers(folder / "corrections.sqlite", options.kills, chance),
        "checkpoint_saves": kill_checkpoint_writers(folder / "checkpoint", options.kills, chance),
        "photos_indexed": kill_indexers(folder / "find", finder, options.kills, chance),
    }


def report(figures: dict) -> str:
    """The figures as Markdown."""
    machine = figures["machine"]
    lines = [
        "# Reliability",
        "",
        f"Model: the shipped checkpoint on the CPU, {machine['cores']} cores. Latencies on a machine that does other "
        "work too are upper bounds; the load average is that of the part's begin.",
        "",
    ]
    for part, run in figures["runs"].items():
        lines.append(f"- {part}: `{run['command']}` (load average {run['load_average']:.1f})")
    lines.append("")
    if "corpus" in figures:
        lines += [
            "| hostile corpus, door | inputs | faults | slowest (CPU s) | slowest (wall s) | most memory (MB) |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for door, row in (figures["corpus"] | figures.get("tasks", {})).items():
            lines.append(
                f"| {door} | {row['inputs']} | {len(row['faults'])} | {row['slowest_cpu_seconds']:.1f} | "
                f"{row['slowest_seconds']:.1f} | {row['most_megabytes']:.0f} |"
            )
        lines.append("")
    if "fuzz" in figures:
        row = figures["fuzz"]
        lines.append(
            f"- **Fuzzing**: {row['tried']} changed photos in {row['seconds']} s (seed {row['seed']}), {row['opened']} "
            f"opened, the others refused, {len(row['faults'])} faults."
        )
    if "load" in figures:
        row = figures["load"]
        lines += [
            f"- **{row['visitors']} visitors at once**, {row['questions']} questions, each once the one before had its "
            f"evidence: {len(row['errors'])} errors, {len(row['crossed'])} differences from the same questions one "
            f"by one; answer and map after p50 {row['p50']:.1f} s, p95 {row['p95']:.1f} s, p99 {row['p99']:.1f} s, the "
            f"evidence after p50 {row['weighed_p50']:.1f} s, p95 {row['weighed_p95']:.1f} s; "
            f"{row['questions_per_second']:.2f} questions a second with all of it; the longest queue anyone was told "
            f"of: {row['longest_queue_told']}.",
            f"- **Too many**: of {row['flood']['sent']} at once {row['flood']['answered']} were answered, "
            f"{row['flood']['told_busy']} were told that the page is busy.",
        ]
    if "life" in figures:
        row = figures["life"]
        lines.append(
            f"- **Long life**: {row['questions']} questions with explanations; memory {row['megabytes_early']:.0f} MB "
            f"early, {row['megabytes_late']:.0f} MB at the end ({100 * row['growth']:+.1f} %); open files "
            f"{row['files_early']} and {row['files_late']}."
        )
    if "kills" in figures:
        row = figures["kills"]
        lines.append(
            f"- **kill -9** at {row['moments_each']} random moments each: the database opened every time and lost no "
            f"reported correction ({row['corrections_kept']} kept); the checkpoint loaded every time "
            f"({row['checkpoint_saves']} finished saves)."
        )
        if "photos_indexed" in row:  # figures of before 2026-11-27 haven't got it
            indexed = row["photos_indexed"]
            lines[-1] += f" The index opened every time, lost no photo and was finished afterwards ({indexed} photos)."
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="which (default: all)")
    parser.add_argument("--questions", type=int, default=2000, help="of the long life")
    parser.add_argument("--visitors", type=int, default=64, help="at once")
    parser.add_argument("--kills", type=int, default=50, help="random moments, for each of three writers")
    parser.add_argument("--fuzz-seconds", type=int, default=600)
    parser.add_argument("--every", type=int, default=1, help="but for the predictor, only each Nth hostile photo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs" / "reports" / "running", help="folder of the report"
    )
    options = parser.parse_args()

    from demo.settings import checkpoint_folder
    from valm_core.checkpoints.atomic_files import write_text
    from valm_core.predictor import VqaPredictor

    command = f"python -m tests.load.soak {' '.join(sys.argv[1:])}".strip()
    path = options.output / "reliability.json"
    failed = False
    predictor = VqaPredictor.from_checkpoint(checkpoint_folder(), "cpu")
    steps = {"corpus": corpus, "tasks": tasks, "fuzz": fuzz, "load": load, "life": life, "kills": kills}
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "uploads")
            run = {"command": command, "load_average": round(os.getloadavg()[0], 1)}
            begin = time.perf_counter()
            found = steps[part](predictor, Path(folder), options)
            print(f"{part}: {time.perf_counter() - begin:.0f} s {json.dumps(found)[:300]}", flush=True)
            # The parts that this command doesn't run keep their figures, and the name of the command that made them.
            figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"runs": {}}
            figures["machine"] = {"cores": os.cpu_count(), "python": platform.python_version()}
            figures["runs"][part], figures[part] = run, found
            write_text(path, json.dumps(figures, indent=2) + "\n")
            write_text(path.with_suffix(".md"), report(figures))
            failed |= bool(faults_in(part, found))
    sys.exit(failed)


def faults_in(part: str, found: dict) -> list:
    """What a part's figures say went wrong."""
    if part in ("corpus", "tasks"):
        return [fault for row in found.values() for fault in row["faults"]]
    return [*found.get("faults", []), *found.get("errors", []), *found.get("crossed", [])]


if __name__ == "__main__":
    main()
