"""A linear layer over a flattened map, as the convolution that it is."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from .respell import Respelling
from .trace import Call, Trace


class MapConvolution(nn.Module):
    """A convolution whose kernel is the whole map.

    Attributes:
        weight: (outputs, channels, H, W).
        bias: (outputs,), or None.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, outputs) of (batch, channels, H, W)."""
        return F.conv2d(x, self.weight, self.bias).flatten(1)


def respell_flat_linear(trace: Trace, call: Call) -> Respelling | None:
    """Spell a linear layer that takes a flattened map larger than 1x1 as a convolution over that map.

    In NHWC the flattened values stand in another order than in torch: the converter would turn the map around first.
    """
    if call.name != "linear" or len(call.shape) != 2:
        return None
    flat = trace.maker(call.takes[0])
    while flat is not None and flat.name == "dropout":
        flat = trace.maker(flat.takes[0])
    if flat is None or flat.name not in ("flatten", "reshape", "view") or len(flat.given_shape) != 4:
        return None
    batch, *sizes = flat.given_shape
    if flat.shape != (batch, math.prod(sizes)) or sizes[1:] == [1, 1]:
        return None
    given = call.bind(input=None, weight=None, bias=None)
    bias = given["bias"]
    weight = given["weight"].detach().clone().reshape(-1, *sizes)
    return Respelling(MapConvolution(weight, None if bias is None else bias.detach().clone()), source=flat.number)
