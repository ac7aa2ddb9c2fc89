"""A mean over height and width, however it is written, as the pooling that every converter knows."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .respell import Respelling
from .trace import Call, Trace


class PooledMean(nn.Module):
    """The mean over height and width: (batch, channels, 1, 1), or (batch, channels)."""

    def __init__(self, keepdim: bool) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:
        """Pool (batch, channels, H, W)."""
        pooled = F.adaptive_avg_pool2d(x, 1)
        return pooled if self.keepdim else torch.flatten(pooled, 1)


def respell_spatial_mean(trace: Trace, call: Call) -> Respelling | None:
    """Spell ``x.mean((2, 3))`` as a pooling, so that no change of layout is left for it."""
    del trace
    if call.name != "mean" or len(call.given_shape) != 4:
        return None
    given = call.bind(input=None, dim=None, keepdim=False, dtype=None)
    dims = given["dim"]
    if not isinstance(dims, (tuple, list)) or {dim % 4 for dim in dims} != {2, 3} or given["dtype"] is not None:
        return None
    return Respelling(PooledMean(bool(given["keepdim"])))
