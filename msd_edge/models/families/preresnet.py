"""Pre-activation residual networks: what goes from block to block is not activated, each exit's head does that.

- He et al. 2016, arXiv 1603.05027: ``preresnetD``.
- Zagoruyko & Komodakis 2016, arXiv 1605.07146: ``wrn-D-K``, K times as wide. Their dropout is left out.
"""

import re
from collections.abc import Sequence

from msd_edge.models.blocks import PreActBlock
from msd_edge.models.families.parts import (
    IMAGENET_COUNTS,
    has_three_stages,
    make_stage,
    norm_pool_head,
    resnet_stem,
)
from msd_edge.models.network import BackboneSpec, BlockSpec

ARCHS = tuple(f"preresnet{depth}" for depth in (18, 20, 34, 56, 110))
WIDE_ARCHS = ("wrn-16-4", "wrn-28-10", "wrn-40-2", "wrn-40-4")

_NAMED = (18, 34)
_WIDE = re.compile(r"wrn-(\d+)-([1-9]\d?)")


def has_arch(arch: str) -> bool:
    """Return whether this names a pre-activation ResNet of a depth that exists."""
    depth = arch.removeprefix("preresnet")
    return arch.startswith("preresnet") and (depth in map(str, _NAMED) or has_three_stages(depth, 6))


def has_wide_arch(arch: str) -> bool:
    """Return whether this names a Wide ResNet of a depth that exists, 6n+4."""
    match = _WIDE.fullmatch(arch)
    return match is not None and has_three_stages(str(int(match[1]) - 2), 6)


def describe(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe a pre-activation ResNet of basic blocks.

    Args:
        arch: ``preresnetD``, D being 18, 34 (four stages) or 6n+2 (the CIFAR family, three stages).
        width: channels of the first stage; None for 64, and 16 in the CIFAR family.
        in_channels: of the image.
        side: the shorter side of the image; ``resnet_stem`` says what it does.
    """
    depth = int(arch.removeprefix("preresnet"))
    base = width or (64 if depth in _NAMED else 16)
    counts = IMAGENET_COUNTS[depth] if depth in _NAMED else ((depth - 2) // 6,) * 3
    return _describe(arch, resnet_stem(in_channels, base, side), base, counts)


def describe_wide(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe a Wide ResNet of basic blocks.

    Args:
        arch: ``wrn-D-K``, D being 6n+4 and K the factor on the widths 16, 32, 64.
        width: channels of the first stage; None for 16K.
        in_channels: of the image.
        side: the shorter side of the image; ``resnet_stem`` says what it does.
    """
    match = _WIDE.fullmatch(arch)
    assert match is not None
    base = width or 16 * int(match[2])
    stem = resnet_stem(in_channels, min(16, base), side)
    return _describe(arch, stem, base, ((int(match[1]) - 4) // 6,) * 3)


def _describe(arch: str, stem: BlockSpec, base: int, counts: Sequence[int]) -> BackboneSpec:
    stages = []
    channels = stem.out_channels
    for place, count in enumerate(counts):
        stages.append(make_stage(PreActBlock, channels, base << place, count, 2 if place else 1))
        channels = base << place
    return BackboneSpec(arch, stem, tuple(stages), head=norm_pool_head)
