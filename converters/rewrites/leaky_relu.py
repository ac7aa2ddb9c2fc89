"""Leaky ReLU, which the TFLite quantizer leaves in float."""

import torch.nn.functional as F
from torch import Tensor, nn

from .respell import Respelling
from .trace import Call, Trace


class LeakyRelu(nn.Module):
    """``relu(x * (1 - slope)) + x * slope``: the ReLU fuses into the first product."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Return the leaky ReLU of any tensor."""
        return F.relu(x * (1 - self.slope)) + x * self.slope


def respell_leaky_relu(trace: Trace, call: Call) -> Respelling | None:
    """Spell a leaky ReLU as two products and a sum; slopes outside 0..1 stay."""
    del trace
    if call.name != "leaky_relu":
        return None
    slope = call.bind(input=None, negative_slope=0.01)["negative_slope"]
    return Respelling(LeakyRelu(slope)) if 0 < slope < 1 else None
