"""Multiply-accumulates and parameters, counted by running the module once on zeros."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


def count_parameters(*modules: nn.Module) -> int:
    """Return the number of distinct trainable and frozen parameters of ``modules`` together."""
    return sum({id(p): p.numel() for module in modules for p in module.parameters()}.values())


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
    training = module.training
    module.eval()
    try:
        with _counting(module) as counts, torch.no_grad():
            out = module(*(torch.zeros(1, *shape, device=device) for shape in shapes))
    finally:
        module.train(training)
    given = out if isinstance(out, tuple) else (out,)
    return Cost(sum(macs for macs, _ in counts), sum(values for _, values in counts), tuple(x.shape[1:] for x in given))


@contextmanager
def _counting(module: nn.Module) -> Iterator[list[tuple[int, int]]]:
    counts: list[tuple[int, int]] = []

    def conv(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        counts.append((layer.weight[0].numel() * output[0].numel(), output[0].numel()))

    def linear(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        counts.append((layer.in_features * output[0].numel(), output[0].numel()))

    hooks = [m.register_forward_hook(conv) for m in module.modules() if isinstance(m, nn.Conv2d)]
    hooks += [m.register_forward_hook(linear) for m in module.modules() if isinstance(m, nn.Linear)]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()
