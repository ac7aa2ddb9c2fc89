"""Surgery on ONNX graphs: rename, slice, merge.

Every tensor has one producer (a node, a graph input or an initializer) and any number of consumers.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from msd_edge import __version__
from msd_edge.converters.capability import IR_VERSION, OPSET

LOGITS = "logits"


def make_model(
    name: str,
    nodes: Iterable[NodeProto],
    inputs: Iterable[ValueInfoProto],
    outputs: Iterable[ValueInfoProto],
    initializers: Iterable[TensorProto],
    value_info: Iterable[ValueInfoProto] = (),
) -> ModelProto:
    """Return a model of our opset and IR version, with the initializers that its nodes use and no others."""
    nodes = list(nodes)
    used = {tensor for node in nodes for tensor in node.input}
    graph = helper.make_graph(
        nodes,
        name,
        list(inputs),
        list(outputs),
        [tensor for tensor in initializers if tensor.name in used],
        value_info=list(value_info),
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="msd-edge",
        producer_version=__version__,
    )


def producers(graph: GraphProto) -> dict[str, NodeProto]:
    """Return the node behind every tensor that a node makes."""
    return {tensor: node for node in graph.node for tensor in node.output}


def consumers(graph: GraphProto) -> dict[str, list[NodeProto]]:
    """Return the nodes that take each tensor."""
    found: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for tensor in dict.fromkeys(node.input):
            found.setdefault(tensor, []).append(node)
    return found


def constants(graph: GraphProto) -> dict[str, NDArray[Any]]:
    """Return the values of all initializers."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def replace_input(nodes: Iterable[NodeProto], old: str, new: str) -> None:
    """Let every node that takes ``old`` take ``new``."""
    for node in nodes:
        for place, tensor in enumerate(node.input):
            if tensor == old:
                node.input[place] = new


def rename_output(node: NodeProto, old: str, new: str) -> None:
    """Rename what a node makes, not those who take it."""
    for place, tensor in enumerate(node.output):
        if tensor == old:
            node.output[place] = new


def scalar_type(dtype: type[np.generic]) -> int:
    """Return ONNX's number for a numpy type."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def sort_nodes(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """Return nodes so that producers stand before consumers; the given order is kept where it can be."""
    made = {tensor for node in nodes for tensor in node.output}
    ready: set[str] = set()
    result: list[NodeProto] = []
    waiting = list(nodes)
    while waiting:
        later = []
        for node in waiting:
            if all(tensor in ready or tensor not in made for tensor in node.input):
                result.append(node)
                ready.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise ValueError(f"the graph has a cycle through {later[0].name}")
        waiting = later
    return result


def reachable(graph: GraphProto, outputs: Iterable[str], inputs: Iterable[str]) -> list[NodeProto]:
    """Return the nodes that ``outputs`` need when ``inputs`` are given, in the graph's order."""
    made = producers(graph)
    needed: set[str] = set()
    given = set(inputs)
    waiting = list(outputs)
    while waiting:
        tensor = waiting.pop()
        if tensor in needed or tensor in given or tensor not in made:
            continue
        needed.update(made[tensor].output)
        waiting.extend(made[tensor].input)
    return [node for node in graph.node if needed.intersection(node.output)]


def renamed(model: ModelProto, name: Callable[[str], str]) -> ModelProto:
    """Return a copy with every tensor renamed by ``name``."""
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    for node in graph.node:
        for names in (node.input, node.output):
            for place, tensor in enumerate(names):
                names[place] = name(tensor) if tensor else tensor
    for value in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        value.name = name(value.name)
    return copy


def slice_model(model: ModelProto, name: str, inputs: dict[str, str], outputs: dict[str, str]) -> ModelProto:
    """Return the part of ``model`` that makes ``outputs`` from ``inputs``; both map its tensor names to new ones.

    An input may be but another name (``Identity``) of a tensor made earlier, which is then not needed.

    Raises:
        ValueError: the outputs depend on a graph input that is not among ``inputs``.
    """
    graph = _adopt(model, inputs).graph
    values = {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
    nodes = reachable(graph, outputs, inputs)
    taken = {tensor for node in nodes for tensor in node.input}
    loose = taken.intersection(value.name for value in graph.input) - set(inputs)
    if loose:
        raise ValueError(f"it depends on {', '.join(sorted(loose))} beside {', '.join(inputs)}")
    passed_on = [
        helper.make_node("Identity", [tensor], [f"{tensor}.same"], name=f"{tensor}.same")
        for tensor in outputs
        if tensor in inputs
    ]
    new = inputs | outputs | {f"{tensor}.same": outputs[tensor] for tensor in outputs if tensor in inputs}
    new |= {tensor: inputs[tensor] for tensor in inputs}
    inside = {tensor for node in nodes for tensor in node.output} - set(outputs)
    part = make_model(
        name,
        [*nodes, *passed_on],
        [values[tensor] for tensor in inputs],
        [_named(values[tensor], f"{tensor}.same" if tensor in inputs else tensor) for tensor in outputs],
        graph.initializer,
        [values[tensor] for tensor in values if tensor in inside],
    )
    return renamed(part, lambda tensor: new.get(tensor, tensor))


def _adopt(model: ModelProto, inputs: Iterable[str]) -> ModelProto:
    """Let nodes take ``inputs`` instead of the tensors that these are other names of."""
    made = producers(model.graph)
    adopted: dict[str, str] = {}
    for tensor in inputs:
        first = tensor
        while first in made and made[first].op_type == "Identity":
            first = made[first].input[0]
        adopted.setdefault(first, tensor)
    adopted = {first: tensor for first, tensor in adopted.items() if first != tensor}
    if not adopted:
        return model
    copy = ModelProto()
    copy.CopyFrom(model)
    for first, tensor in adopted.items():
        replace_input(copy.graph.node, first, tensor)
    return copy


def chain(segments: Sequence[ModelProto], name: str, *, every_exit: bool = False) -> ModelProto:
    """Merge segments at their seams: image in, the last one's logits out, branches of earlier exits removed.

    With ``every_exit`` they stay, and their logits come out too, as ``segment-1/logits``..
    """
    nodes: list[NodeProto] = []
    initializers: list[TensorProto] = []
    handed: list[str] = []
    outputs: list[ValueInfoProto] = []
    for index, segment in enumerate(segments, 1):
        graph = segment.graph
        fixed = {value.name: handed[place] if handed else value.name for place, value in enumerate(graph.input)}
        if index == len(segments):
            fixed[LOGITS] = LOGITS
        prefix = f"segment-{index}/"
        part = renamed(segment, partial(_prefixed, fixed, prefix)).graph
        for node in part.node:
            node.name = prefix + node.name
        nodes.extend(part.node)
        initializers.extend(part.initializer)
        handed = [prefix + value.name for value in graph.output if value.name != LOGITS]
        (logits,) = (value for value in graph.output if value.name == LOGITS)
        if index == len(segments):
            outputs.append(logits)
        elif every_exit:
            outputs.append(_named(logits, prefix + LOGITS))
    merged = make_model(name, nodes, segments[0].graph.input, outputs, initializers)
    kept = reachable(merged.graph, [value.name for value in outputs], [])
    return make_model(name, kept, merged.graph.input, outputs, initializers)


def _prefixed(fixed: dict[str, str], prefix: str, tensor: str) -> str:
    return fixed.get(tensor, prefix + tensor)


def _named(value: ValueInfoProto, name: str) -> ValueInfoProto:
    copy = ValueInfoProto()
    copy.CopyFrom(value)
    copy.name = name
    return copy
