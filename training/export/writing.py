"""A model's graphs as files: ONNX, its linear layers in int8, OpenVINO."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from valm_core.exported.runtimes import openvino_core

Free = dict[int, Any]  # axes of an input that any number fits, each a ``torch.export.Dim``


@dataclass(frozen=True)
class Graph:
    """A module to be written: for each input an example and its free axes, and the names of its outputs."""

    module: nn.Module
    inputs: Mapping[str, tuple[Tensor, Free]]
    outputs: Sequence[str]


def write_onnx_graphs(graphs: Mapping[str, Graph], folder: Path) -> dict[str, str]:
    """Write graphs as ONNX; returns their names with their files."""
    for name, graph in graphs.items():
        torch.onnx.export(
            graph.module.eval(),
            tuple(example for example, _ in graph.inputs.values()),
            folder / f"{name}.onnx",
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=tuple(free for _, free in graph.inputs.values()),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return {name: f"{name}.onnx" for name in graphs}


def quantize(folder: Path, files: Sequence[str]) -> None:
    """Make the linear layers and embeddings of some graphs int8, in place; activations on the fly.

    An image encoder should stay in float32: quantized, its tokens were off by 60 % of their size and it was slower, see
    docs/log.md. Weights use 7 of 8 bits, or CPUs without VNNI overflow.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    for file in files:
        path = folder / file
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


def text_inputs(length: int) -> dict[str, tuple[Tensor, Free]]:
    """Token ids and mask of two texts as examples, whose number and length are free."""
    texts, words = torch.export.Dim("texts"), torch.export.Dim("words")
    examples = {
        "token_ids": torch.ones(2, length, dtype=torch.long),
        "text_mask": torch.ones(2, length, dtype=torch.bool),
    }
    return {name: (example, {0: texts, 1: words}) for name, example in examples.items()}


def photo_inputs(size: int) -> dict[str, tuple[Tensor, Free]]:
    """Two photos of ``size`` pixels a side as an example, whose number is free."""
    return {"pixels": (torch.rand(2, 3, size, size), {0: torch.export.Dim("photos")})}
