"""A module's forward as a graph (torch.fx), in evaluation mode, with what it does in training only kept or refused."""

import copy
from collections.abc import Callable, Iterator
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


def keep_training(graph: fx.GraphModule, module: nn.Module, name: str) -> None:
    """Turn dropouts that a graph lost, because evaluation turns them off, into modules, which training turns on.

    Args:
        graph: of the module in evaluation mode; changed in place.
        module: the same.
        name: for messages.

    Raises:
        ModelError: in training it does something else that cannot be kept; where is named.
    """
    nodes = list(graph.graph.nodes)
    try:
        trained = list(_Tracer().trace(copy.deepcopy(module).train()).nodes)
    except Exception as problem:  # noqa: BLE001  it is the user's code
        raise _lost("its forward", name, f" ({first_line(problem)})") from None
    differing = [(a, b) for a, b in zip(nodes, trained, strict=False) if _plain(a) != _plain(b)]
    for node, other in differing:
        dropout = node.target in _FUNCTIONAL and node.target is other.target
        if not dropout or _argument(node, 2, "training", True) or not _argument(other, 2, "training", True):
            raise _lost(scope(other) or "its forward", name)
    if len(nodes) != len(trained):
        raise _lost("its forward", name)
    for node, _ in differing:
        _put_module(graph, node, _FUNCTIONAL[node.target](_argument(node, 1, "p", 0.5)))
    graph.recompile()


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


def _lost(where: str, name: str, why: str = "") -> ModelError:
    return ModelError(
        f"{name}: {where} does something in training mode alone, which would be lost{why}; write it as a module of its "
        "own, such as nn.Dropout or torchvision.ops.StochasticDepth."
    )


def _plain(node: fx.Node) -> tuple[Any, ...]:
    """Return what a node does, with the names of other nodes in their place, to compare."""
    given = (fx.node.map_arg(each, lambda n: n.name) for each in (node.args, node.kwargs))
    return node.op, str(node.target), *given


def _put_module(graph: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    inside = scope(node)
    path = f"{inside}.{node.name}" if inside else node.name
    graph.add_submodule(path, module)
    with graph.graph.inserting_after(node):
        call = graph.graph.call_module(path, (_argument(node, 0, "input", None),))
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    graph.graph.erase_node(node)


def _argument(node: fx.Node, place: int, name: str, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _untraceable(module: nn.Module) -> Iterator[str]:
    """Yield the innermost modules that cannot be traced by themselves."""
    for path, part in reversed(list(module.named_modules())):
        if not path or type(part).__module__.startswith("torch.nn") or isinstance(part, _LAYERS):
            continue
        try:
            _Tracer().trace(part)
        except Exception:  # noqa: BLE001  whatever it is, the part is named
            yield path
