"""From a checkpoint to graphs for ONNX Runtime or OpenVINO, and the proof that they say the same."""
