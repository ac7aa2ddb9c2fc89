"""Keeps float layers float: onnxruntime quantizes them behind our back otherwise.

onnxruntime's WeightBiasQuantization pass turns the float weights of a Conv or Gemm that takes a dequantized tensor into
int8, one scale for the whole tensor, and computes it in integers: just what a layer kept in float is to escape (seen in
1.28). The pass looks for a DequantizeLinear with a single scale, so float layers get a DequantizeLinear of their own,
the same scale once per channel. It computes the same, and no integer operator can take it in.
"""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from msd_edge.converters.onnx.graph import constants, make_model, producers, sort_nodes

_DEQUANTIZE = "DequantizeLinear"


def shield_float_layers(model: ModelProto, keep_float: frozenset[str]) -> ModelProto:
    """Return a quantized graph whose layers in ``keep_float`` take their data dequantized channel by channel.

    Args:
        model: a graph whose layers in ``keep_float`` have float weights.
        keep_float: names of nodes.
    """
    known = shape_inference.infer_shapes(model, strict_mode=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*known.value_info, *known.input, *known.output)
    }
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    made, constant = producers(graph), constants(graph)
    twins: dict[str, NodeProto] = {}
    tensors: list[TensorProto] = []
    for layer in [node for node in graph.node if node.name in keep_float]:
        for user, place in _dequantized_above(layer, made):
            source = made[user.input[place]]
            name = f"{source.output[0]}.by_channel"
            if name not in twins:
                channels = shapes[source.output[0]][1]
                twins[name] = helper.make_node(
                    _DEQUANTIZE,
                    [source.input[0], f"{name}.scale", f"{name}.zero_point"],
                    [name],
                    name=name,
                    axis=1,
                )
                for place_of, suffix in ((1, "scale"), (2, "zero_point")):
                    value = np.full(channels, constant[source.input[place_of]])
                    tensors.append(numpy_helper.from_array(value, f"{name}.{suffix}"))
            user.input[place] = name
    used = {tensor for node in (*graph.node, *twins.values()) for tensor in node.input}
    kept = used.union(value.name for value in graph.output)
    nodes = [node for node in graph.node if kept.intersection(node.output)]
    return make_model(
        graph.name,
        sort_nodes([*nodes, *twins.values()]),
        graph.input,
        graph.output,
        [*graph.initializer, *tensors],
    )


def _dequantized_above(layer: NodeProto, made: dict[str, NodeProto]) -> list[tuple[NodeProto, int]]:
    """Return who takes dequantized data on the way to a layer, and at which place of its inputs.

    The runtime moves a DequantizeLinear down past a MaxPool or a Reshape, so the way up does not end there.
    """
    found: list[tuple[NodeProto, int]] = []
    waiting = [(layer, 0)]
    while waiting:
        user, place = waiting.pop()
        above = made.get(user.input[place])
        if above is None:
            continue
        if above.op_type == _DEQUANTIZE:
            found.append((user, place))
        else:
            waiting.extend((above, index) for index in range(len(above.input)) if above.input[index])
    return found
