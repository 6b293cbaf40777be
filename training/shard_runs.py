"""Work on shards, on this machine or on a Ray cluster: each shard becomes one file, and what is done stays done."""

import argparse
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tqdm import tqdm

from training.datasets.readers.jsonl import DataError
from training.datasets.readers.shards import SHARD_SUFFIXES, find_shards
from valm_core.checkpoints.atomic_files import write_text
from valm_core.checkpoints.contents import REQUIRED_FILES, file_fingerprints, missing_file
from valm_core.checkpoints.fingerprints import MADE_FROM_FILE, check_same, read_json
from valm_core.commands import ending_in_a_line
from valm_core.model.encoders.packages import sha256_of

ENGINES = ("local", "ray")


class ShardWorker(Protocol):
    """What makes a file of each shard, built from checkpoint, output folder, batch size, device and threads.

    ``suffix`` ends the file's name, ``rows`` is what a shard's rows are called, ``versions`` are those of all that
    shapes a file beside checkpoint and shard.
    """

    suffix: ClassVar[str]
    rows: ClassVar[str]
    versions: ClassVar[dict[str, int]]

    def __init__(self, checkpoint: str, output: str, batch_size: int, device: str, threads: int): ...

    def work(self, shard: Path) -> int:
        """Write the file of one shard; returns how many rows it had. Raises DataError."""


class RayWorker:
    """A ``ShardWorker`` as Ray Data wants it: built in a process of its own, then called with batches of paths."""

    def __init__(self, worker: type[ShardWorker], *arguments: Any):
        self.built = worker(*arguments)

    def __call__(self, batch: dict) -> dict:
        """A batch of shards' paths -> ``rows``, how many each had, and ``faults``, why a shard couldn't be read."""
        rows, faults = zip(*(work_on(self.built, Path(str(shard))) for shard in batch["shard"]), strict=True)
        return {"rows": list(rows), "faults": list(faults)}


def work_on(worker: ShardWorker, shard: Path) -> tuple[int, str]:
    """How many rows a shard had, and "", or what is wrong with it: the others are worked on all the same."""
    try:
        return worker.work(shard), ""
    except DataError as error:
        return 0, str(error)


def counted(done: Iterable[tuple[int, str]]) -> int:
    """The rows of all shards. Raises DataError with the faults of those that couldn't be read, once all are done."""
    found = list(done)
    if faults := [fault for _, fault in found if fault]:
        raise DataError("\n".join(faults) + f"\n{len(found) - len(faults)} of {len(found)} shards are done.")
    return sum(rows for rows, _ in found)


def shard_file(shard: Path, output: str | Path, suffix: str) -> Path:
    """The file that a shard becomes."""
    return Path(output) / f"{shard.stem}{suffix}"


def work_locally(shards: list[Path], worker: type[ShardWorker], arguments: tuple[Any, ...]) -> int:
    """Work on shards one after the other in this process; returns how many rows they had.

    Args:
        shards: what to work on.
        worker, arguments: what does it, and what it is built from.

    Raises:
        DataError: as of ``counted``.
    """
    built = worker(*arguments)
    return counted(work_on(built, shard) for shard in tqdm(shards, desc="working", unit="shard"))


def work_with_ray(
    shards: list[Path], worker: type[ShardWorker], arguments: tuple[Any, ...], workers: int, cuda: bool
) -> int:
    """Work on shards with Ray Data, each by whichever worker is free; returns how many rows they had.

    A worker that dies is started again, and its shard is done anew.

    Args:
        shards: what to work on; every worker must see these paths.
        worker, arguments: as of ``work_locally``.
        workers: processes, one model each, each with a CPU.
        cuda: whether each needs a GPU.

    Raises:
        DataError: Ray isn't installed, or as of ``counted``.
    """
    try:
        import ray
    except ImportError as error:
        raise DataError("The engine ray needs the extra [scale]. Run: pip install -e '.[scale]'") from error

    if not ray.is_initialized():
        here: dict[str, Any] = {"num_cpus": workers + 1, "include_dashboard": False}
        ray.init(log_to_driver=False, **({} if os.environ.get("RAY_ADDRESS") else here))
    data = ray.data.from_items([{"shard": str(shard.resolve())} for shard in shards], override_num_blocks=len(shards))
    done = data.map_batches(
        RayWorker,
        fn_constructor_args=(worker, *arguments),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=1 if cuda else 0,
        max_restarts=-1,
        max_task_retries=-1,
    )
    rows = tqdm(done.iter_rows(), total=len(shards), desc="working", unit="shard")
    return counted((int(row["rows"]), str(row["faults"])) for row in rows)


def check_output(output: Path, checkpoint: str, shards: list[Path], worker: type[ShardWorker]) -> None:
    """Refuse to go on with files made by another model, or of shards that have changed; note what these are made from.

    Shards that an earlier call did not have may join.

    Args:
        output: where the shards' files lie.
        checkpoint: folder of the model.
        shards: all that are to be there.
        worker: what makes the files.

    Raises:
        ValueError: in one line, what differs and how to go on.
        FileNotFoundError: there is no checkpoint.
    """
    folder = Path(checkpoint)
    if missing := missing_file(folder):
        raise FileNotFoundError(f"{folder} is no VALM checkpoint: {missing} is missing.")
    now: dict[str, str | int] = {}
    now |= {name: value for name, value in file_fingerprints(folder).items() if name in REQUIRED_FILES}
    now |= worker.versions
    now |= {shard.name: sha256_of(shard) for shard in shards}
    path = output / MADE_FROM_FILE
    go_on = "Name another --output folder, or delete that one to do all anew."
    stored = read_json(path) if path.is_file() else {}
    stored = stored if isinstance(stored, dict) else {}
    there = {file.stem for file in output.glob(f"*{worker.suffix}")}  # also of shards that lie in another folder
    done = {shard.name for shard in shards if shard.stem in there}
    if (there and not stored) or not done <= stored.keys():
        raise ValueError(f"{output} holds results without a note which model gave them (earlier version). {go_on}")
    if there:
        compared = {name for name in {**stored, **now} if name in done or Path(name).suffix not in SHARD_SUFFIXES}
        kept = {name: value for name, value in stored.items() if name in compared}
        ours = {name: value for name, value in now.items() if name in compared}
        check_same(f"{output} holds results made with other", kept, ours, go_on)
    write_text(path, json.dumps((stored if there else {}) | now, indent=2) + "\n")


def run_shards(options: argparse.Namespace, worker: type[ShardWorker]) -> dict[str, float]:
    """Do what isn't done yet; returns counts, seconds and rows per second.

    Args:
        options: of ``shard_main``.
        worker: what does it.

    Raises:
        DataError, FileNotFoundError, ValueError: no shards, a damaged one, or no checkpoint.
    """
    shards = find_shards(options.input)
    check_output(Path(options.output), options.checkpoint, shards, worker)
    missing = [shard for shard in shards if not shard_file(shard, options.output, worker.suffix).exists()]
    # As absolute paths, for workers may stand elsewhere.
    checkpoint, output = (str(Path(path).resolve()) for path in (options.checkpoint, options.output))
    arguments = (checkpoint, output, options.batch, options.device, options.threads)
    start, count = time.perf_counter(), 0
    if missing and options.engine == "ray":
        count = work_with_ray(missing, worker, arguments, options.workers, options.device == "cuda")
    elif missing:
        count = work_locally(missing, worker, arguments)
    seconds = time.perf_counter() - start
    found = {"shards": len(shards), "done_before": len(shards) - len(missing), worker.rows: count}
    return found | {"seconds": round(seconds, 2), f"{worker.rows}_per_second": round(count / max(seconds, 1e-9), 2)}


def shard_main(description: str | None, worker: type[ShardWorker], arguments: list[str] | None) -> None:
    """The command line of what works on shards: its options, its counts as JSON, its faults in one line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="folder of a trained model")
    parser.add_argument("--input", required=True, help="folder of shards, .tar or .parquet")
    parser.add_argument("--output", required=True, help="folder for the results; shards finished there are not redone")
    parser.add_argument("--engine", choices=ENGINES, default="local", help="this process (default), or Ray Data")
    parser.add_argument("--workers", type=int, default=2, help="processes of the engine ray (default 2)")
    parser.add_argument("--batch", type=int, default=32, help="rows at once (default 32)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each worker (default 1)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(arguments)
    if min(options.workers, options.batch, options.threads) < 1:
        parser.error("--workers, --batch and --threads must each be at least 1.")
    with ending_in_a_line(parser, writes=str(Path(options.output) / MADE_FROM_FILE)):
        print(json.dumps(run_shards(options, worker)))
