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


def respell_lone_norm(trace: Trace, call: Call) -> Respelling | None:
    """Spell a batch normalization that cannot fold as a depthwise 1x1 convolution."""
    numbers = _scale_and_shift(trace, call)
    return None if numbers is None else Respelling(PointConvolution(*numbers))


def _scale_and_shift(trace: Trace, call: Call) -> tuple[Tensor, Tensor] | None:
    if call.name != "batch_norm" or len(call.shape) != 4:
        return None
    given = bind_batch_norm(call)
    mean, variance, weight, bias = (given[name] for name in ("running_mean", "running_var", "weight", "bias"))
    maker = trace.maker(call.takes[0])
    folds = maker is not None and maker.name in _FOLDS_INTO and trace.used_once(call.takes[0])
    if given["training"] or mean is None or variance is None or folds:
        return None
    # In double precision, so that only the result is rounded.
    scale = (variance.double() + given["eps"]).rsqrt()
    scale = scale if weight is None else scale * weight.double()
    shift = -mean.double() * scale
    shift = shift if bias is None else shift + bias.double()
    return scale.detach().to(torch.float32), shift.detach().to(torch.float32)
