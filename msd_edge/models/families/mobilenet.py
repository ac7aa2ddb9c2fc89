"""MobileNets, versions 1 and 2.

- Howard et al. 2017, arXiv 1704.04861: ``mobilenetv1``, ``mobilenetv1-0.5``.
- Sandler et al. 2018, arXiv 1801.04381: ``mobilenetv2``, ``mobilenetv2-0.5``.
"""

import re
from functools import partial

from torch import nn

from msd_edge.models.blocks import InvertedResidual, conv_bn_act, relu6, separable
from msd_edge.models.families.parts import conv_stem, make_stage, pool_head, scale_widths, soften_strides
from msd_edge.models.network import BackboneSpec, GlobalPool

V1_ARCHS = ("mobilenetv1",)
V2_ARCHS = ("mobilenetv2",)

_NAME = re.compile(r"mobilenetv[12](?:-(\d\.\d{1,2}))?")
# Width, blocks, stride.
_V1 = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
# Expansion, width, blocks, stride: table 2 of the paper.
_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_V2_LAST = 1280


def has_arch(version: int, arch: str) -> bool:
    """Return whether this names a MobileNet of ``version`` 1 or 2."""
    match = _NAME.fullmatch(arch)
    return match is not None and arch.startswith(f"mobilenetv{version}") and float(match[1] or 1) > 0


def describe_v1(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe a MobileNetV1.

    Args:
        arch: ``mobilenetv1``, or ``mobilenetv1-W`` with W a factor on all widths.
        width: channels of the first stage; None for 64.
        in_channels: of the image.
        side: the shorter side of the image; ``soften_strides`` says what it does.
    """
    widths = scale_widths(arch, width, 64, _multiplier(arch))
    first, *strides = soften_strides((2, *(stride for *_, stride in _V1)), side)
    stem = conv_stem(in_channels, widths(32), first)
    stages = []
    channels = stem.out_channels
    for (own, count, _), stride in zip(_V1, strides, strict=True):
        stages.append(make_stage(separable, channels, widths(own), count, stride))
        channels = widths(own)
    return BackboneSpec(arch, stem, tuple(stages), head=pool_head)


def describe_v2(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe a MobileNetV2; a stage is a line of the paper's table.

    Args:
        arch: ``mobilenetv2``, or ``mobilenetv2-W`` with W a factor on all widths but the last layer's, which follows
            only where W is above 1.
        width: channels of the first stage, and all widths follow; None for 16.
        in_channels: of the image.
        side: the shorter side of the image; ``soften_strides`` says what it does.
    """
    multiplier = _multiplier(arch)
    widths = scale_widths(arch, width, 16, multiplier)
    last = widths(_V2_LAST) if width or widths.factor > 1 else _V2_LAST
    first, *strides = soften_strides((2, *(stride for *_, stride in _V2)), side)
    stem = conv_stem(in_channels, widths(32), first, relu6)
    stages = []
    channels = stem.out_channels
    for (expansion, own, count, _), stride in zip(_V2, strides, strict=True):
        stages.append(make_stage(partial(_inverted, expansion), channels, widths(own), count, stride))
        channels = widths(own)
    return BackboneSpec(arch, stem, tuple(stages), head=partial(_head, last), feature_width=lambda _: last)


def _multiplier(arch: str) -> float | None:
    match = _NAME.fullmatch(arch)
    assert match is not None
    return None if match[1] is None else float(match[1])


def _inverted(expansion: int, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    return InvertedResidual(in_channels, out_channels, stride, expanded=expansion * in_channels)


def _head(features: int, channels: int) -> nn.Module:
    return nn.Sequential(conv_bn_act(channels, features, 1, act=relu6), GlobalPool())
