"""Padded max pooling of values that are nowhere below zero: zero padding, then a pool without padding."""

import torch.nn.functional as F
from torch import Tensor, nn

from .average_pool import Pair, pair
from .respell import Respelling
from .trace import Call, Trace, Value

_NOT_NEGATIVE = ("relu", "relu6", "sigmoid", "hardsigmoid", "softmax", "abs", "square")
_OF_NOT_NEGATIVE = (
    *("add", "mul", "cat", "mean", "dropout", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "pad"),
    *("flatten", "reshape", "view", "contiguous", "chunk", "split", "transpose", "permute", "channel_shuffle"),
)


class ZeroPaddedPool(nn.Module):
    """Zero padding (left, right, top, bottom), then a max pool."""

    def __init__(self, padding: tuple[int, int, int, int], kernel: Pair, stride: Pair, dilation: Pair) -> None:
        super().__init__()
        self.padding, self.kernel, self.stride, self.dilation = padding, kernel, stride, dilation

    def forward(self, x: Tensor) -> Tensor:
        """Pool (batch, channels, H, W) with values >= 0."""
        return F.max_pool2d(F.pad(x, self.padding), self.kernel, self.stride, 0, self.dilation)


def respell_max_pool(trace: Trace, call: Call) -> Respelling | None:
    """Spell a padded max pooling as zero padding and an unpadded pool.

    The padding of a max pool is minus infinity; zero is the same to it where no value is below zero, which the calls
    before must show. Left alone: ceil mode, whose windows depend on what is padding.
    """
    if call.name != "max_pool2d" or len(call.shape) != 4 or not is_never_negative(trace, call.takes[0]):
        return None
    given = call.bind(
        input=None, kernel_size=1, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
    )
    kernel, padding, dilation = (pair(given[name]) for name in ("kernel_size", "padding", "dilation"))
    stride = pair(given["stride"] or kernel)
    if padding == (0, 0) or given["ceil_mode"] or given["return_indices"]:
        return None
    (top, bottom), (left, right) = (
        # Behind the last window no padding is needed.
        (padding[i], max(0, (call.shape[2 + i] - 1) * stride[i] + reach - call.given_shape[2 + i] - padding[i]))
        for i, reach in enumerate(dilation[i] * (kernel[i] - 1) + 1 for i in (0, 1))
    )
    return Respelling(ZeroPaddedPool((left, right, top, bottom), kernel, stride, dilation))


def is_never_negative(trace: Trace, value: Value) -> bool:
    """Return whether the calls behind a value show that it holds nothing below zero, whatever the images."""
    call = trace.maker(value)
    if call is None:
        return False
    if call.name in _NOT_NEGATIVE:
        return True
    if call.name in ("hardtanh", "clamp"):
        names = {"hardtanh": ("min_val", -1.0), "clamp": ("min", None)}
        name, default = names[call.name]
        low = call.bind(input=None, **{name: default})[name]
        return isinstance(low, (int, float)) and low >= 0
    if call.name not in _OF_NOT_NEGATIVE or _has_negative_number(call):
        return False
    return bool(call.takes) and all(is_never_negative(trace, taken) for taken in call.takes)


def _has_negative_number(call: Call) -> bool:
    """Return whether a sum, a product or a padding has a number below zero in it."""
    if call.name not in ("add", "mul", "pad"):
        return False
    numbers = [value for value in (*call.args[1:], *call.kwargs.values()) if isinstance(value, (int, float))]
    return any(number < 0 for number in numbers)
