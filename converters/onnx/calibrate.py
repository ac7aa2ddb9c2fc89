"""Activation ranges of the float graph: the true minimum and maximum over real images."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from msd_edge.converters.onnx.graph import consumers, make_model
from msd_edge.converters.onnx.libraries import open_session
from msd_edge.data.dataset import Images
from msd_edge.errors import ExportError
from msd_edge.processors import usable_processors

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Range:
    """The smallest and the largest value that a tensor took."""

    low: float
    high: float


def measure_ranges(model: ModelProto, images: Images) -> dict[str, Range]:
    """Return the range of every float activation of a graph over raw images (images, H, W, C), uint8.

    The graph runs with the minimum and maximum of each activation as its outputs, so that no activation leaves it, on
    one image a processor at a time: the time is that of the convolutions (batches of 16 would save 8 % of it). A tensor
    that only a Relu or Clip takes gets that node's range, because quantization merges the two; unmeasured, it lets the
    runtime merge them here too.

    Raises:
        ExportError: an activation is not finite.
    """
    aliases = _clipped_away(model)
    tensors = _activations(model, set(aliases))
    session = open_session(_with_extremes(model, tensors).SerializeToString(), threads=1)
    name = model.graph.input[0].name

    def extremes(image: Images) -> Floats:
        pixels = np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32)
        return np.array(session.run(None, {name: pixels}), np.float32)

    low = np.full(len(tensors), np.inf, np.float32)
    high = -low
    with ThreadPoolExecutor(usable_processors()) as pool:
        for found in pool.map(extremes, images):
            # fmin would drop a NaN, minimum keeps it
            low = np.minimum(low, found[: len(tensors)])
            high = np.maximum(high, found[len(tensors) :])
    ranges = {tensor: Range(float(a), float(b)) for tensor, a, b in zip(tensors, low, high, strict=True)}
    for tensor, value in ranges.items():
        if not np.isfinite([value.low, value.high]).all():
            raise ExportError(
                f"{tensor}: this activation reaches {value.low} to {value.high} on the calibration images, which int8 "
                f"cannot hold; check the network's weights."
            )
    for tensor in aliases:
        merged = tensor
        while merged in aliases:
            merged = aliases[merged]
        ranges[tensor] = ranges[merged]
    return ranges


def _activations(model: ModelProto, skipped: set[str]) -> list[str]:
    graph = model.graph
    floats = {
        value.name
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    made = (tensor for node in graph.node for tensor in node.output)
    return [tensor for tensor in made if tensor in floats and tensor not in skipped]


def _clipped_away(model: ModelProto) -> dict[str, str]:
    """Return tensors that nothing but a Relu or Clip takes, with what that node makes of them."""
    outputs = {value.name for value in model.graph.output}
    made = {tensor for node in model.graph.node for tensor in node.output}
    return {
        tensor: users[0].output[0]
        for tensor, users in consumers(model.graph).items()
        if tensor in made
        and tensor not in outputs
        and len(users) == 1
        and users[0].op_type in ("Relu", "Clip")
        and users[0].input[0] == tensor
    }


def _with_extremes(model: ModelProto, tensors: list[str]) -> ModelProto:
    """Return the graph with every minimum, then every maximum as its outputs."""
    graph = model.graph
    nodes: list[NodeProto] = list(graph.node)
    outputs = []
    for operator in ("ReduceMin", "ReduceMax"):
        for tensor in tensors:
            name = f"{tensor}.{operator}"
            nodes.append(helper.make_node(operator, [tensor], [name], name=name, keepdims=0))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, []))
    return make_model("extremes", nodes, graph.input, outputs, graph.initializer)
