"""Running an exported graph: ONNX Runtime or OpenVINO behind one function, neither with torch."""

from collections.abc import Callable, Sequence
from pathlib import Path

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
    import openvino

    settings: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(path, "CPU", settings)

    def run(inputs: dict[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        results = compiled.create_infer_request().infer(inputs)  # a request of its own: they hold their results
        return [np.array(results[name]) for name in outputs]

    return run


RUNTIMES = {"onnx": load_onnx, "openvino": load_openvino}
PACKAGE_OF_RUNTIME = {"onnx": "onnxruntime", "openvino": "openvino"}
