"""A module's forward as a graph (torch.fx), in evaluation mode, with what it does in training only kept or told."""

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, fx, nn

from msd_edge.errors import ModelError

_LAYERS = (nn.Linear, nn.Conv2d, nn.modules.batchnorm._BatchNorm)
# Libraries' modules that do nothing in evaluation mode: taken apart in it, they would be lost for training.
_DROPS = frozenset({"torchvision.ops.stochastic_depth", "torchvision.ops.drop_block", "timm.layers.drop"})
# Functions that drop in training, all called (input, p, training), and the modules that do the same.
_FUNCTIONAL: dict[Callable[..., Tensor], type[nn.Module]] = {
    F.dropout: nn.Dropout,
    F.dropout2d: nn.Dropout2d,
    F.alpha_dropout: nn.AlphaDropout,
    F.feature_alpha_dropout: nn.FeatureAlphaDropout,
}
# What the tracer calls tensors that a forward makes itself; every trace has other numbers, so values are compared.
_CONSTANT = "_tensor_constant"
# What torch's and the libraries' functions that take ``training`` call the probabilities that it switches on.
_PROBABILITIES = frozenset({"p", "dropout", "dropout_p", "attention_dropout", "drop_prob"})


class _Tracer(fx.Tracer):
    """Stops at torch's own layers, at those that libraries derive from them, and at what drops in training."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Tell whether a module is one node of the graph."""
        known = isinstance(m, _LAYERS) or type(m).__module__ in _DROPS
        return known or super().is_leaf_module(m, module_qualified_name)


def trace(module: nn.Module, name: str) -> fx.GraphModule:
    """Return the graph of what a module computes from images alone, in the mode it is in.

    Further arguments of its forward keep their defaults.

    Args:
        module: a copy; its class is changed.
        name: for messages.

    Raises:
        ModelError: it cannot be traced; the part that is why is named.
    """
    try:
        _take_image_only(module)
        return fx.GraphModule(module, _Tracer().trace(module))
    except Exception as problem:  # noqa: BLE001  it is the user's code
        where = next(iter(_untraceable(module)), "its forward")
        raise ModelError(
            f"{name}: {where} cannot be traced, since its forward branches on data or sizes "
            f"({first_line(problem)}); write it without."
        ) from None


def keep_training(graph: fx.GraphModule, module: nn.Module, name: str) -> str:
    """Turn dropouts that a graph lost, because evaluation turns them off, into modules, which training turns on.

    Args:
        graph: of the module in evaluation mode; changed in place.
        module: the same.
        name: for messages.

    Returns:
        A sentence that names what else it does in training, which the graph does not; empty if there is nothing.
    """
    root = copy.deepcopy(module).train()
    try:
        trained = list(_Tracer().trace(root).nodes)
    except Exception as problem:  # noqa: BLE001  it is the user's code
        return _lost("its forward", name, f" ({first_line(problem)})")
    nodes = list(graph.graph.nodes)
    places, others = ({node: place for place, node in enumerate(each)} for each in (nodes, trained))
    lost = "" if len(nodes) == len(trained) else _lost("its forward", name)
    dropouts = []
    for node, other in list(zip(nodes, trained, strict=False)):
        here, there = _describe(node, places, graph), _describe(other, others, root)
        if here == there:
            continue
        dropout = _find_dropout(here, there)
        if dropout is None:
            lost = _lost(scope(other) or "its forward", name)
            break  # what follows may stand opposite to other nodes
        dropouts.append((node, dropout))
    for node, dropout in dropouts:
        _put_module(graph, node, dropout)
    graph.recompile()
    return lost


def scope(node: fx.Node) -> str:
    """Return the name of the module whose forward made a node."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()))[0] if stack else ""
    return str(node.target) if node.op == "call_module" else str(path)


def first_line(problem: BaseException) -> str:
    """Return the first line of what went wrong, without its full stop; where nothing is said, what kind it is."""
    text = str(problem).strip() or type(problem).__name__
    return text.splitlines()[0].rstrip(".")


def _take_image_only(module: nn.Module) -> None:
    """Hide further arguments of a forward from the tracer, which would ask for values of them all."""
    kind = type(module)

    def forward(self: nn.Module, image: Tensor) -> Any:
        return kind.forward(self, image)

    module.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


def _lost(where: str, name: str, why: str = "") -> str:
    return (
        f"{name}: {where} does something in training mode alone, which would be lost{why}; write it as a module of its "
        "own, such as nn.Dropout or torchvision.ops.StochasticDepth."
    )


@dataclass(frozen=True)
class _Step:
    """What a node does, to compare: its arguments by name where there is one, other nodes in them by their place."""

    op: str
    target: Any
    arguments: dict[Any, Any]


def _describe(node: fx.Node, places: dict[fx.Node, int], root: nn.Module) -> _Step:
    """Return what a node does, without a ``training`` that switches on nothing but what has the probability 0."""
    if node.op == "get_attr" and str(node.target).startswith(_CONSTANT):
        value = getattr(root, str(node.target))
        return _Step(node.op, (value.dtype, value.tolist()) if isinstance(value, Tensor) else value, {})
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda given: f"node {places[given]}")
    arguments: dict[Any, Any] = dict(enumerate(args)) | kwargs
    if callable(node.target):
        with contextlib.suppress(TypeError, ValueError):  # of a function written in C
            given = inspect.signature(node.target).bind(*args, **kwargs)
            given.apply_defaults()
            arguments = dict(given.arguments)
    probabilities = [arguments[name] for name in _PROBABILITIES & arguments.keys()]
    if probabilities and not any(probabilities):
        arguments.pop("training", None)
    return _Step(node.op, node.target, arguments)


def _find_dropout(here: _Step, there: _Step) -> nn.Module | None:
    """Return the module for a dropout that is off here and on there; None if the two differ in something else."""
    kind = _FUNCTIONAL.get(here.target) if here.op == "call_function" else None
    share = there.arguments.get("p")
    on = {**here.arguments, "p": share, "training": True}
    if kind is None or there != _Step(here.op, here.target, on) or not isinstance(share, float | int):
        return None
    return kind(share)


def _put_module(graph: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    inside = scope(node)
    path = f"{inside}.{node.name}" if inside else node.name
    graph.add_submodule(path, module)
    with graph.graph.inserting_after(node):
        call = graph.graph.call_module(path, (node.all_input_nodes[0],))
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    graph.graph.erase_node(node)


def _untraceable(module: nn.Module) -> Iterator[str]:
    """Yield the innermost modules that cannot be traced by themselves."""
    for path, part in reversed(list(module.named_modules())):
        if not path or type(part).__module__.startswith("torch.nn") or isinstance(part, _LAYERS):
            continue
        try:
            _Tracer().trace(part)
        except Exception:  # noqa: BLE001  whatever it is, the part is named
            yield path
