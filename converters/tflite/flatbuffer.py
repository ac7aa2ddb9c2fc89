"""Reading, writing and asking TFLite flatbuffers through their object API (``ModelT``).

The generated classes carry no types, so models, subgraphs, tensors and operators are ``Any`` here. Every model this
package makes has one subgraph per signature; the subgraph of a signature takes and gives what the signature names.
"""

from collections.abc import Sequence
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from numpy.typing import NDArray

from msd_edge.bundle.manifest import DType, Layout, TensorSpec
from msd_edge.errors import ExportError

SIGNATURE = "serving_default"

_OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
_DTYPES: dict[int, DType] = {schema.TensorType.FLOAT32: "float32", schema.TensorType.INT8: "int8"}
_LAYOUTS: dict[int, Layout] = {2: "NC", 4: "NHWC"}
_NUMPY = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
}


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose bytes start at a multiple of 16, as the schema asks; the generated writer aligns to 4."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802 — the generated code calls it so
        vector = None
        if self.data is not None and len(self.data):
            raw = np.ascontiguousarray(self.data, dtype=np.uint8).tobytes()
            builder.StartVector(1, len(raw), 16)
            builder.head -= len(raw)
            builder.Bytes[builder.head : builder.head + len(raw)] = raw
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def read(data: bytes) -> Any:
    """Return the model in ``data``, with all buffers inside and their bytes as uint8 arrays."""
    model = flatbuffer_utils.read_model_from_bytearray(bytes(data))
    for buffer in model.buffers:
        if buffer.data is not None and not isinstance(buffer.data, np.ndarray):
            buffer.data = np.frombuffer(buffer.data, dtype=np.uint8)
    return model


def write(model: Any) -> bytes:
    """Return ``model`` as the bytes of a .tflite file; the same model gives the same bytes."""
    buffers = []
    for buffer in model.buffers:
        aligned = _AlignedBuffer()
        aligned.data = buffer.data
        buffers.append(aligned)
    plain, model.buffers = model.buffers, buffers
    try:
        size = sum(len(buffer.data) for buffer in buffers if buffer.data is not None)
        # Roomy: a builder that is too small doubles itself and copies everything.
        builder = flatbuffers.Builder(size + size // 8 + (1 << 20))
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())
    finally:
        model.buffers = plain


def text(name: Any) -> str:
    """Return a flatbuffer string as text."""
    return name.decode() if isinstance(name, bytes) else str(name or "")


def operator_type(model: Any, operator: Any) -> str:
    """Return the type of an operator: ``CONV_2D``, or the name of a custom one."""
    code = model.operatorCodes[operator.opcodeIndex]
    number = flatbuffer_utils.get_builtin_code_from_operator_code(code)
    return text(code.customCode) if code.customCode else _OPERATORS.get(number, f"OPERATOR_{number}")


def is_constant(model: Any, tensor: Any) -> bool:
    """Tell whether a tensor's values are in the file."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def values(model: Any, tensor: Any) -> NDArray[Any] | None:
    """Return a constant tensor's values in its shape, None for other tensors and types."""
    if not is_constant(model, tensor) or tensor.type not in _NUMPY:
        return None
    shape = [] if tensor.shape is None else list(tensor.shape)
    return np.frombuffer(model.buffers[tensor.buffer].data.tobytes(), _NUMPY[tensor.type]).reshape(shape)


def operands(indices: Sequence[int] | None) -> list[int]:
    """Return the tensors that an operator takes or gives, without the absent optional ones (-1)."""
    return [] if indices is None else [int(index) for index in indices if index != -1]


def only_signature(model: Any) -> tuple[Any, Any]:
    """Return (signature, subgraph) of a model that has one of each.

    Raises:
        ExportError: it has more: control flow, which an exported segment must not hold.
    """
    if len(model.subgraphs) != 1 or len(model.signatureDefs or ()) != 1:
        raise ExportError(f"its graph has {len(model.subgraphs)} subgraphs instead of 1: control flow is not exported.")
    return model.signatureDefs[0], model.subgraphs[0]


def tensor_maps(entries: Sequence[Any]) -> dict[str, int]:
    """Return {name: tensor index} of a signature's inputs or outputs, in their order."""
    return {text(entry.name): int(entry.tensorIndex) for entry in entries}


def tensor_map(name: str, index: int) -> Any:
    """Return a signature's entry."""
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry


def rename_io(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Name what the only signature takes and gives; the converter calls them ``args_0``.. and ``output_0``..

    The names, not the order, say which is which: the file's order may differ from the module's.
    """
    signature, subgraph = only_signature(model)
    old_inputs, old_outputs = tensor_maps(signature.inputs), tensor_maps(signature.outputs)
    signature.inputs = [tensor_map(name, old_inputs[f"args_{i}"]) for i, name in enumerate(inputs)]
    signature.outputs = [tensor_map(name, old_outputs[f"output_{i}"]) for i, name in enumerate(outputs)]
    subgraph.inputs = [entry.tensorIndex for entry in signature.inputs]
    subgraph.outputs = [entry.tensorIndex for entry in signature.outputs]


def quantization(tensor: Any) -> tuple[float | None, int | None]:
    """Return (scale, zero point) of a tensor quantized as a whole, (None, None) of one that is not quantized."""
    details = tensor.quantization
    if details is None or details.scale is None or len(details.scale) == 0:
        return None, None
    return float(details.scale[0]), int(details.zeroPoint[0])


def describe(subgraph: Any, index: int, name: str) -> TensorSpec:
    """Return what the manifest says of a tensor that a signature calls ``name``.

    Raises:
        ExportError: the manifest cannot express its type or rank.
    """
    tensor = subgraph.tensors[index]
    shape = tuple(int(size) for size in tensor.shape)
    dtype, layout = _DTYPES.get(tensor.type), _LAYOUTS.get(len(shape))
    if dtype is None or layout is None:
        kind = flatbuffer_utils.type_to_name(tensor.type)
        raise ExportError(
            f"{name} is a {kind} tensor {list(shape)}; int8 or float32 with 2 or 4 axes can be handed on."
        )
    scale, zero_point = quantization(tensor)
    return TensorSpec(name=name, shape=shape, layout=layout, dtype=dtype, scale=scale, zero_point=zero_point)
