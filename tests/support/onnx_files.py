"""Real ONNX files, written node by node in milliseconds, without an exporter."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from support.tflite_files import Quant, Ranges
from support.tinynet import FEATURES, HEIGHT, MEAN, STD, WIDTH, Piece


def onnx_piece(piece: Piece, index: int, *, ranges: Ranges | None, last: bool, reverse: bool = False) -> bytes:
    """Return one piece as an ONNX file, NCHW: image or features in, logits and features out.

    With ``ranges`` it takes and gives uint8 (zero points moved by 128) between DequantizeLinear and QuantizeLinear.
    """
    first = index == 1
    height, width = HEIGHT - index + 1, WIDTH - index + 1
    kernel, bias = piece.kernel, piece.bias
    if first and ranges is None:
        bias = bias - (MEAN / STD) * kernel.sum(axis=(1, 2, 3))
        kernel = kernel / STD
    dtype = TensorProto.FLOAT if ranges is None else TensorProto.UINT8
    name = "image" if first else "features"
    constants: list[Any] = []
    nodes: list[Any] = []

    def constant(label: str, values: Any, kind: str = "float32") -> str:
        constants.append(numpy_helper.from_array(np.asarray(values, kind), label))
        return label

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind}_{output}", **attributes))
        return output

    def quantized(kind: str, value: str, output: str, quant: Quant) -> str:
        scale = constant(f"{output}_scale", quant.scale)
        return node(kind, [value, scale, constant(f"{output}_zero", quant.zero_point + 128, "uint8")], output)

    def weights(label: str, values: NDArray[Any]) -> str:
        if ranges is None:
            return constant(label, values)
        scale = float(np.abs(values).max()) / 127
        stored = constant(f"{label}_q", np.round(values / scale), "int8")
        zero = constant(f"{label}_zero", 0, "int8")
        return node("DequantizeLinear", [stored, constant(f"{label}_scale", scale), zero], label)

    x = name if ranges is None else quantized("DequantizeLinear", name, "x", ranges.taken)
    y = node("Conv", [x, weights("w", kernel.transpose(0, 3, 1, 2)), constant("b", bias)], "y0", kernel_shape=[2, 2])
    outputs = {"logits": (1, len(piece.head))}
    maps = (1, FEATURES, height - 1, width - 1)
    if ranges is None:
        y = node("Relu", [y], "given")
    else:
        y = node("Relu", [y], "y")
        q = quantized("QuantizeLinear", y, "given", ranges.features)
        y = quantized("DequantizeLinear", q, "y_back", ranges.features)
    pooled = node("Flatten", [node("GlobalAveragePool", [y], "mean")], "pooled")
    z = node("Gemm", [pooled, weights("h", piece.head), constant("hb", piece.head_bias)], "z", transB=1)
    if ranges is None:
        node("Identity", [z], "logits")
    else:
        quantized("QuantizeLinear", z, "logits", ranges.logits)
    if not last:
        given = "features" if first else "handed"  # an ONNX graph cannot give a tensor of its input's name
        node("Identity", ["given"], given)
        outputs[given] = maps
    items = list(outputs.items())[:: -1 if reverse else 1]
    graph = helper.make_graph(
        nodes,
        f"segment-{index}",
        [helper.make_tensor_value_info(name, dtype, (1, kernel.shape[3], height, width))],
        [helper.make_tensor_value_info(label, dtype, shape) for label, shape in items],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
