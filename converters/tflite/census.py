"""Counts a file's operators and refuses what must not be there: layout changes, float islands in int8 files."""

from collections import Counter
from typing import Any

from ai_edge_litert.schema_py_generated import TensorType
from ai_edge_litert.tools import flatbuffer_utils

from msd_edge.errors import ExportError

from .flatbuffer import only_signature, operands, operator_type, read, text

_CASTS = ("QUANTIZE", "DEQUANTIZE")
_INTEGER = (TensorType.INT8, TensorType.INT32)


def census(data: bytes) -> dict[str, int]:
    """Return how many operators of each type a .tflite file holds, over all its subgraphs, sorted by type.

    Raises:
        ExportError: it is no TFLite file, or a damaged one.
    """
    if data[4:8] != b"TFL3":
        raise ExportError("this is no TFLite file: it does not begin like one.")
    try:
        return count(read(data))
    except Exception:  # noqa: BLE001  the generated reader checks nothing, and ends however the bytes lead it
        raise ExportError("this TFLite file is damaged: what it points to is not in it.") from None


def count(model: Any) -> dict[str, int]:
    """Return how many operators of each type a model holds, sorted by type."""
    found = Counter(operator_type(model, operator) for graph in model.subgraphs for operator in graph.operators)
    return dict(sorted(found.items()))


def refuse_transposes(model: Any, where: str) -> None:
    """Refuse layout changes inside a segment that takes and gives NHWC.

    Args:
        model: a converted float segment.
        where: which one, for the message.

    Raises:
        ExportError: there is one; the layer behind which it stands is named.
    """
    _, subgraph = only_signature(model)
    for operator in subgraph.operators:
        if operator_type(model, operator) == "TRANSPOSE":
            raise ExportError(
                f"{where}: the converter needs a TRANSPOSE at {_name(subgraph, operator)}, which costs time at every "
                "run; pool to one value per channel (AdaptiveAvgPool2d(1)) before flattening."
            )


def refuse_floats(model: Any, kept: frozenset[str], where: str) -> None:
    """Check that an int8 segment computes in integers from input to output.

    An int8 to int8 QUANTIZE (a change of scale, before a concatenation) is integer arithmetic and passes.

    Args:
        model: a quantized segment.
        kept: names of the layers that were asked to stay in float; casts around them pass.
        where: which segment, for the message.

    Raises:
        ExportError: an input, an output or an operator is not integer, though nobody asked for that.
    """
    signature, subgraph = only_signature(model)
    for entry in (*signature.inputs, *signature.outputs):
        tensor = subgraph.tensors[entry.tensorIndex]
        if tensor.type != TensorType.INT8:
            kind = flatbuffer_utils.type_to_name(tensor.type)
            raise ExportError(f"{where}: {text(entry.name)} is {kind} instead of INT8.")
    for operator in subgraph.operators:
        kind, name = operator_type(model, operator), _name(subgraph, operator)
        kinds = [subgraph.tensors[index].type for index in (*operands(operator.inputs), *operands(operator.outputs))]
        if all(k in _INTEGER for k in kinds) and kind != "TRANSPOSE":
            continue
        if kept and (kind in _CASTS or name in kept):
            continue
        raise ExportError(
            f"{where}: {kind} at {name} is not computed in int8; replace the layer, or keep it in float on purpose."
        )


def _name(subgraph: Any, operator: Any) -> str:
    return text(subgraph.tensors[operands(operator.outputs)[0]].name)
