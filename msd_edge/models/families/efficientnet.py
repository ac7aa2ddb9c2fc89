"""EfficientNets (Tan & Le 2019, arXiv 1905.11946) and their Lite version, which has ReLU6 and no channel weights.

Dropout and stochastic depth are left out.
"""

from dataclasses import dataclass
from functools import partial
from math import ceil

from torch import nn

from msd_edge.models.blocks import Activation, InvertedResidual, SqueezeExcite, conv_bn_act, relu6
from msd_edge.models.families.parts import Widths, conv_stem, make_stage, scale_widths, soften_strides
from msd_edge.models.network import BackboneSpec, GlobalPool


@dataclass(frozen=True)
class _Size:
    """Factors on widths and depths. ``lite``: stem and head keep their width, as do the ends their depth."""

    width: float
    depth: float
    lite: bool = False


_SIZES = {
    "efficientnet-b0": _Size(1.0, 1.0),
    "efficientnet-b1": _Size(1.0, 1.1),
    "efficientnet-b2": _Size(1.1, 1.2),
    "efficientnet-lite0": _Size(1.0, 1.0, lite=True),
}
ARCHS = tuple(_SIZES)
# Expansion, kernel, width, blocks, stride: table 1 of the paper.
_TABLE = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
_STEM, _FEATURES = 32, 1280


def describe(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe an EfficientNet; a stage is a line of the paper's table.

    Args:
        arch: ``efficientnet-b0``, ``-b1``, ``-b2`` or ``-lite0``.
        width: channels of the first stage, and all widths follow; None for 16.
        in_channels: of the image.
        side: the shorter side of the image; ``soften_strides`` says what it does.
    """
    size = _SIZES[arch]
    widths = scale_widths(arch, width, 16) if width else Widths(size.width)
    act: Activation = relu6 if size.lite else partial(nn.SiLU, inplace=True)
    first, *strides = soften_strides((2, *(stride for *_, stride in _TABLE)), side)
    stem = conv_stem(in_channels, widths(_STEM), first, act)
    stages = []
    channels = stem.out_channels
    for (expansion, kernel, own, count, _), stride in zip(_TABLE, strides, strict=True):
        make = partial(_inverted, act, size.lite, expansion, kernel)
        stages.append(make_stage(make, channels, widths(own), ceil(size.depth * count), stride))
        channels = widths(own)
    features = widths(_FEATURES)
    head = partial(_head, act, features)
    return BackboneSpec(arch, stem, tuple(stages), head=head, feature_width=lambda _: features)


def _inverted(
    act: Activation, lite: bool, expansion: int, kernel: int, in_channels: int, out_channels: int, stride: int
) -> nn.Module:
    expanded = expansion * in_channels
    # The paper squeezes to a quarter of the block's input, not of what is expanded.
    excite = None if lite else SqueezeExcite(expanded, max(1, in_channels // 4), act)
    return InvertedResidual(in_channels, out_channels, stride, expanded=expanded, kernel=kernel, act=act, excite=excite)


def _head(act: Activation, features: int, channels: int) -> nn.Module:
    return nn.Sequential(conv_bn_act(channels, features, 1, act=act), GlobalPool())
