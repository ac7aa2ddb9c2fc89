"""Average pooling: over windows as a convolution, over the whole map as a mean."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .respell import Respelling
from .trace import Call, Trace

Pair = tuple[int, int]


class AverageConvolution(nn.Module):
    """A depthwise convolution whose weights are all ``1 / divisor``; zero padding counts as values.

    Attributes:
        weight: (channels, 1, height, width).
    """

    weight: Tensor

    def __init__(self, channels: int, kernel: Pair, stride: Pair, padding: Pair, divisor: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.full((channels, 1, *kernel), 1 / divisor))
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Pool (batch, channels, H, W)."""
        return F.conv2d(x, self.weight, None, self.stride, self.padding, groups=len(self.weight))


class GlobalMean(nn.Module):
    """The mean over height and width, which every target has an operator for."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool (batch, channels, H, W) to (batch, channels, 1, 1)."""
        return F.adaptive_avg_pool2d(x, 1)


def respell_average_pool(trace: Trace, call: Call) -> Respelling | None:
    """Spell an average pooling over windows as a depthwise convolution with constant weights.

    Left alone: windows of 1x1, and windows of different sizes (ceil mode at the border, padding that does not count).
    """
    del trace
    windows = _windows(call)
    if windows is None or _is_global(call, windows):
        return None
    kernel, stride, padding, divisor = windows
    return Respelling(AverageConvolution(call.given_shape[1], kernel, stride, padding, divisor))


def respell_global_pool(trace: Trace, call: Call) -> Respelling | None:
    """Spell an average pooling whose one window is the whole map as a mean."""
    del trace
    windows = _windows(call)
    return Respelling(GlobalMean()) if windows is not None and _is_global(call, windows) else None


def pair(value: int | list[int] | Pair) -> Pair:
    """Return (vertical, horizontal) of an option that may be one number for both."""
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1])


def _windows(call: Call) -> tuple[Pair, Pair, Pair, int] | None:
    """Return kernel, stride, padding and divisor if all windows hold the same number of values, and more than one."""
    if call.name != "avg_pool2d" or len(call.shape) != 4:
        return None
    given = call.bind(
        input=None,
        kernel_size=1,
        stride=None,
        padding=0,
        ceil_mode=False,
        count_include_pad=True,
        divisor_override=None,
    )
    kernel, padding = pair(given["kernel_size"]), pair(given["padding"])
    stride = pair(given["stride"] or kernel)
    padded = tuple(size + 2 * more for size, more in zip(call.given_shape[2:], padding, strict=True))
    inside = all(
        (out - 1) * step + width <= size
        for out, step, width, size in zip(call.shape[2:], stride, kernel, padded, strict=True)
    )
    counts_padding = padding == (0, 0) or given["count_include_pad"] or given["divisor_override"]
    if kernel == (1, 1) or not inside or not counts_padding:
        return None
    return kernel, stride, padding, given["divisor_override"] or kernel[0] * kernel[1]


def _is_global(call: Call, windows: tuple[Pair, Pair, Pair, int]) -> bool:
    kernel, _, padding, divisor = windows
    return kernel == call.given_shape[2:] and padding == (0, 0) and divisor == kernel[0] * kernel[1]
