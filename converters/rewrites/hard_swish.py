"""Hard-swish (Howard et al. 2019, arXiv 1905.02244, equation 3), which XNNPACK has no int8 kernel for."""

import torch.nn.functional as F
from torch import Tensor, nn

from .respell import Respelling
from .trace import Call, Trace


class HardSwish(nn.Module):
    """``relu6(x + 3) * x * (1 / 6)``, in this order: converters make a HARD_SWISH of all others."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the hard-swish of any tensor."""
        return F.relu6(x + 3) * x * (1 / 6)


def respell_hard_swish(trace: Trace, call: Call) -> Respelling | None:
    """Spell ``nn.Hardswish`` and ``F.hardswish`` as an addition with a fused ReLU6 and two multiplications."""
    del trace
    return Respelling(HardSwish()) if call.name == "hardswish" else None
