"""Real TFLite files, written operator by operator in milliseconds, without a converter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from support.tinynet import FEATURES, HEIGHT, MEAN, STD, WIDTH, Piece

_TYPES = {"float32": 0, "int32": 2, "int8": 9}


@dataclass(frozen=True)
class Quant:
    """Scale and zero point of an activation."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class Ranges:
    """Quantization of one piece's input, features and logits; None: float32."""

    taken: Quant
    features: Quant
    logits: Quant


class Model:
    """A TFLite model with one subgraph per signature."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.operatorCodes = []
        self.model.subgraphs = []
        self.model.buffers = [schema.BufferT()]
        self.model.signatureDefs = []
        self._graph: Any = None

    def graph(self) -> None:
        """Begin a subgraph."""
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []

    def tensor(
        self, name: str, shape: Sequence[int], dtype: str, quant: Quant | None = None, data: NDArray[Any] | None = None
    ) -> int:
        """Add a tensor and return its index."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), _TYPES[dtype]
        if quant is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [quant.scale], [quant.zero_point]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def operator(self, code: str, inputs: list[int], outputs: list[int], options: Any = None) -> None:
        """Add an operator; an unknown ``code`` becomes a custom one."""
        entry = schema.OperatorCodeT()
        builtin = getattr(schema.BuiltinOperator, code, schema.BuiltinOperator.CUSTOM)
        entry.builtinCode, entry.deprecatedBuiltinCode = builtin, min(builtin, 127)
        if builtin == schema.BuiltinOperator.CUSTOM:
            entry.customCode = code
        self.model.operatorCodes.append(entry)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, outputs
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
            operator.builtinOptions = options
        self._graph.operators.append(operator)

    def finish(self, signature: str | None, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        """End the subgraph; the order of ``outputs`` is the order in the file."""
        graph = self._graph
        graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
        self.model.subgraphs.append(graph)
        if signature is None:
            return
        entry = schema.SignatureDefT()
        entry.signatureKey, entry.subgraphIndex = signature, len(self.model.subgraphs) - 1
        entry.inputs, entry.outputs = (
            [_map(*item) for item in inputs.items()],
            [_map(*item) for item in outputs.items()],
        )
        self.model.signatureDefs.append(entry)

    def data(self) -> bytes:
        """Return the file."""
        builder = flatbuffers.Builder(4096)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def add_piece(
    model: Model,
    piece: Piece,
    index: int,
    *,
    ranges: Ranges | None,
    last: bool,
    signature: str | None = "serving_default",
    reverse: bool = False,
) -> None:
    """Add one piece of a tiny network as a subgraph with its signature: image or features in, logits and features out.

    ``reverse`` puts the outputs into the other order.
    """
    model.graph()
    dtype = "float32" if ranges is None else "int8"
    taken, features, logits = (None, None, None) if ranges is None else (ranges.taken, ranges.features, ranges.logits)
    first = index == 1
    height, width = HEIGHT - index + 1, WIDTH - index + 1
    kernel, bias = piece.kernel, piece.bias
    if first and ranges is None:  # raw pixels come in: the normalization goes into the weights
        bias = bias - (MEAN / STD) * kernel.sum(axis=(1, 2, 3))
        kernel = kernel / STD
    channels = kernel.shape[3]
    name = "image" if first else "features"
    x = model.tensor(f"{signature}_{name}", (1, height, width, channels), dtype, taken)
    y = model.tensor("y", (1, height - 1, width - 1, FEATURES), dtype, features)
    pooled = model.tensor("pooled", (1, FEATURES), dtype, features)
    z = model.tensor("z", (1, len(piece.head)), dtype, logits)
    conv = schema.Conv2DOptionsT()
    conv.padding, conv.strideW, conv.strideH = schema.Padding.VALID, 1, 1
    conv.fusedActivationFunction = schema.ActivationFunctionType.RELU
    model.operator("CONV_2D", [x, *_weights(model, kernel, bias, taken)], [y], conv)
    axes = model.tensor("axes", (2,), "int32", None, np.array([1, 2]))
    reducer = schema.ReducerOptionsT()
    reducer.keepDims = False
    model.operator("MEAN", [y, axes], [pooled], reducer)
    dense = _weights(model, piece.head, piece.head_bias, features)
    model.operator("FULLY_CONNECTED", [pooled, *dense], [z], schema.FullyConnectedOptionsT())
    outputs = {"logits": z} if last else {"logits": z, "features": y}
    model.finish(signature, {name: x}, dict(reversed(outputs.items())) if reverse else outputs)


def _weights(model: Model, weights: NDArray[Any], bias: NDArray[Any], taken: Quant | None) -> list[int]:
    if taken is None:
        return [
            model.tensor("w", weights.shape, "float32", None, weights),
            model.tensor("b", bias.shape, "float32", None, bias),
        ]
    scale = float(np.abs(weights).max()) / 127
    both = Quant(taken.scale * scale, 0)
    return [
        model.tensor("w", weights.shape, "int8", Quant(scale, 0), np.round(weights / scale)),
        model.tensor("b", bias.shape, "int32", both, np.round(bias / both.scale)),
    ]


def _map(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
