"""Leaky ReLU, which the TFLite quantizer leaves in float."""

import torch
from torch import Tensor, nn

from .respell import Respelling
from .trace import Call, Trace


class LeakyRelu(nn.Module):
    """``max(x, x * slope)``: bit for bit the same, from operators that the quantizer knows."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Return the leaky ReLU of any tensor."""
        return torch.maximum(x, x * self.slope)


def respell_leaky_relu(trace: Trace, call: Call) -> Respelling | None:
    """Spell a leaky ReLU as a product and a maximum; slopes outside 0..1 stay.

    TFLite's maximum wants one scale for both, so that an int8 file has a change of scale (QUANTIZE) behind the product.
    """
    del trace
    if call.name != "leaky_relu":
        return None
    slope = call.bind(input=None, negative_slope=0.01)["negative_slope"]
    return Respelling(LeakyRelu(slope)) if 0 < slope < 1 else None
