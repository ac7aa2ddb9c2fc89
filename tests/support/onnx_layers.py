"""What onnxruntime makes of a file when it loads it."""

import tempfile
from collections import Counter
from pathlib import Path

import onnx
import onnxruntime

from msd_edge.converters.onnx.check import count_operators
from msd_edge.converters.onnx.tidy import LAYERS

INTEGER_OPERATORS = ("QLinearConv", "QGemm", "QLinearMatMul")


def optimized(data: bytes, level: onnxruntime.GraphOptimizationLevel) -> onnx.ModelProto:
    """Return the graph as this machine's onnxruntime rewrites it when it loads a file."""
    with tempfile.TemporaryDirectory(prefix="msd-edge-") as folder:
        path = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(path)
        options.graph_optimization_level = level
        onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return onnx.load(path)


def integer_layers(data: bytes) -> tuple[int, int]:
    """Return how many layers of a file this machine's onnxruntime computes in integers, and how many there are."""
    rewritten = optimized(data, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)
    kinds = Counter(node.op_type for node in rewritten.graph.node)
    whole = sum(count_operators(onnx.load_model_from_string(data)).get(kind, 0) for kind in LAYERS)
    return sum(kinds[kind] for kind in INTEGER_OPERATORS), whole
