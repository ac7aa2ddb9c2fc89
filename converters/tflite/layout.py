"""Takes a TRANSPOSE away where a mean follows it: the mean over other axes of the untransposed map is the same.

The converter leaves one when an exit pools the very map that is handed on, and for ``x.mean((2, 3))``.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from .flatbuffer import only_signature, operands, operator_type, text, values


def fold_transposes(model: Any) -> None:
    """Let every MEAN that takes a transposed tensor take the tensor itself, over the axes that meant the same.

    Left alone: means that keep their axes or would come out in another order. The TRANSPOSE itself stays for whoever
    else takes it, as dead code otherwise.
    """
    _, subgraph = only_signature(model)
    transposed = {
        operands(operator.outputs)[0]: operator
        for operator in subgraph.operators
        if operator_type(model, operator) == "TRANSPOSE"
    }
    for operator in subgraph.operators:
        if operator_type(model, operator) != "MEAN" or operator.builtinOptions.keepDims:
            continue
        source, axes_index = operands(operator.inputs)
        if source not in transposed:
            continue
        before, order_index = operands(transposed[source].inputs)
        order, axes = (values(model, subgraph.tensors[index]) for index in (order_index, axes_index))
        if order is None or axes is None:
            continue
        gone = axes.reshape(-1) % len(order)
        left = np.delete(order, gone)
        if np.all(np.diff(left) > 0):
            operator.inputs = [before, _add_axes(model, subgraph, axes_index, order[gone])]


def _add_axes(model: Any, subgraph: Any, like: int, axes: Any) -> int:
    """Enter a constant of the given axes, shaped and typed like another one; return its tensor index."""
    old = subgraph.tensors[like]
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.sort(axes).astype(np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.buffer = old.shape, old.type, len(model.buffers) - 1
    tensor.name, tensor.hasRank, tensor.quantization = f"{text(old.name)}-nhwc", old.hasRank, old.quantization
    subgraph.tensors.append(tensor)
    return len(subgraph.tensors) - 1
