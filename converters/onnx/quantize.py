"""One float segment to int8: uint8 activations, weights of 7 bits per channel in int8, uint8 in and out.

Seven bits, since on x86 without VNNI onnxruntime adds pairs of uint8 x int8 products in 16 bits: 255 x (64 + 64) fits,
255 x (127 + 127) does not. With 8 bits a file computes other values there than elsewhere: networks with ReLU6 or swish,
whose activations are often large, had three to eight times the error and lost up to 2 points of accuracy, a ResNet-20
lost 8 to 10 in the layer that takes pixels. With 7 bits the error of ResNets is 0 to 1.2 times as large, no accuracy is
lost, and every processor gives the same.

The graph is in QDQ form: float operators between QuantizeLinear and DequantizeLinear, which onnxruntime merges into
integer operators when it loads the file.
"""

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from msd_edge.converters.onnx.calibrate import Range
from msd_edge.converters.onnx.graph import (
    constants,
    consumers,
    make_model,
    producers,
    rename_output,
    replace_input,
    scalar_type,
    sort_nodes,
)
from msd_edge.converters.onnx.libraries import onnxruntime, quiet
from msd_edge.converters.onnx.pixels import Scale
from msd_edge.converters.onnx.shield import shield_float_layers
from msd_edge.converters.onnx.tidy import LAYERS

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def quantize(
    model: ModelProto, ranges: dict[str, Range], inputs: dict[str, Scale], keep_float: frozenset[str]
) -> ModelProto:
    """Return a segment that takes and gives uint8.

    On x86, uint8 activations run whole as integers; int8 ones leave most convolutions in float, 2.8 times slower.

    Args:
        model: a float segment.
        ranges: of every activation.
        inputs: how each graph input is read, fixed from outside: the raw image, or the seam's other side.
        keep_float: names of nodes that stay in float; a seam beside them is uint8 all the same.
    """
    held = {name: _range_of(scale) for name, scale in inputs.items()}
    # What is only passed on is read behind the segment as before it.
    held |= {
        node.output[0]: held[node.input[0]]
        for node in model.graph.node
        if node.op_type == "Identity" and node.input[0] in held
    }
    ranges = ranges | held
    inner = _quantize_inside(model, ranges, inputs, keep_float)
    nodes = list(inner.graph.node)
    extra: list[TensorProto] = []
    for value in inner.graph.input:
        extra += _open_input(nodes, value.name, inputs[value.name])
        value.type.tensor_type.elem_type = scalar_type(np.uint8)
    for value in inner.graph.output:
        extra += _open_output(nodes, value.name, ranges[value.name])
        value.type.tensor_type.elem_type = scalar_type(np.uint8)
    result = make_model(
        model.graph.name,
        sort_nodes(nodes),
        inner.graph.input,
        inner.graph.output,
        [*inner.graph.initializer, *extra],
    )
    layers = frozenset(node.name for node in result.graph.node if node.name in keep_float and node.op_type in LAYERS)
    return shield_float_layers(result, layers) if layers else result


def read_scale(model: ModelProto, tensor: str) -> Scale:
    """Return scale and zero point of a graph's uint8 input or output, as the nodes beside it hold them.

    Of one that is turned around at a seam: by its name inside.

    Raises:
        ValueError: no QuantizeLinear or DequantizeLinear stands there, or two disagree.
    """
    constant = constants(model.graph)
    maker = producers(model.graph).get(tensor)
    if maker is not None and maker.op_type == "Transpose":  # an input, turned around
        maker = None
    beside = [maker] if maker is not None else consumers(model.graph).get(tensor, [])
    kind = QUANTIZE if maker is not None else DEQUANTIZE
    found = {
        Scale(float(scale), int(zero_point))
        for node in beside
        if node.op_type == kind
        for scale in constant[node.input[1]].flat  # a float layer's has one per channel, all the same
        for zero_point in constant[node.input[2]].flat
    }
    if len(found) != 1 or any(node.op_type != kind for node in beside):
        raise ValueError(f"{tensor} has no scale and zero point of its own")
    return found.pop()


def scale_of(limits: Range) -> Scale:
    """Return scale and zero point of a uint8 tensor that holds a range and zero."""
    low, high = min(limits.low, 0.0), max(limits.high, 0.0)
    scale = float(np.float32((high - low) / 255))
    if scale < np.finfo(np.float32).tiny:
        return Scale(1.0, 0)
    return Scale(scale, int(np.clip(np.rint(-low / scale), 0, 255)))


def _range_of(scale: Scale) -> Range:
    return Range(-scale.scale * scale.zero_point, scale.scale * (255 - scale.zero_point))


def _quantize_inside(
    model: ModelProto, ranges: dict[str, Range], inputs: dict[str, Scale], keep_float: frozenset[str]
) -> ModelProto:
    onnxruntime()
    with quiet():
        from onnxruntime.quantization import QDQQuantizer, QuantType
        from onnxruntime.quantization.calibrate import TensorData
        from onnxruntime.quantization.quant_utils import add_infer_metadata
        from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

        copy = ModelProto()
        copy.CopyFrom(model)
        add_infer_metadata(copy)  # the shapes are there: do not write the model to a disk and infer them again
        overrides: dict[str, list[dict[str, Any]]] = {
            name: [
                {
                    "quant_type": QuantType.QUInt8,
                    "scale": np.array(scale.scale, np.float32),
                    "zero_point": np.array(scale.zero_point, np.uint8),
                }
            ]
            for name, scale in inputs.items()
        }
        quantizer = QDQQuantizer(
            copy,
            per_channel=True,
            reduce_range=True,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range={
                name: TensorData(lowest=np.float32(limits.low), highest=np.float32(limits.high))
                for name, limits in ranges.items()
            },
            nodes_to_quantize=[],
            nodes_to_exclude=sorted(keep_float),
            op_types_to_quantize=sorted({*QDQRegistry, *QLinearOpsRegistry}),
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True, "TensorQuantOverrides": overrides},
        )
        quantized: ModelProto = quantizer.quantize_model()
    return quantized


def _open_input(nodes: list[NodeProto], name: str, scale: Scale) -> list[TensorProto]:
    """Let the graph take integers: its QuantizeLinear goes, and who still wants floats gets a DequantizeLinear.

    So does an input that nobody takes, as the second of two that are the same map: the file says how it is read.
    """
    for node in [node for node in nodes if node.op_type == QUANTIZE and node.input[0] == name]:
        nodes.remove(node)
        replace_input(nodes, node.output[0], name)
    users = [node for node in nodes if name in node.input]
    wanting = [node for node in users if node.op_type != DEQUANTIZE]
    if users and not wanting:
        return []
    opened, tensors = _convert(DEQUANTIZE, name, f"{name}.float", scale)
    replace_input(wanting, name, f"{name}.float")
    nodes.append(opened)
    return tensors


def _open_output(nodes: list[NodeProto], name: str, limits: Range) -> list[TensorProto]:
    """Let the graph give integers: its DequantizeLinear goes, or what is still float gets a QuantizeLinear."""
    maker = next(node for node in nodes if name in node.output)
    inside = f"{name}.float"
    rename_output(maker, name, inside)
    replace_input(nodes, name, inside)
    if maker.op_type != DEQUANTIZE:
        opened, tensors = _convert(QUANTIZE, inside, name, scale_of(limits))
        nodes.append(opened)
        return tensors
    integers = maker.input[0]
    quantizer = next(node for node in nodes if integers in node.output)
    rename_output(quantizer, integers, name)
    replace_input(nodes, integers, name)
    if not any(inside in node.input for node in nodes):
        nodes.remove(maker)
    return []


def _convert(kind: str, given: str, made: str, scale: Scale) -> tuple[NodeProto, list[TensorProto]]:
    tensors = [
        numpy_helper.from_array(np.array(scale.scale, np.float32), f"{made}.scale"),
        numpy_helper.from_array(np.array(scale.zero_point, np.uint8), f"{made}.zero_point"),
    ]
    return helper.make_node(kind, [given, *(tensor.name for tensor in tensors)], [made], name=f"{made}.{kind}"), tensors
