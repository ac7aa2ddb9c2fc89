"""Activation ranges of the float graph: the true minimum and maximum over real images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from msd_edge.converters.onnx.graph import constants, consumers, make_model
from msd_edge.converters.onnx.libraries import open_session
from msd_edge.data.dataset import Images
from msd_edge.errors import ExportError

Floats = NDArray[np.float32]

_PIXELS_AT_ONCE = 1 << 15
_BIGGEST_BATCH = 32


@dataclass(frozen=True)
class Range:
    """The smallest and the largest value that a tensor took."""

    low: float
    high: float


def measure_ranges(model: ModelProto, images: Images) -> dict[str, Range]:
    """Return the range of every float activation of a graph over raw images (images, H, W, C), uint8.

    The graph runs with the minimum and maximum of each activation as its outputs, so that no activation leaves it, and
    in batches, through a copy of free batch size; the copy must give for one image what it gives for it in a batch,
    otherwise images go in one by one. A tensor that only a Relu or Clip takes gets that node's range, because
    quantization merges the two; unmeasured, it lets the runtime merge them here too.

    Raises:
        ExportError: an activation is not finite.
    """
    aliases = _clipped_away(model)
    tensors = _activations(model, set(aliases))
    probe = _with_extremes(model, tensors)
    batch = min(_BIGGEST_BATCH, max(1, _PIXELS_AT_ONCE // (images.shape[1] * images.shape[2])))
    try:
        low, high = _run(_free_batch(probe), tensors, images, batch)
    except Exception:  # noqa: BLE001  a batch of one somewhere inside: whatever it stopped, one by one is the judge
        low, high = _run(probe, tensors, images, 1)
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


class _BatchMattersError(Exception):
    """The graph gives other results in a batch."""


def _run(model: ModelProto, tensors: list[str], images: Images, batch: int) -> tuple[Floats, Floats]:
    session = open_session(model.SerializeToString())
    image = model.graph.input[0].name
    low, high = np.full(len(tensors), np.inf, np.float32), np.full(len(tensors), -np.inf, np.float32)
    for start in range(0, len(images), batch):
        pixels = np.ascontiguousarray(images[start : start + batch].transpose(0, 3, 1, 2), dtype=np.float32)
        logits, *found = session.run(None, {image: pixels})
        low = np.minimum(low, found[: len(tensors)])
        high = np.maximum(high, found[len(tensors) :])
        if start == 0 and batch > 1:
            alone, *_ = session.run(None, {image: pixels[:1]})
            if not np.allclose(alone[0], logits[0], rtol=0, atol=1e-3 * float(np.ptp(logits))):
                raise _BatchMattersError
    return low, high


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
    """Return the graph with the last logits, then every minimum, then every maximum as its outputs."""
    graph = model.graph
    nodes: list[NodeProto] = list(graph.node)
    outputs = [graph.output[-1]]
    for operator in ("ReduceMin", "ReduceMax"):
        for tensor in tensors:
            name = f"{tensor}.{operator}"
            nodes.append(helper.make_node(operator, [tensor], [name], name=name, keepdims=0))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, []))
    return make_model("extremes", nodes, graph.input, outputs, graph.initializer)


def _free_batch(model: ModelProto) -> ModelProto:
    """Return a copy with a free batch size: reshapes that begin with the batch of one keep what comes in."""
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    shapes = constants(graph)
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] not in shapes:
            continue
        shape = shapes[node.input[1]].copy()
        if shape.size and shape[0] == 1 and 0 not in shape:
            shape[0] = 0
            graph.initializer.append(numpy_helper.from_array(shape, f"{node.name}.shape"))
            node.input[1] = f"{node.name}.shape"
            for attribute in node.attribute:
                if attribute.name == "allowzero":
                    attribute.i = 0
    return copy
