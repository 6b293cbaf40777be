"""Answer a large set of questions that lies in shards, on this machine or on a Ray cluster; what is done stays done.

Example:
    python -m training.batch_answer --checkpoint assets/checkpoints/everyday --input shards --output answers \\
        --engine ray --workers 2

Every shard (.tar or .parquet, see datasets/readers/shards.py) becomes one file SHARD.jsonl of lines with
`key`, `question`, `answer`, `probability`, or `error` where a photo or question can't be used. The file appears once
all of it is written, so a killed run or worker loses no finished shard, and the next run does the missing ones alone.
The engine `ray` needs the extra [scale]; with a cluster's address in RAY_ADDRESS it runs there, on a shared folder.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from tqdm import tqdm

from training.datasets.readers.jsonl import DataError
from training.datasets.readers.shards import SHARD_SUFFIXES, ShardQuestion, find_shards, read_questions
from valm_core.bulk import answer_photos
from valm_core.checkpoints.atomic_files import write_text
from valm_core.checkpoints.contents import REQUIRED_FILES, file_fingerprints, missing_file
from valm_core.checkpoints.fingerprints import MADE_FROM_FILE, check_same, read_json
from valm_core.inputs.photo import PHOTO_PREPROCESSING
from valm_core.inputs.question import QUESTION_PREPROCESSING
from valm_core.inputs.text import writable
from valm_core.model.packages import sha256_of
from valm_core.predictor import VqaPredictor

ENGINES = ("local", "ray")


class ShardAnswerer:
    """Answers whole shards with one model; what runs in a worker of either engine.

    Args:
        checkpoint: folder of a trained model.
        output: folder of the answers.
        batch_size: questions answered at once.
        device: auto, cpu, cuda or mps.
        threads: CPU threads.
    """

    def __init__(self, checkpoint: str, output: str, batch_size: int = 32, device: str = "auto", threads: int = 1):
        torch.set_num_threads(threads)
        self.predictor = VqaPredictor.from_checkpoint(checkpoint, device)
        self.output, self.batch_size, self.threads = Path(output), batch_size, threads

    def answer(self, shard: Path) -> int:
        """Write the answers of one shard; returns how many questions it had. Raises DataError."""
        questions = read_questions(shard)
        lines: list[dict] = []
        while batch := list(islice(questions, self.batch_size)):
            lines += self._answer_batch(batch)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_text(answers_file(shard, self.output), text)
        return len(lines)

    def __call__(self, batch: dict) -> dict:
        """The same for Ray Data: a batch of shards' paths -> how many questions each had."""
        return {"questions": [self.answer(Path(str(shard))) for shard in batch["shard"]]}

    def _answer_batch(self, batch: list[ShardQuestion]) -> Iterator[dict]:
        asked: dict[bytes, dict[str, None]] = {}  # each photo of the batch once, with its different questions
        for row in batch:
            asked.setdefault(row.photo, {})[row.question] = None
        answered = answer_photos(self.predictor, asked, top=1, at_once=self.batch_size, openers=self.threads)
        replies = {(photo, question): reply for photo, question, reply in answered}
        for row in batch:
            line, reply = {"key": row.key, "question": writable(row.question)}, replies[row.photo, row.question]
            if isinstance(reply, str):
                yield line | {"error": reply}
            else:
                best = reply.answers[0]
                yield line | {"answer": best.text, "probability": round(best.probability, 6)}


def answers_file(shard: Path, output: str | Path) -> Path:
    """Where the answers of a shard go."""
    return Path(output) / f"{shard.stem}.jsonl"


def answer_locally(shards: list[Path], arguments: tuple) -> int:
    """Answer shards one after the other in this process; returns how many questions they had.

    Args:
        shards: what to answer.
        arguments: of ``ShardAnswerer``.
    """
    answerer = ShardAnswerer(*arguments)
    return sum(answerer.answer(shard) for shard in tqdm(shards, desc="answering", unit="shard"))


def answer_with_ray(shards: list[Path], arguments: tuple, workers: int, answerer: type = ShardAnswerer) -> int:
    """Answer shards with Ray Data, each by whichever worker is free; returns how many questions they had.

    A worker that dies is started again, and its shard is done anew.

    Args:
        shards: what to answer; every worker must see these paths.
        arguments: of ``answerer``.
        workers: processes, one model each, each with a CPU (and a GPU where the device is cuda).
        answerer: the class that answers.

    Raises:
        DataError: Ray isn't installed.
    """
    try:
        import ray
    except ImportError as error:
        raise DataError("The engine ray needs the extra [scale]. Run: pip install -e '.[scale]'") from error

    if not ray.is_initialized():
        local = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers + 1, "include_dashboard": False}
        ray.init(log_to_driver=False, **local)
    data = ray.data.from_items([{"shard": str(shard.resolve())} for shard in shards], override_num_blocks=len(shards))
    answered = data.map_batches(
        answerer,
        fn_constructor_args=arguments,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=1 if arguments[3] == "cuda" else 0,
        max_restarts=-1,
        max_task_retries=-1,
    )
    rows = tqdm(answered.iter_rows(), total=len(shards), desc="answering", unit="shard")
    return sum(row["questions"] for row in rows)


def check_output(output: Path, checkpoint: str, shards: list[Path]) -> None:
    """Refuse to go on with answers of another model, or of shards that have changed; note what these are made from.

    Shards that an earlier call did not have may join.

    Raises:
        ValueError: in one line, what differs and how to go on.
        FileNotFoundError: there is no checkpoint.
    """
    folder = Path(checkpoint)
    if missing := missing_file(folder):
        raise FileNotFoundError(f"{folder} is no VALM checkpoint: {missing} is missing.")
    now: dict[str, str | int] = {}
    now |= {name: value for name, value in file_fingerprints(folder).items() if name in REQUIRED_FILES}
    now |= {"photo preprocessing": PHOTO_PREPROCESSING, "question preprocessing": QUESTION_PREPROCESSING}
    now |= {shard.name: sha256_of(shard) for shard in shards}
    path = output / MADE_FROM_FILE
    go_on = "Name another --output folder, or delete that one to answer all anew."
    stored = read_json(path) if path.is_file() else {}
    done = {shard.name for shard in shards if answers_file(shard, output).exists()}
    if done and (not isinstance(stored, dict) or not done <= stored.keys()):
        raise ValueError(f"{output} holds answers without a note which model gave them (earlier version). {go_on}")
    if done:
        settings = {name for name in stored if Path(name).suffix not in SHARD_SUFFIXES}
        kept = {name: stored[name] for name in stored if name in settings | done}
        ours = {name: now.get(name) for name in {**kept, **now} if name in done or name not in {s.name for s in shards}}
        check_same(f"{output} holds answers made with other", kept, ours, go_on)
    write_text(path, json.dumps((stored if done else {}) | now, indent=2) + "\n")


def batch_answer(options: argparse.Namespace) -> dict[str, float]:
    """Answer what isn't answered yet; returns counts, seconds and questions per second.

    Raises:
        DataError, FileNotFoundError, ValueError: no shards, a damaged one, or no checkpoint.
    """
    shards = find_shards(options.input)
    check_output(Path(options.output), options.checkpoint, shards)
    missing = [shard for shard in shards if not answers_file(shard, options.output).exists()]
    # As absolute paths, for workers may stand elsewhere.
    checkpoint, output = (str(Path(path).resolve()) for path in (options.checkpoint, options.output))
    arguments = (checkpoint, output, options.batch, options.device, options.threads)
    start = time.perf_counter()
    questions = 0
    if missing:
        questions = (
            answer_with_ray(missing, arguments, options.workers)
            if options.engine == "ray"
            else answer_locally(missing, arguments)
        )
    seconds = time.perf_counter() - start
    found = {"shards": len(shards), "done_before": len(shards) - len(missing), "questions": questions}
    return found | {"seconds": round(seconds, 2), "questions_per_second": round(questions / max(seconds, 1e-9), 2)}


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="folder of a trained model")
    parser.add_argument("--input", required=True, help="folder of shards, .tar or .parquet")
    parser.add_argument("--output", required=True, help="folder for the answers; shards finished there are not redone")
    parser.add_argument("--engine", choices=ENGINES, default="local", help="this process (default), or Ray Data")
    parser.add_argument("--workers", type=int, default=2, help="processes of the engine ray (default 2)")
    parser.add_argument("--batch", type=int, default=32, help="questions answered at once (default 32)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each worker (default 1)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(arguments)
    if min(options.workers, options.batch, options.threads) < 1:
        parser.error("--workers, --batch and --threads must each be at least 1.")
    try:
        print(json.dumps(batch_answer(options)))
    except (FileNotFoundError, ValueError) as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
