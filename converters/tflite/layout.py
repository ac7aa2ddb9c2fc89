"""Takes a TRANSPOSE away where what follows it can work on the untransposed map, and gives the same.

The converter leaves one before a mean, when an exit pools the very map that is handed on and for ``x.mean((2, 3))``;
and some around a concatenation of nothing but maps that a segment takes.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from .flatbuffer import only_signature, operands, operator_type, text, values


def fold_transposes(model: Any) -> None:
    """Let a MEAN of a transposed tensor be one of the tensor itself, and a CONCATENATION between two do without them.

    Left alone: means that keep their axes or would come out in another order, concatenations of which but a part is
    transposed there and back. The TRANSPOSE itself stays for whoever else takes it, as dead code otherwise.
    """
    _, subgraph = only_signature(model)
    transposed = {
        operands(operator.outputs)[0]: operator
        for operator in subgraph.operators
        if operator_type(model, operator) == "TRANSPOSE"
    }
    _fold_means(model, subgraph, transposed)
    _fold_concatenations(model, subgraph, transposed)


def _fold_means(model: Any, subgraph: Any, transposed: dict[int, Any]) -> None:
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


def _fold_concatenations(model: Any, subgraph: Any, transposed: dict[int, Any]) -> None:
    for operator in subgraph.operators:
        if operator_type(model, operator) != "CONCATENATION":
            continue
        taken, (made,) = operands(operator.inputs), operands(operator.outputs)
        orders = {_order(model, subgraph, transposed[index]) for index in taken if index in transposed}
        users = [other for other in subgraph.operators if made in operands(other.inputs)]
        if len(orders) != 1 or not all(index in transposed for index in taken) or len(users) != 1:
            continue
        if made in operands(subgraph.outputs):
            continue
        (there,) = orders
        (back,) = (_order(model, subgraph, one) if operator_type(model, one) == "TRANSPOSE" else None for one in users)
        if there is None or back is None or [there[axis] for axis in back] != sorted(there):
            continue
        operator.inputs = [operands(transposed[index].inputs)[0] for index in taken]
        operator.builtinOptions.axis = there[operator.builtinOptions.axis]
        operator.outputs, users[0].outputs = users[0].outputs, []  # and the TRANSPOSE back is dead


def _order(model: Any, subgraph: Any, transpose: Any) -> tuple[int, ...] | None:
    order = values(model, subgraph.tensors[operands(transpose.inputs)[1]])
    return None if order is None else tuple(int(axis) for axis in order)


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
