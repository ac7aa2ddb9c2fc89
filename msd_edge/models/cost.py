"""Multiply-accumulates and parameters, counted by running the module once on zeros."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """What one image costs in a module.

    Attributes:
        macs: multiply-accumulates of convolutions and linear layers.
        activations: values that these layers give.
        shapes: of what the module gives, without the batch.
    """

    macs: int
    activations: int
    shapes: tuple[Shape, ...]


def trace_cost(module: nn.Module, *shapes: Shape) -> Cost:
    """Run ``module`` on zeros of ``shapes``, such as (channels, H, W), and count convolutions and linear layers."""
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    with recording(module) as runs, torch.no_grad():
        out = module(*(torch.zeros(1, *shape, device=device) for shape in shapes))
    given = out if isinstance(out, tuple) else (out,)
    return Cost(sum(run.macs for run in runs), sum(run.values for run in runs), tuple(x.shape[1:] for x in given))


@dataclass(frozen=True)
class LayerRun:
    """A layer with parameters of its own that ran.

    Attributes:
        layer: the layer.
        nodes: what it gave, in autograd's graph; none where no gradient is followed.
        macs, values: as in ``Cost``; 0 but for convolutions and linear layers.
    """

    layer: nn.Module
    nodes: tuple[object, ...]
    macs: int
    values: int


@contextmanager
def recording(module: nn.Module) -> Iterator[list[LayerRun]]:
    """Note, in evaluation mode, which layers run, in a list that fills meanwhile."""
    runs: list[LayerRun] = []

    def note(layer: nn.Module, _inputs: tuple[Tensor, ...], output: object) -> None:
        macs = values = 0
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and isinstance(output, Tensor):
            values = output[0].numel()
            macs = (layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else layer.in_features) * values
        given = output if isinstance(output, (tuple, list)) else (output,)
        nodes = (x.grad_fn for x in given if isinstance(x, Tensor))
        runs.append(LayerRun(layer, tuple(node for node in nodes if node is not None), macs, values))

    hooks = [part.register_forward_hook(note) for part in module.modules() if _owns_parameters(part)]
    training = module.training
    module.eval()
    try:
        yield runs
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()


def needed(runs: Iterable[LayerRun], results: Iterable[Tensor]) -> list[LayerRun]:
    """Return the runs that results depend on; they must have run on tensors that require gradients."""
    seen: set[object] = set()
    waiting: list[Any] = [tensor.grad_fn for tensor in results]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return [run for run in runs if not run.nodes or not seen.isdisjoint(run.nodes)]


def count_needed_parameters(modules: Iterable[nn.Module], runs: Sequence[LayerRun], used: Sequence[LayerRun]) -> int:
    """Return the number of distinct parameters of ``modules``, without layers that ran and were of no use."""
    ran = {id(run.layer) for run in runs} - {id(run.layer) for run in used}
    layers = (part for module in modules for part in module.modules() if id(part) not in ran)
    return sum({id(p): p.numel() for part in layers for p in part.parameters(recurse=False)}.values())


def _owns_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))
