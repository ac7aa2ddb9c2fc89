"""The wide, shallow network of airbench (Jordan 2024, arXiv 2404.00498), which learns CIFAR-10 in few epochs.

Most of its work is done by wide layers at low resolution, where processors are fast. Departures: ReLU for GELU, an
ordinary 3x3 stem for the whitened 2x2 one and an average at the end, so that int8 kernels take every layer.
"""

from functools import partial

from torch import Tensor, nn

from msd_edge.models.blocks import conv_bn
from msd_edge.models.network import BackboneSpec, BlockSpec, GlobalPool

ARCHS = ("airbench",)
_STEM = 24


class PooledConv(nn.Module):
    """3x3 convolution, 2x2 max pooling, BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = conv_bn(in_channels, out_channels, 3)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, H, W) to (batch, out_channels, H // 2, W // 2)."""
        out: Tensor = self.pool(self.relu(self.conv(x)))
        return out


def describe(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe the network: a stem, then three stages of a pooled and a plain convolution.

    Args:
        arch: ``airbench``.
        width: channels of the first stage; the others have four times as many. None for 64.
        in_channels: of the image.
        side: the shorter side of the image; at least 8.
    """
    del side
    base = width or 64
    stem = BlockSpec(partial(_conv_relu, in_channels, _STEM), in_channels, _STEM)
    stages = []
    channels = _STEM
    for out_channels in (base, 4 * base, 4 * base):
        first = BlockSpec(partial(PooledConv, channels, out_channels), channels, out_channels, 2)
        second = BlockSpec(partial(_conv_relu, out_channels, out_channels), out_channels, out_channels)
        stages.append((first, second))
        channels = out_channels
    return BackboneSpec(arch, stem, tuple(stages), head=_pool)


def _conv_relu(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(conv_bn(in_channels, out_channels, 3), nn.ReLU(inplace=True))


def _pool(channels: int) -> nn.Module:
    del channels
    return GlobalPool()
