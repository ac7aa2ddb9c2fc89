"""Multiply-accumulates and parameters, counted by running the module once on zeros."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


def count_parameters(*modules: nn.Module) -> int:
    """Return the number of distinct trainable and frozen parameters of ``modules`` together."""
    return sum({id(p): p.numel() for module in modules for p in module.parameters()}.values())


def trace_cost(module: nn.Module, shape: Shape) -> tuple[int, Shape]:
    """Run ``module`` on zeros of ``shape`` (channels, H, W) and count convolutions and linear layers.

    Returns:
        MACs of one image, and the output's shape without the batch.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    training = module.training
    module.eval()
    try:
        with _counting(module) as counts, torch.no_grad():
            out = module(torch.zeros(1, *shape, device=device))
    finally:
        module.train(training)
    last = out[-1] if isinstance(out, tuple) else out
    return sum(counts), tuple(last.shape[1:])


@contextmanager
def _counting(module: nn.Module) -> Iterator[list[int]]:
    counts: list[int] = []

    def conv(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        counts.append(layer.weight[0].numel() * output[0].numel())

    def linear(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        counts.append(layer.in_features * output[0].numel())

    hooks = [m.register_forward_hook(conv) for m in module.modules() if isinstance(m, nn.Conv2d)]
    hooks += [m.register_forward_hook(linear) for m in module.modules() if isinstance(m, nn.Linear)]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()
