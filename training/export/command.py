"""Export a checkpoint for ONNX Runtime or OpenVINO: graphs that answer, find or describe photos without torch.

Example:
    python -m training.export --checkpoint assets/checkpoints/everyday --output runs/export --format onnx \\
        --data validation.jsonl --report docs/reports/running/export.json

Needs the extra [export]. With --data it then compares the export with the checkpoint: on questions, or for a model that
finds or describes photos on photos with captions.
"""

import argparse
import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.datasets import load_rows
from training.datasets.readers.captioned import read_captioned_photos
from training.export.answering import answering_graphs, answering_metadata
from training.export.check import compare_with_checkpoint, format_report
from training.export.check_tasks import compare_captioners, compare_finders, format_captioners, format_finders
from training.export.describing import describing_graphs, describing_metadata
from training.export.finding import finding_graphs, finding_metadata
from training.export.writing import quantize, to_openvino, write_onnx_graphs
from training.measuring.common import data_name, sample, tell_report
from valm_core.checkpoints.atomic_files import replace_folder
from valm_core.checkpoints.contents import CONFIG_FILE, WEIGHTS_FILE, task_of
from valm_core.checkpoints.fingerprints import answer_list_fingerprint
from valm_core.checkpoints.hub import fetch_checkpoint, is_hub_name
from valm_core.checkpoints.storage import load_task_checkpoint
from valm_core.commands import ending_in_a_line
from valm_core.exported.files import METADATA_FILE, METADATA_VERSION, metadata_fingerprint
from valm_core.exported.runtimes import RUNTIMES
from valm_core.model.encoders.packages import sha256_of

NEARBY_LEVELS = 2  # folders up from the export to what it shares with its checkpoint
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class TaskExport:
    """How a model for a task is exported and compared.

    ``graphs`` of a model; ``metadata`` of a model, its checkpoint's folder and the export's; ``compare`` and ``format``
    as ``compare_with_checkpoint`` and ``format_report``; ``read`` gives what to compare on, of a file; ``quantized``
    are the graphs that int8 is for.
    """

    graphs: Callable[[Any], dict[str, Any]]
    metadata: Callable[[Any, Path, Path], dict[str, Any]]
    compare: Callable[[str, str, str, list], dict]
    format: Callable[[dict], str]
    read: Callable[[str], list]
    quantized: tuple[str, ...] = ()


TASKS = {
    "answer": TaskExport(
        answering_graphs,
        answering_metadata,
        compare_with_checkpoint,
        format_report,
        load_rows,
        ("text_encoder", "fusion"),
    ),
    "retrieval": TaskExport(
        finding_graphs, finding_metadata, compare_finders, format_finders, read_captioned_photos, ("text_encoder",)
    ),
    "caption": TaskExport(
        describing_graphs, describing_metadata, compare_captioners, format_captioners, read_captioned_photos
    ),
}


def task_to_export(checkpoint: str | Path, int8: bool = False) -> str:
    """The task of a checkpoint, one of ``TASKS``; "answer" where there is none, which loading it then says.

    Raises:
        FileNotFoundError: the hub didn't give it.
        ValueError: it is for another task, or ``int8`` is asked of one that has no graph for it.
    """
    folder = fetch_checkpoint(checkpoint)
    task = task_of(folder) if (folder / CONFIG_FILE).is_file() else "answer"
    if task not in TASKS:
        raise ValueError(
            f"{checkpoint} is for the task {task!r}, which can't be exported; allowed: {', '.join(TASKS)}."
        )
    if int8 and not TASKS[task].quantized:
        able = ", ".join(name for name, kind in TASKS.items() if kind.quantized)
        raise ValueError(f"{checkpoint} is for the task {task!r}; --int8 is for {able}. Export it without.")
    return task


def nearby(checkpoint: str | Path, output: str | Path) -> str:
    """Where a checkpoint lies as seen from its export; "" where that is far away and would tell of this machine."""
    try:
        path = Path(os.path.relpath(Path(checkpoint).resolve(), Path(output).resolve()))
    except ValueError:  # another drive of Windows
        return ""
    return path.as_posix() if path.parts.count("..") <= NEARBY_LEVELS else ""


@torch.no_grad()
def export(checkpoint: str | Path, output: str | Path, graph_format: str, int8: bool = False) -> dict:
    """Write an export; an existing folder is replaced as a whole or not at all.

    Args:
        checkpoint: folder of a trained model.
        output: gets the graphs, ``metadata.json``, the tokenizer and, of a model that answers, the average image token.
        graph_format: ``onnx`` or ``openvino``.
        int8: see ``quantize``.

    Returns:
        The metadata.

    Raises:
        FileNotFoundError, ValueError: see ``load_checkpoint`` and ``task_to_export``.
    """
    task = task_to_export(checkpoint, int8)
    kind, model = TASKS[task], load_task_checkpoint(checkpoint, task)
    tokenizer = model.tokenizer.tokenizer
    with replace_folder(output) as fresh:
        files = write_onnx_graphs(kind.graphs(model), fresh)
        if int8:
            quantize(fresh, [files[name] for name in kind.quantized])
        if graph_format == "openvino":
            files = to_openvino(fresh, files)
        tokenizer.backend_tokenizer.save(str(fresh / TOKENIZER_FILE))
        own = kind.metadata(model, fetch_checkpoint(checkpoint), fresh)
        encoder: Any = model.image_encoder  # its buffers are `Tensor | Module` to mypy
        metadata = own | {
            "version": METADATA_VERSION,
            "format": graph_format,
            "int8": int8,
            "graphs": files,
            "grid": encoder.grid,
            "image_size": model.config.image_size,
            "normalization": {
                "mean": encoder.mean.flatten().tolist(),
                "std": encoder.std.flatten().tolist(),
                "done_by": "the graph image_encoder, from pixels in 0..1",
            },
            "tokenizer": {
                "file": TOKENIZER_FILE,
                "pad_id": tokenizer.pad_token_id,
                "max_tokens": model.config.max_question_tokens,
            },
            "config": dataclasses.asdict(model.config),
            "checkpoint": "" if is_hub_name(checkpoint) else nearby(checkpoint, output),
            "checkpoint_sha256": sha256_of(fetch_checkpoint(checkpoint) / WEIGHTS_FILE),
            "answers_sha256": answer_list_fingerprint(model.answers),
            "sha256": {path.name: sha256_of(path) for path in sorted(fresh.iterdir())},
            "answers": model.answers,
        }
        metadata = json.loads(json.dumps(metadata))  # as the file gives it back
        metadata["fingerprint"] = metadata_fingerprint(metadata)
        (fresh / METADATA_FILE).write_text(json.dumps(metadata, ensure_ascii=False) + "\n", encoding="utf-8")
    return metadata


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="folder of a model that answers, finds or describes photos")
    parser.add_argument("--output", required=True, help="folder to write; an existing one is replaced")
    parser.add_argument("--format", choices=RUNTIMES, default="onnx", help="onnx (default) or openvino")
    parser.add_argument("--int8", action="store_true", help="linear layers and embeddings in int8: a third of the size")
    parser.add_argument("--data", help="then compare with the checkpoint on the rows of this JSON lines file")
    parser.add_argument(
        "--limit", type=int, default=200, help="how many questions or photos, drawn with seed 1; 0 takes all"
    )
    parser.add_argument("--report", help="write the comparison to this JSON file, and beside it the same as .md")
    options = parser.parse_args(arguments)
    if options.report and not options.data:
        parser.error("--report needs --data: the rows to compare on.")
    with ending_in_a_line(parser, ImportError, writes=options.report):
        kind = TASKS[task_to_export(options.checkpoint, options.int8)]
        rows = kind.read(options.data) if options.data else []
        export(options.checkpoint, options.output, options.format, options.int8)
        if not rows:
            return
        rows = sample(rows, options.limit or len(rows), seed=1)
        report = kind.compare(options.checkpoint, options.output, options.format, rows)
        words = [f"--checkpoint {options.checkpoint} --output {options.output} --format {options.format}"]
        words += ["--int8"] * options.int8
        words += [f"--data {data_name(options.data)} --limit {options.limit}"]
        report |= {"int8": options.int8, "command": f"python -m training.export {' '.join(words)}"}
        text = kind.format(report)
        tell_report(report, text, options.report)


if __name__ == "__main__":
    main()
