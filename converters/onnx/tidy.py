"""Makes the exporter's graph plain: no traces of our paths, operators that quantize whole, names people know."""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from msd_edge.converters.onnx.graph import constants, consumers, make_model
from msd_edge.errors import ExportError

# What can be kept in float when the rest is int8.
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def tidy(model: ModelProto) -> ModelProto:
    """Return the exporter's graph rewritten so that it quantizes whole; it computes the same.

    - The stack traces that the exporter writes into every node are left out: they hold file paths of this machine.
    - A mean over height and width becomes GlobalAveragePool, and the reshape behind it Flatten: onnxruntime has both in
      uint8, and neither fixes the batch.
    - A BatchNormalization that no convolution could take in becomes a multiplication and an addition.
    - Layers are named after their module ("trunk.1.0.conv2").

    Raises:
        ExportError: the graph branches on data, or uses functions or operators beyond ONNX's own.
    """
    graph = model.graph
    _refuse_foreign(model)
    values = {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
    constant = constants(graph)
    users = consumers(graph)
    outputs = {value.name for value in graph.output}
    nodes: list[NodeProto] = []
    added: list[TensorProto] = []
    for node in graph.node:
        if node.op_type == "ReduceMean" and _is_spatial_mean(node, values, constant):
            nodes += _pool(node)
        elif node.op_type == "Reshape" and _is_flatten(node, values):
            nodes.append(helper.make_node("Flatten", [node.input[0]], list(node.output), name=node.name, axis=1))
        elif node.op_type == "BatchNormalization":
            new, tensors = _scale_and_shift(node, values, constant)
            nodes += new
            added += tensors
        elif node.op_type == "Identity" and node.output[0] not in outputs:
            _bypass(node, users)
        else:
            nodes.append(node)
    for node in nodes:
        del node.metadata_props[:]
        node.doc_string = ""
    _name_layers(nodes)
    known = [_plain(value) for value in graph.value_info]
    return make_model(
        "network",
        nodes,
        [_plain(value) for value in graph.input],
        [_plain(value) for value in graph.output],
        [*graph.initializer, *added],
        known,
    )


def _refuse_foreign(model: ModelProto) -> None:
    if model.functions:
        raise ExportError(f"the exporter left functions in the ONNX graph ({model.functions[0].name}).")
    for node in model.graph.node:
        if any(attribute.HasField("g") for attribute in node.attribute):
            raise ExportError(f"{node.name}: the network branches on data ({node.op_type}), which no segment can hold.")
        if node.domain not in ("", "ai.onnx"):
            raise ExportError(f"{node.name}: {node.op_type} of {node.domain} is none of ONNX's own operators.")


def _is_spatial_mean(
    node: NodeProto, values: dict[str, ValueInfoProto], constant: dict[str, NDArray[np.generic]]
) -> bool:
    shape = _shape(values, node.input[0])
    axes = constant.get(node.input[1]) if len(node.input) > 1 else None
    return shape is not None and len(shape) == 4 and axes is not None and {int(axis) % 4 for axis in axes} == {2, 3}


def _pool(node: NodeProto) -> Iterator[NodeProto]:
    keeps = next((attribute.i for attribute in node.attribute if attribute.name == "keepdims"), 1)
    if keeps:
        yield helper.make_node("GlobalAveragePool", [node.input[0]], list(node.output), name=node.name)
    else:
        pooled = f"{node.output[0]}.pooled"
        yield helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name)
        yield helper.make_node("Flatten", [pooled], list(node.output), name=f"{node.name}.flatten", axis=1)


def _is_flatten(node: NodeProto, values: dict[str, ValueInfoProto]) -> bool:
    before, after = _shape(values, node.input[0]), _shape(values, node.output[0])
    return before is not None and after is not None and len(after) == 2 and before[0] == after[0] == 1


def _scale_and_shift(
    node: NodeProto, values: dict[str, ValueInfoProto], constant: dict[str, NDArray[np.generic]]
) -> tuple[list[NodeProto], list[TensorProto]]:
    training = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
    shape = _shape(values, node.input[0])
    if training or shape is None or any(name not in constant for name in node.input[1:]):
        raise ExportError(f"{node.name}: this batch normalization needs a batch to normalize by.")
    weight, bias, mean, variance = (constant[name].astype(np.float64) for name in node.input[1:])
    epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
    factor = weight / np.sqrt(variance + epsilon)
    one_per_channel = (1, -1) + (1,) * (len(shape) - 2)
    tensors = []
    for suffix, value in (("scale", factor), ("shift", bias - mean * factor)):
        array = value.astype(np.float32).reshape(one_per_channel)
        tensors.append(numpy_helper.from_array(array, f"{node.output[0]}.{suffix}"))
    scaled = f"{node.output[0]}.scaled"
    return [
        helper.make_node("Mul", [node.input[0], tensors[0].name], [scaled], name=f"{node.name}.scale"),
        helper.make_node("Add", [scaled, tensors[1].name], [node.output[0]], name=f"{node.name}.shift"),
    ], tensors


def _bypass(node: NodeProto, users: dict[str, list[NodeProto]]) -> None:
    for user in users.get(node.output[0], []):
        for place, tensor in enumerate(user.input):
            if tensor == node.output[0]:
                user.input[place] = node.input[0]
        users.setdefault(node.input[0], []).append(user)


def _name_layers(nodes: list[NodeProto]) -> None:
    taken: set[str] = set()
    for node in nodes:
        if node.op_type in LAYERS and len(node.input) > 1 and node.input[1].endswith(".weight"):
            node.name = _module(node.input[1].removesuffix(".weight"))
        name, count = node.name or node.op_type, 1
        while node.name in taken or not node.name:
            count += 1
            node.name = f"{name}#{count}"
        taken.add(node.name)


def _module(name: str) -> str:
    """Return a parameter's module as the network names it: ``segments.1.piece.0`` is ``trunk.1.0``.

    A respelled segment has the segment as ``body``, and what stands for a call of ``piece.0`` as
    ``spellings.piece-0``.
    """
    respelled = re.fullmatch(r"(segments\.\d+\.)spellings\.(.*)", name)
    if respelled:
        name = respelled[1] + respelled[2].replace("-", ".")
    name = re.sub(r"^(segments\.\d+)\.body\b", r"\1", name)
    name = re.sub(r"^segments\.(\d+)\.piece\b", r"trunk.\1", name)
    return re.sub(r"^segments\.(\d+)\.branch\b", r"branches.\1", name)


def _shape(values: dict[str, ValueInfoProto], tensor: str) -> tuple[int, ...] | None:
    value = values.get(tensor)
    if value is None or not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _plain(value: ValueInfoProto) -> ValueInfoProto:
    copy = ValueInfoProto()
    copy.name = value.name
    copy.type.CopyFrom(value.type)
    return copy
