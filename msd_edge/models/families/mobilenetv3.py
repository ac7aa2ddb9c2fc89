"""MobileNetV3 (Howard et al. 2019, arXiv 1905.02244): ``mobilenetv3-small``, ``mobilenetv3-large``, with a factor too.

The dropout before the classifier is left out.
"""

import re
from dataclasses import dataclass
from functools import partial

from torch import nn

from msd_edge.models.blocks import Activation, InvertedResidual, SqueezeExcite, conv_bn_act, relu
from msd_edge.models.families.parts import (
    Widths,
    conv_stem,
    describe_block,
    round_channels,
    scale_widths,
    soften_strides,
)
from msd_edge.models.network import BackboneSpec, BlockSpec, GlobalPool

ARCHS = ("mobilenetv3-small", "mobilenetv3-large")

_NAME = re.compile(r"mobilenetv3-(small|large)(?:-(\d\.\d{1,2}))?")


@dataclass(frozen=True)
class _Row:
    """A line of the paper's tables 1 and 2. ``excite``: with squeeze-and-excitation; ``swish``: hard-swish, or ReLU."""

    kernel: int
    expanded: int
    width: int
    excite: bool
    swish: bool
    stride: int


# One tuple a stage: the lines of one width.
_SMALL = (
    (_Row(3, 16, 16, True, False, 2),),
    (_Row(3, 72, 24, False, False, 2), _Row(3, 88, 24, False, False, 1)),
    (_Row(5, 96, 40, True, True, 2), _Row(5, 240, 40, True, True, 1), _Row(5, 240, 40, True, True, 1)),
    (_Row(5, 120, 48, True, True, 1), _Row(5, 144, 48, True, True, 1)),
    (_Row(5, 288, 96, True, True, 2), _Row(5, 576, 96, True, True, 1), _Row(5, 576, 96, True, True, 1)),
)
_LARGE = (
    (_Row(3, 16, 16, False, False, 1),),
    (_Row(3, 64, 24, False, False, 2), _Row(3, 72, 24, False, False, 1)),
    (_Row(5, 72, 40, True, False, 2), _Row(5, 120, 40, True, False, 1), _Row(5, 120, 40, True, False, 1)),
    (
        _Row(3, 240, 80, False, True, 2),
        _Row(3, 200, 80, False, True, 1),
        _Row(3, 184, 80, False, True, 1),
        _Row(3, 184, 80, False, True, 1),
    ),
    (_Row(3, 480, 112, True, True, 1), _Row(3, 672, 112, True, True, 1)),
    (_Row(5, 672, 160, True, True, 2), _Row(5, 960, 160, True, True, 1), _Row(5, 960, 160, True, True, 1)),
)
_FEATURES = {"small": 1024, "large": 1280}


def has_arch(arch: str) -> bool:
    """Return whether this names a MobileNetV3."""
    match = _NAME.fullmatch(arch)
    return match is not None and float(match[2] or 1) > 0


def describe(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe a MobileNetV3; a stage is what the paper's tables hold of one width.

    Args:
        arch: ``mobilenetv3-small`` or ``-large``, and ``-W`` with W a factor on all widths.
        width: channels of the first stage; None for 16.
        in_channels: of the image.
        side: the shorter side of the image; ``soften_strides`` says what it does.
    """
    match = _NAME.fullmatch(arch)
    assert match is not None
    table = _SMALL if match[1] == "small" else _LARGE
    widths = scale_widths(arch, width, 16, float(match[2]) if match[2] else None)
    first, *strides = soften_strides((2, *(rows[0].stride for rows in table)), side)
    stem = conv_stem(in_channels, widths(16), first, nn.Hardswish)
    stages = []
    channels = stem.out_channels
    for rows, stride in zip(table, strides, strict=True):
        stages.append(_describe_stage(rows, widths, channels, stride))
        channels = widths(rows[0].width)
    features = widths(_FEATURES[match[1]])
    head = partial(_head, features)
    return BackboneSpec(arch, stem, tuple(stages), head=head, feature_width=lambda _: features)


def _describe_stage(rows: tuple[_Row, ...], widths: Widths, in_channels: int, stride: int) -> tuple[BlockSpec, ...]:
    stage = []
    channels, out_channels = in_channels, widths(rows[0].width)
    for place, row in enumerate(rows):
        make = partial(_inverted, row, widths(row.expanded))
        stage.append(describe_block(make, channels, out_channels, 1 if place else stride))
        channels = out_channels
    return tuple(stage)


def _inverted(row: _Row, expanded: int, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    act: Activation = nn.Hardswish if row.swish else relu
    excite = SqueezeExcite(expanded, round_channels(expanded / 4), relu, nn.Hardsigmoid) if row.excite else None
    return InvertedResidual(
        in_channels, out_channels, stride, expanded=expanded, kernel=row.kernel, act=act, excite=excite
    )


def _head(features: int, channels: int) -> nn.Module:
    last = 6 * channels
    return nn.Sequential(
        conv_bn_act(channels, last, 1, act=nn.Hardswish), GlobalPool(), nn.Linear(last, features), nn.Hardswish()
    )
