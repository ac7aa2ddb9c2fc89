"""ShuffleNetV2 (Ma et al. 2018, arXiv 1807.11164): ``shufflenetv2-0.5``, ``-1.0``, ``-1.5``, ``-2.0``.

Departure: the paper shuffles channels one by one, which needs a transposition (of five axes) at every block; here whole
quarters change places. As in the paper each block works on half of the channels, of which one half comes from the block
before and the other passed it by; no quarter passes by more than two blocks. Weights and multiplications are the same.
"""

from functools import partial

import torch
from torch import Tensor, nn

from msd_edge.errors import ModelError
from msd_edge.models.blocks import conv_bn, conv_bn_act
from msd_edge.models.families.parts import (
    conv_stem,
    make_stage,
    padded_max_pool,
    scale_widths,
    soften_strides,
)
from msd_edge.models.network import BackboneSpec, BlockSpec, GlobalPool

# Widths of the three stages and of the last layer: table 5 of the paper.
_TABLE = {
    "shufflenetv2-0.5": (48, 96, 192, 1024),
    "shufflenetv2-1.0": (116, 232, 464, 1024),
    "shufflenetv2-1.5": (176, 352, 704, 1024),
    "shufflenetv2-2.0": (244, 488, 976, 2048),
}
ARCHS = tuple(_TABLE)
_STEM = 24
_COUNTS = (4, 8, 4)


class ShuffleUnit(nn.Module):
    """Half of the channels goes through 1x1, depthwise, 1x1; the other half passes by (fig. 3 c).

    ``channels``: in and out, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        worked_on = channels // 2
        self.first = worked_on // 2
        self.last = self.first + worked_on
        self.branch = _branch(worked_on, worked_on, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, H, W) to the same shape."""
        y = self.branch(x[:, self.first : self.last])
        return torch.cat((x[:, self.last :], x[:, : self.first], y), 1)


class ShuffleDown(nn.Module):
    """Two branches that halve height and width, side by side (fig. 3 d)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2) -> None:
        super().__init__()
        half = out_channels // 2
        self.branch = _branch(in_channels, half, stride)
        depthwise = conv_bn(in_channels, in_channels, 3, stride, groups=in_channels)
        self.shortcut = nn.Sequential(depthwise, conv_bn_act(in_channels, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, H, W) to (batch, out_channels, H / stride, W / stride)."""
        return torch.cat((self.shortcut(x), self.branch(x)), 1)


def describe(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe a ShuffleNetV2 of three stages.

    Args:
        arch: ``shufflenetv2-0.5`` and so on.
        width: channels of the first stage, even, and all widths follow; None for the paper's.
        in_channels: of the image.
        side: the shorter side of the image; the stem is a convolution of stride 1 up to 64 pixels, of stride 2 up to
            128, with a pooling of stride 2 behind it beyond that.

    Raises:
        ModelError: the width is odd.
    """
    if width is not None and width % 2:
        raise ModelError(
            f"--arch {arch} --width {width}: a ShuffleNet's channels come in two halves; give an even one."
        )
    own = _TABLE[arch]
    *table, features = own
    stem_width = _STEM
    if width is not None:
        widths = scale_widths(arch, width, own[0])
        *table, features = (widths(channels) for channels in own)
        stem_width = widths(_STEM)
    stem = _stem(in_channels, stem_width, soften_strides((2, 2), side))
    stages = []
    channels = stem_width
    for out_channels, count in zip(table, _COUNTS, strict=True):
        stages.append(make_stage(_unit, channels, out_channels, count, 2))
        channels = out_channels
    head = partial(_head, features)
    return BackboneSpec(arch, stem, tuple(stages), head=head, feature_width=lambda _: features)


def _stem(in_channels: int, width: int, strides: tuple[int, ...]) -> BlockSpec:
    conv, pool = sorted(strides, reverse=True)
    stem = conv_stem(in_channels, width, conv)
    if pool == 1:
        return stem
    return BlockSpec(lambda: nn.Sequential(stem.build(), padded_max_pool()), in_channels, width, conv * pool)


def _unit(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    return ShuffleUnit(out_channels) if stride == 1 else ShuffleDown(in_channels, out_channels, stride)


def _branch(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    return nn.Sequential(
        conv_bn_act(in_channels, out_channels, 1),
        conv_bn(out_channels, out_channels, 3, stride, groups=out_channels),
        conv_bn_act(out_channels, out_channels, 1),
    )


def _head(features: int, channels: int) -> nn.Module:
    return nn.Sequential(conv_bn_act(channels, features, 1), GlobalPool())
