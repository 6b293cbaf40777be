"""Answer a large set of questions that lies in shards, on this machine or on a Ray cluster; what is done stays done.

Example:
    python -m training.batch_answer --checkpoint assets/checkpoints/everyday --input shards --output answers \\
        --engine ray --workers 2

Every shard (.tar or .parquet, see datasets/readers/shards.py) becomes one file SHARD.jsonl of lines with
`key`, `question`, `answer`, `probability`, or `error` where a photo, question or row can't be used. The file appears
once all of it is written, so a killed run or worker loses no finished shard, and the next run does the missing ones
alone. A shard that can't be read at all is told at the end, after the others were done.
The engine `ray` needs the extra [scale]; with a cluster's address in RAY_ADDRESS it runs there, on a shared folder.
"""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar

import torch

from training.datasets.readers.shards import Fault, ShardQuestion, scan_questions
from training.shard_runs import shard_file, shard_main
from valm_core.bulk import answer_photos
from valm_core.checkpoints.atomic_files import write_text
from valm_core.inputs.photo import PHOTO_PREPROCESSING
from valm_core.inputs.question import QUESTION_PREPROCESSING
from valm_core.inputs.text import writable
from valm_core.predictor import VqaPredictor


class ShardAnswerer:
    """Answers whole shards with one model; what runs in a worker of either engine.

    Args:
        checkpoint: folder of a trained model.
        output: folder of the answers.
        batch_size: questions answered at once.
        device: auto, cpu, cuda or mps.
        threads: CPU threads.
    """

    suffix: ClassVar[str] = ".jsonl"
    rows: ClassVar[str] = "questions"
    versions: ClassVar[dict[str, int]] = {
        "photo preprocessing": PHOTO_PREPROCESSING,
        "question preprocessing": QUESTION_PREPROCESSING,
    }

    def __init__(self, checkpoint: str, output: str, batch_size: int = 32, device: str = "auto", threads: int = 1):
        torch.set_num_threads(threads)
        self.predictor = VqaPredictor.from_checkpoint(checkpoint, device)
        self.output, self.batch_size, self.threads = Path(output), batch_size, threads

    def work(self, shard: Path) -> int:
        """Write the answers of one shard; returns how many questions it had. Raises DataError."""
        questions = scan_questions(shard)
        lines: list[dict] = []
        while batch := list(islice(questions, self.batch_size)):
            lines += self._answer_batch(batch)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_text(shard_file(shard, self.output, self.suffix), text)
        return len(lines)

    def _answer_batch(self, batch: list[ShardQuestion | Fault]) -> Iterator[dict]:
        asked: dict[bytes, dict[str, None]] = {}  # each photo of the batch once, with its different questions
        for row in batch:
            if isinstance(row, ShardQuestion):
                asked.setdefault(row.photo, {})[row.question] = None
        answered = answer_photos(self.predictor, asked, top=1, at_once=self.batch_size, openers=self.threads)
        replies = {(photo, question): reply for photo, question, reply in answered}
        for row in batch:
            if isinstance(row, Fault):
                yield {"key": writable(row.key), "error": writable(row.error)}
                continue
            line, reply = {"key": row.key, "question": writable(row.question)}, replies[row.photo, row.question]
            if isinstance(reply, str):
                yield line | {"error": reply}
            else:
                best = reply.answers[0]
                yield line | {"answer": best.text, "probability": round(best.probability, 6)}


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    shard_main(__doc__, ShardAnswerer, arguments)


if __name__ == "__main__":
    main()
