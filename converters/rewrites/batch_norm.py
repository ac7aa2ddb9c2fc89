"""Batch normalizations that no convolution can take in, as pre-activation networks have them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .respell import Respelling
from .trace import Call, Trace

_FOLDS_INTO = ("conv2d", "conv_transpose2d")


class PointConvolution(nn.Module):
    """A depthwise 1x1 convolution: one scale and one shift per channel.

    Attributes:
        weight: (channels, 1, 1, 1).
        bias: (channels,).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", scale.reshape(-1, 1, 1, 1))
        self.register_buffer("bias", shift.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (batch, channels, H, W)."""
        return F.conv2d(x, self.weight, self.bias, groups=len(self.weight))


def bind_batch_norm(call: Call) -> dict[str, Any]:
    """Return the arguments of a call of ``batch_norm`` by name."""
    return call.bind(
        input=None, running_mean=None, running_var=None, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
    )


def scale_and_shift(call: Call) -> tuple[Tensor, Tensor] | None:
    """Return what a call of ``batch_norm`` multiplies by and adds, (channels,) float64 each; None: it learns, or has
    no running statistics.
    """
    given = bind_batch_norm(call)
    mean, variance, weight, bias = (given[name] for name in ("running_mean", "running_var", "weight", "bias"))
    if given["training"] or mean is None or variance is None:
        return None
    # In double precision, so that only the result is rounded.
    scale = (variance.detach().double() + given["eps"]).rsqrt()
    scale = scale if weight is None else scale * weight.detach().double()
    shift = -mean.detach().double() * scale
    return scale, shift if bias is None else shift + bias.detach().double()


def respell_lone_norm(trace: Trace, call: Call) -> Respelling | None:
    """Spell a batch normalization that cannot fold as a depthwise 1x1 convolution."""
    if call.name != "batch_norm" or len(call.shape) != 4:
        return None
    maker = trace.maker(call.takes[0])
    folds = maker is not None and maker.name in _FOLDS_INTO and trace.used_once(call.takes[0])
    numbers = None if folds else scale_and_shift(call)
    if numbers is None:
        return None
    return Respelling(PointConvolution(*(value.to(torch.float32) for value in numbers)))
