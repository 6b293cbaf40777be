"""Running an exported graph: ONNX Runtime or OpenVINO behind one function, neither with torch."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Graph = Callable[[dict[str, np.ndarray], Sequence[str]], list[np.ndarray]]  # inputs, names of outputs -> outputs


def load_onnx(path: Path, threads: int) -> Graph:
    """A graph by ONNX Runtime; only what the asked outputs need is computed. Safe to call from several threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        run_options = onnxruntime.RunOptions()
        run_options.only_execute_path_to_fetches = True
        return session.run(list(outputs), inputs, run_options)

    return run


def load_openvino(path: Path, threads: int) -> Graph:
    """A graph by OpenVINO, in float32 throughout. Safe to call from several threads."""
    settings: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino_core().compile_model(path, "CPU", settings)

    def run(inputs: dict[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        results = compiled.create_infer_request().infer(inputs)  # a request of its own: they hold their results
        return [np.array(results[name]) for name in outputs]

    return run


@functools.cache
def openvino_core() -> Any:
    """OpenVINO's ``Core``, one for the life of the process.

    Its CPU plugin gives threads a signal stack of its own. Where it is destroyed by another thread, as the garbage
    collector may do, that stack is freed under them, and the next signal kills the process (seen with 2026.4).
    """
    import openvino

    return openvino.Core()


RUNTIMES = {"onnx": load_onnx, "openvino": load_openvino}
PACKAGE_OF_RUNTIME = {"onnx": "onnxruntime", "openvino": "openvino"}
