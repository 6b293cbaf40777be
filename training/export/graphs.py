"""Export a checkpoint for ONNX Runtime or OpenVINO: three graphs that answer and give maps without torch.

Example:
    python -m training.export --checkpoint assets/checkpoints/everyday --output runs/export --format onnx \\
        --data validation.jsonl --report docs/reports/running/export.json

Needs the extra [export]. With --data it then compares the export with the checkpoint on validation questions.
"""

import argparse
import dataclasses
import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.datasets import load_rows
from training.export.check import compare_with_checkpoint, format_report
from training.measuring.common import data_name, sample, tell_report
from valm_core.checkpoints.atomic_files import replace_folder
from valm_core.checkpoints.contents import WEIGHTS_FILE
from valm_core.checkpoints.fingerprints import answer_list_fingerprint
from valm_core.checkpoints.hub import fetch_checkpoint, is_hub_name
from valm_core.checkpoints.storage import load_checkpoint
from valm_core.explanations.attention_maps import cross_modal_maps
from valm_core.explanations.attention_rollout import rollout_relevance
from valm_core.explanations.raw_attention import raw_relevance
from valm_core.explanations.relevance import rows_to_one
from valm_core.exported.files import METADATA_FILE, METADATA_VERSION, metadata_fingerprint
from valm_core.exported.model import MAP_OUTPUTS
from valm_core.exported.runtimes import RUNTIMES, openvino_core
from valm_core.model.encoders.packages import sha256_of
from valm_core.model.model import ValmModel

NEARBY_LEVELS = 2  # folders up from the export to what it shares with its checkpoint
TOKENIZER_FILE, MEAN_TOKEN_FILE = "tokenizer.json", "mean_image_token.npy"


class FusionGraph(nn.Module):
    """Encoded text and photo -> logits, gate and maps, as plain tensors.

    Photos come as [B, rows, columns, D_image], so that one graph serves any grid, that of one cell for a blind answer
    included.
    """

    OUTPUTS = ("logits", "gate", "text_to_image", "image_to_text", *itertools.chain(*MAP_OUTPUTS.values()))

    def __init__(self, model: ValmModel):
        super().__init__()
        self.model = model

    def forward(self, text_tokens: Tensor, text_mask: Tensor, image_tokens: Tensor) -> tuple[Tensor, ...]:
        """The outputs named ``OUTPUTS``. Those of rollout are the first question's alone, with a batch axis of one."""
        grid = (image_tokens.shape[1], image_tokens.shape[2])
        cells = self.model.prepare(image_tokens.flatten(1, 2), grid)
        features = self.model.fuse(text_tokens, text_mask, cells, return_attention=True)
        text_to_image, image_to_text = cross_modal_maps(features)  # [B, L, H, T, N], [B, L, H, N, T]
        raw = raw_relevance(features, text_to_image, image_to_text)
        relevance, *between = rollout_relevance(features, self.model.has_glimpses)  # [T + N], [T, N] and [N, T]
        length = text_tokens.shape[1]
        rolled = (relevance[length:], relevance[:length], *between)
        logits = self.model.score(features, text_tokens, text_mask, cells)
        return logits, features.gate, text_to_image, image_to_text, *raw, *(rows_to_one(part)[None] for part in rolled)


class TextGraph(nn.Module):
    """Token ids [B, T] and mask [B, T] -> text tokens [B, T, D_text]."""

    def __init__(self, model: ValmModel):
        super().__init__()
        self.encoder = model.text_encoder

    def forward(self, token_ids: Tensor, text_mask: Tensor) -> Tensor:
        return self.encoder(token_ids, text_mask).tokens


def write_onnx_graphs(model: ValmModel, folder: Path) -> dict[str, str]:
    """Write the three graphs as ONNX; returns their names with their files.

    Batch size and question length are free in each, the photo's grid in the fusion.
    """
    size, length = model.config.image_size, min(5, model.config.max_question_tokens)
    photos, questions, words, rows, columns = map(torch.export.Dim, ("photos", "questions", "words", "rows", "columns"))
    pixels = torch.rand(2, 3, size, size), {0: photos}
    token_ids = torch.ones(2, length, dtype=torch.long), {0: questions, 1: words}
    text_mask = torch.ones(2, length, dtype=torch.bool), {0: questions, 1: words}
    text_width, image_width = model.text_projection.in_features, model.mean_image_token.shape[-1]
    text_tokens = torch.randn(2, length, text_width), {0: questions, 1: words}
    image_tokens = torch.randn(2, 3, 4, image_width), {0: questions, 1: rows, 2: columns}
    asked = {"text_tokens": text_tokens, "text_mask": text_mask, "image_tokens": image_tokens}
    graphs = {
        "image_encoder": (model.image_encoder, {"pixels": pixels}, ["image_tokens"]),
        "text_encoder": (TextGraph(model), {"token_ids": token_ids, "text_mask": text_mask}, ["text_tokens"]),
        "fusion": (FusionGraph(model), asked, list(FusionGraph.OUTPUTS)),
    }
    for name, (module, inputs, outputs) in graphs.items():
        torch.onnx.export(
            module.eval(),
            tuple(example for example, _ in inputs.values()),
            folder / f"{name}.onnx",
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=tuple(free for _, free in inputs.values()),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return {name: f"{name}.onnx" for name in graphs}


def quantize(folder: Path, files: dict[str, str]) -> None:
    """Make the linear layers and embeddings of text encoder and fusion int8, in place; activations on the fly.

    The image encoder stays in float32: quantized, its tokens were off by 60 % of their size and it was slower, see
    docs/log.md. Weights use 7 of 8 bits, or CPUs without VNNI overflow.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    for name in ("text_encoder", "fusion"):
        path = folder / files[name]
        whole = path.with_suffix(".float32.onnx")
        path.rename(whole)
        quantize_dynamic(whole, path, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
        whole.unlink()


def to_openvino(folder: Path, files: dict[str, str]) -> dict[str, str]:
    """Turn the ONNX graphs into OpenVINO's files (.xml with .bin) and delete them; returns names and files."""
    import openvino

    core = openvino_core()
    for file in files.values():
        openvino.save_model(core.read_model(folder / file), folder / f"{Path(file).stem}.xml", compress_to_fp16=False)
        (folder / file).unlink()
    return {name: f"{Path(file).stem}.xml" for name, file in files.items()}


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
        output: gets the graphs, ``metadata.json``, the tokenizer and the average image token.
        graph_format: ``onnx`` or ``openvino``.
        int8: see ``quantize``.

    Returns:
        The metadata.

    Raises:
        FileNotFoundError, ValueError: see ``load_checkpoint``.
    """
    model = load_checkpoint(checkpoint)
    tokenizer = model.tokenizer.tokenizer
    with replace_folder(output) as fresh:
        files = write_onnx_graphs(model, fresh)
        if int8:
            quantize(fresh, files)
        if graph_format == "openvino":
            files = to_openvino(fresh, files)
        tokenizer.backend_tokenizer.save(str(fresh / TOKENIZER_FILE))
        np.save(fresh / MEAN_TOKEN_FILE, model.mean_image_token.numpy())
        encoder: Any = model.image_encoder  # its buffers are `Tensor | Module` to mypy
        metadata = {
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
            "mean_image_token": MEAN_TOKEN_FILE,
            "temperature": model.config.temperature,
            "yes_no_temperature": model.config.yes_no_temperature,
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
    parser.add_argument("--checkpoint", required=True, help="folder of a trained model")
    parser.add_argument("--output", required=True, help="folder to write; an existing one is replaced")
    parser.add_argument("--format", choices=RUNTIMES, default="onnx", help="onnx (default) or openvino")
    parser.add_argument("--int8", action="store_true", help="linear layers and embeddings in int8: a third of the size")
    parser.add_argument("--data", help="then compare with the checkpoint on questions of this JSON lines file")
    parser.add_argument("--limit", type=int, default=200, help="how many questions, drawn with seed 1; 0 takes all")
    parser.add_argument("--report", help="write the comparison to this JSON file, and beside it the same as .md")
    options = parser.parse_args(arguments)
    if options.report and not options.data:
        parser.error("--report needs --data: the questions to compare on.")
    try:
        rows = load_rows(options.data) if options.data else []
        export(options.checkpoint, options.output, options.format, options.int8)
        if not rows:
            return
        rows = sample(rows, options.limit or len(rows), seed=1)
        report = compare_with_checkpoint(options.checkpoint, options.output, options.format, rows)
    except (FileNotFoundError, ImportError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    words = [f"--checkpoint {options.checkpoint} --output {options.output} --format {options.format}"]
    words += ["--int8"] * options.int8
    words += [f"--data {data_name(options.data)} --limit {options.limit}"]
    report |= {"int8": options.int8, "command": f"python -m training.export {' '.join(words)}"}
    text = format_report(report)
    tell_report(report, text, options.report)


if __name__ == "__main__":
    main()
