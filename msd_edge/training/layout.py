"""Which memory layout training uses."""

import torch
from torch import nn


def miscomputes_channels_last(network: nn.Module, device: torch.device) -> bool:
    """Return whether the processor's kernels cannot be trusted with this network in channels-last layout.

    oneDNN (seen with torch 2.14.1 on AVX2) gets the weight gradient of a strided 1x1 convolution of fewer than 8
    channels wrong in that layout, and writes past the end of its buffers. Such layers occur in narrow ResNets only.
    """
    if device.type != "cpu":
        return False
    return any(
        isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) and m.stride != (1, 1) and m.in_channels < 8
        for m in network.modules()
    )
