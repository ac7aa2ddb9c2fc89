"""What a finished file must be: read back from its bytes, never from what was meant."""

import itertools
from collections import Counter
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from msd_edge.bundle.manifest import DType, TensorSpec
from msd_edge.converters.base import ConvertedFile
from msd_edge.converters.capability import IR_VERSION, OPSET
from msd_edge.converters.onnx.graph import LOGITS, producers
from msd_edge.converters.onnx.quantize import DEQUANTIZE, read_scale
from msd_edge.converters.onnx.seams import layout_of, turns
from msd_edge.converters.onnx.tidy import LAYERS
from msd_edge.errors import ExportError

_BIGGEST_FILE = 2**31 - 1
_DTYPES: dict[int, DType] = {TensorProto.FLOAT: "float32", TensorProto.UINT8: "uint8", TensorProto.INT8: "int8"}


def finish(model: ModelProto, where: str) -> ConvertedFile:
    """Turn a graph into one file in memory, check it by ONNX's own rules, and describe what is in it.

    Args:
        model: the graph.
        where: ``segment 2 → onnx int8``, for the message.

    Raises:
        ExportError: the file would not be one valid file of our opset and IR version.
    """
    if model.ByteSize() > _BIGGEST_FILE:
        raise ExportError(f"{where}: it has {model.ByteSize():,} bytes, and one ONNX file holds 2 GiB at most.")
    data: bytes = model.SerializeToString(deterministic=True)
    try:
        onnx.checker.check_model(data, full_check=True)
    except Exception as problem:
        raise ExportError(f"{where}: the file is no valid ONNX: {str(problem).splitlines()[0]}.") from problem
    return describe(data, where)


def describe(data: bytes, where: str) -> ConvertedFile:
    """Return what a file holds: its operators, and its inputs and outputs with shape, type, scale and zero point.

    Raises:
        ExportError: it is no ONNX file, weights lie outside it, it is of another opset or IR version, or an input or
            output is none that a manifest can describe.
    """
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        raise ExportError(f"{where}: this is no ONNX file, or a damaged one.") from None
    try:
        return _describe(model, data, where)
    except (KeyError, StopIteration, ValueError, TypeError):  # names that lead nowhere, types that are none
        raise ExportError(f"{where}: this ONNX file contradicts itself or is damaged.") from None


def _describe(model: ModelProto, data: bytes, where: str) -> ConvertedFile:
    outside = [tensor.name for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
    if outside:
        raise ExportError(f"{where}: the weights {outside[0]} lie outside the file.")
    versions = {opset.domain: opset.version for opset in model.opset_import}
    if model.ir_version != IR_VERSION or versions != {"": OPSET}:
        raise ExportError(f"{where}: IR version {model.ir_version} and opset {versions}, not {IR_VERSION} and {OPSET}.")
    turned = turns(model)
    outputs = [_spec(model, value, turned, where) for value in model.graph.output]
    return ConvertedFile(
        data=data,
        operators=count_operators(model),
        inputs=tuple(_spec(model, value, turned, where) for value in model.graph.input),
        logits=next(spec for spec in outputs if spec.name == LOGITS),
        features=tuple(spec for spec in outputs if spec.name != LOGITS),
    )


def count_operators(model: ModelProto) -> dict[str, int]:
    """Return how many nodes of each type a graph holds, by name of the type."""
    return dict(sorted(Counter(node.op_type for node in model.graph.node).items()))


def require_int8(file: ConvertedFile, where: str, keep_float: frozenset[str]) -> None:
    """Check that a file is int8 as asked.

    Args:
        file: the file.
        where: for the message.
        keep_float: names of layers in this file that may be float.

    Raises:
        ExportError: an input or output is not uint8, a layer computes in float, or there is a Transpose but at a seam.
    """
    for spec in (*file.inputs, file.logits, *file.features):
        if spec.dtype != "uint8":
            raise ExportError(f"{where}: {spec.name} is {spec.dtype}, not uint8.")
    model = onnx.load_model_from_string(file.data)
    graph, seams = model.graph, turns(model)
    made = producers(graph)
    for node in graph.node:
        if node.op_type == "Transpose" and not seams.keys() & {*node.input, *node.output}:
            raise ExportError(f"{where}: {node.name} transposes a tensor; write the network so that none is needed.")
        if node.op_type not in LAYERS or node.name in keep_float:
            continue
        for role, tensor in zip(("data", "weights"), node.input, strict=False):
            if tensor not in made or made[tensor].op_type != DEQUANTIZE:
                raise ExportError(f"{where}: {node.name} ({node.op_type}) takes its {role} in float, not int8.")


def require_seams(segments: tuple[ConvertedFile, ...], where: str) -> None:
    """Check that what each segment gives is read by the next exactly as it was written.

    Raises:
        ExportError: number, shape, type, scale or zero point differ at a seam.
    """
    for index, (before, after) in enumerate(itertools.pairwise(segments), 1):
        seam = f"{where}: seam {index}→{index + 1}"
        if len(before.features) != len(after.inputs):
            raise ExportError(f"{seam}: {len(before.features)} tensors given, {len(after.inputs)} taken.")
        for given, taken in zip(before.features, after.inputs, strict=True):
            for field in ("shape", "layout", "dtype", "scale", "zero_point"):
                a, b = getattr(given, field), getattr(taken, field)
                if a != b:
                    raise ExportError(f"{seam}: {field} {a} given, {b} taken.")


def _spec(model: ModelProto, value: ValueInfoProto, turned: dict[str, str], where: str) -> TensorSpec:
    tensor: Any = value.type.tensor_type
    shape = tuple(dim.dim_value for dim in tensor.shape.dim)
    dtype, layout = _DTYPES.get(tensor.elem_type), layout_of(value, turned)
    if dtype is None or layout is None or 0 in shape:
        kind = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        raise ExportError(f"{where}: {value.name} is {kind} {list(shape)}, which no manifest can describe.")
    if dtype == "float32":
        return TensorSpec(name=value.name, shape=shape, layout=layout, dtype=dtype)
    try:
        scale = read_scale(model, turned.get(value.name, value.name))
    except ValueError as problem:
        raise ExportError(f"{where}: {problem}.") from None
    return TensorSpec(
        name=value.name, shape=shape, layout=layout, dtype=dtype, scale=scale.scale, zero_point=scale.zero_point
    )
