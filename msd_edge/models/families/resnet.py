"""Residual networks: plain (ResNet), in groups (ResNeXt), with a weight per channel (SE-ResNet).

- He et al. 2016, arXiv 1512.03385: ``resnetD``.
- Xie et al. 2017, arXiv 1611.05431: ``resnextD-CxWd``, C groups of W channels in the first stage.
- Hu et al. 2018, arXiv 1709.01507: ``seresnetD``.
"""

import re
from collections.abc import Sequence
from functools import partial

from torch import nn

from msd_edge.models.blocks import BasicBlock, Bottleneck
from msd_edge.models.families.parts import (
    IMAGENET_COUNTS,
    Make,
    conv_stem,
    has_three_stages,
    make_stage,
    pool_head,
    resnet_stem,
)
from msd_edge.models.network import BackboneSpec, BlockSpec

# Those of the papers; any depth of 6n+2 can be built (ResNeXt: 9n+2).
ARCHS = tuple(f"resnet{depth}" for depth in (8, 10, 14, 18, 20, 26, 32, 34, 38, 44, 50, 56, 110))
SE_ARCHS = tuple(f"seresnet{depth}" for depth in (18, 20, 34, 50, 56, 110))
NEXT_ARCHS = ("resnext29-2x64d", "resnext29-8x64d", "resnext50-32x4d")

# Depths of the networks made for 224x224; all others have three stages.
_NAMED = (10, 18, 34, 50)
_NAMED_NEXT = (50, 101)
_NEXT = re.compile(r"resnext(\d+)-([1-9]\d?)x([1-9]\d{0,2})d")
# The paper's reduction.
_REDUCTION = 16


def has_arch(arch: str) -> bool:
    """Return whether this names a ResNet of a depth that exists."""
    return arch.startswith("resnet") and _has_depth(arch.removeprefix("resnet"))


def has_se_arch(arch: str) -> bool:
    """Return whether this names an SE-ResNet of a depth that exists."""
    return arch.startswith("seresnet") and _has_depth(arch.removeprefix("seresnet"))


def has_next_arch(arch: str) -> bool:
    """Return whether this names a ResNeXt of a depth that exists."""
    match = _NEXT.fullmatch(arch)
    return match is not None and (int(match[1]) in _NAMED_NEXT or has_three_stages(match[1], 9, 11))


def describe(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe a ResNet.

    Args:
        arch: ``resnetD``, D being 6n+2 for the CIFAR family (three stages, basic blocks; 50 is ResNet-50), or 10, 18,
            34, 50.
        width: channels of the first stage; None for the paper's (16 for the CIFAR family, 64 for the others).
        in_channels: of the image.
        side: the shorter side of the image; up to 64 pixels the stem keeps the resolution, up to 128 it halves it,
            beyond that it is the paper's 7x7 and pooling, a quarter. The CIFAR family always keeps it.
    """
    depth = int(arch.removeprefix("resnet"))
    base = width or _own_width(depth)
    stem = resnet_stem(in_channels, base, side) if depth in _NAMED else conv_stem(in_channels, base, 1)
    return _describe_plain(arch, stem, depth, 0)


def describe_se(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe an SE-ResNet: see ``describe``; here the CIFAR family's stem shrinks large images, too."""
    depth = int(arch.removeprefix("seresnet"))
    stem = resnet_stem(in_channels, width or _own_width(depth), side)
    return _describe_plain(arch, stem, depth, _REDUCTION)


def describe_next(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe a ResNeXt.

    Args:
        arch: ``resnextD-CxWd``, D being 50, 101 or 9n+2 (three stages); C groups of W channels in the first stage, of
            2W in the second and so on.
        width: channels of the stem, a quarter of what the first stage gives; None for the paper's 64. The groups keep
            their number and get narrower with it, down to one channel each.
        in_channels: of the image.
        side: the shorter side of the image, as for ``describe``.
    """
    match = _NEXT.fullmatch(arch)
    assert match is not None
    depth, groups, group_width = (int(number) for number in match.groups())
    counts = IMAGENET_COUNTS[depth] if depth in _NAMED_NEXT else ((depth - 2) // 9,) * 3
    make = partial(_grouped, groups, group_width / 64)
    return _describe(arch, resnet_stem(in_channels, width or 64, side), counts, make, Bottleneck.expansion)


def _has_depth(depth: str) -> bool:
    return depth in map(str, _NAMED) or has_three_stages(depth, 6)


def _own_width(depth: int) -> int:
    return 64 if depth in _NAMED else 16


def _describe_plain(arch: str, stem: BlockSpec, depth: int, reduction: int) -> BackboneSpec:
    """``reduction``: of the squeeze-and-excitation; 0 for none."""
    if depth == 50:
        return _describe(arch, stem, IMAGENET_COUNTS[depth], partial(_bottleneck, reduction), Bottleneck.expansion)
    counts = IMAGENET_COUNTS[depth] if depth in _NAMED else ((depth - 2) // 6,) * 3
    return _describe(arch, stem, counts, partial(_basic, reduction), 1)


def _describe(arch: str, stem: BlockSpec, counts: Sequence[int], make: Make, expansion: int) -> BackboneSpec:
    """Stages of ``expansion`` times the stem's width; each after the first halves the size and doubles the width."""
    stages = []
    channels = stem.out_channels
    for place, count in enumerate(counts):
        out_channels = expansion * stem.out_channels << place
        stages.append(make_stage(make, channels, out_channels, count, 2 if place else 1))
        channels = out_channels
    return BackboneSpec(arch, stem, tuple(stages), head=pool_head)


def _basic(reduction: int, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    return BasicBlock(in_channels, out_channels, stride, _squeezed(out_channels, reduction))


def _bottleneck(reduction: int, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    squeeze = _squeezed(out_channels, reduction)
    return Bottleneck(in_channels, out_channels // Bottleneck.expansion, stride, squeeze=squeeze)


def _grouped(groups: int, ratio: float, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """``ratio``: channels of a group over a quarter of ``out_channels``."""
    width = out_channels // Bottleneck.expansion
    middle = groups * max(1, round(ratio * width))
    return Bottleneck(in_channels, width, stride, middle=middle, groups=groups)


def _squeezed(channels: int, reduction: int) -> int:
    return max(1, channels // reduction) if reduction else 0
