"""From float segments to int8 and float16 files, by ai-edge-quantizer."""

import re
from typing import Any

import numpy as np

from .flatbuffer import only_signature, operands, operator_type, read, text, write
from .quiet import quiet
from .ranges import Ranges

# Operators that move values without computing: keeping one in float changes nothing.
_MOVERS = frozenset({"PAD", "PADV2", "RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "CONCATENATION"})


def layers(model: Any) -> dict[str, str]:
    """Return {name: operator type} of the layers of a float segment that can be kept in float, in order."""
    from ai_edge_quantizer.qtyping import TFLOperationName

    known = {operation.value for operation in TFLOperationName}
    _, subgraph = only_signature(model)
    found = {}
    for operator in subgraph.operators:
        kind = operator_type(model, operator)
        if kind in known and kind not in _MOVERS:
            found[text(subgraph.tensors[operands(operator.outputs)[0]].name)] = kind
    return found


def to_int8(data: bytes, ranges: Ranges, keep_float: frozenset[str] = frozenset()) -> bytes:
    """Return a segment with int8 weights (per channel) and int8 activations.

    Args:
        data: the float segment.
        ranges: {tensor name: (smallest, largest)} of its activations.
        keep_float: names of layers that stay in float.
    """
    from ai_edge_quantizer import quantizer, recipe
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    rules = list(recipe.static_wi8_ai8())
    kinds = layers(read(data)) if keep_float else {}
    for name in sorted(keep_float):
        # A scope is "output tensor;". The operation is named too: the pattern would fit the graph's output as well.
        rules.append(
            {
                "regex": f"^{re.escape(name)};",
                "operation": kinds[name],
                "algorithm_key": AlgorithmName.NO_QUANTIZE,
                "op_config": {},
            }
        )
    # float64, so that a range made from a scale gives exactly that scale back.
    limits = {name: {"min": np.array([low]), "max": np.array([high])} for name, (low, high) in ranges.items()}
    with quiet():
        work = quantizer.Quantizer(data, rules)
        result = work.quantize(limits, enable_progress_bar=False, enable_progress_report=False)
    model = read(bytes(result.quantized_model))
    signature, subgraph = only_signature(model)
    # Where a float layer gives an output that others take too, the quantizer casts the output and leaves the signature
    # at the float tensor. The subgraph's list is right, and in the signature's order.
    for entry, index in zip(signature.outputs, subgraph.outputs, strict=True):
        entry.tensorIndex = index
    return write(model)


def to_float16(data: bytes) -> bytes:
    """Return a segment whose weights are stored in half precision; it computes, takes and gives float32."""
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    with quiet():
        work = quantizer.Quantizer(data)
        work.update_quantization_recipe(
            regex=".*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=config,
            algorithm_key=AlgorithmName.FLOAT_CASTING,
        )
        result = work.quantize(enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)
