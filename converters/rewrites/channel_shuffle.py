"""ShuffleNet's channel shuffle (Zhang et al. 2017, arXiv 1707.01083), which turns the map around twice in NHWC."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .respell import Respelling
from .trace import Call, Trace


class Permutation(nn.Module):
    """A 1x1 convolution that puts channels into another order: channel i becomes channel ``i % n * groups + i // n``.

    Attributes:
        weight: (channels, channels, 1, 1), a one in each row.
    """

    weight: Tensor

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        order = torch.arange(channels).reshape(groups, -1).T.flatten()
        self.register_buffer("weight", torch.eye(channels)[order][..., None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Shuffle (batch, channels, H, W)."""
        return F.conv2d(x, self.weight)


def respell_channel_shuffle(trace: Trace, call: Call) -> Respelling | None:
    """Spell a channel shuffle as a convolution: ``torch.channel_shuffle``, or view, transpose and view."""
    if call.name == "channel_shuffle" and len(call.shape) == 4:
        groups = call.bind(input=None, groups=1)["groups"]
        return Respelling(Permutation(call.shape[1], groups)) if groups > 1 else None
    if call.name not in ("view", "reshape", "flatten") or len(call.shape) != 4:
        return None
    turned = trace.maker(call.takes[0])
    if turned is not None and turned.name == "contiguous":
        turned = trace.maker(turned.takes[0])
    split = None if turned is None or turned.name not in ("transpose", "permute") else trace.maker(turned.takes[0])
    if turned is None or split is None or split.name not in ("view", "reshape") or split.given_shape != call.shape:
        return None
    batch, channels, *size = call.shape
    groups = split.shape[1]
    if split.shape != (batch, groups, channels // groups, *size) or not _swaps_groups(turned):
        return None
    return Respelling(Permutation(channels, groups), source=split.number)


def _swaps_groups(call: Call) -> bool:
    if call.name == "transpose":
        given = call.bind(input=None, dim0=0, dim1=0)
        return {given["dim0"] % 5, given["dim1"] % 5} == {1, 2}
    dims = call.args[1:] if len(call.args) > 2 else tuple(call.bind(input=None, dims=())["dims"])
    return tuple(dim % 5 for dim in dims) == (0, 2, 1, 3, 4)
