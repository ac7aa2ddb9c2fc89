"""DenseNets with bottlenecks and compression (Huang et al. 2017, arXiv 1608.06993, DenseNet-BC).

A block is one dense layer; the first of every stage but the first one has the transition before it. In the transition
the pooling comes before the 1x1 convolution instead of behind it: both are linear and commute, so it computes the same
from a quarter of the multiplications.
"""

import re
from functools import partial

from torch import nn

from msd_edge.models.blocks import DenseLayer
from msd_edge.models.families.parts import has_three_stages, norm_pool_head, resnet_stem
from msd_edge.models.network import BackboneSpec, BlockSpec

_NAMED = {"densenet121": (32, (6, 12, 24, 16)), "densenet169": (32, (6, 12, 32, 32))}
ARCHS = (*_NAMED, "densenet-bc-100-12")

_SMALL = re.compile(r"densenet-bc-(\d+)-([1-9]\d?)")
# Channels of the bottleneck over the growth rate.
_BOTTLENECK = 4


def has_arch(arch: str) -> bool:
    """Return whether this names a DenseNet."""
    match = _SMALL.fullmatch(arch)
    return arch in _NAMED or (match is not None and has_three_stages(str(int(match[1]) - 2), 6))


def describe(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe a DenseNet.

    Args:
        arch: ``densenet121``, ``densenet169``, or ``densenet-bc-L-K``: three stages, depth L of 6n+4, growth rate K.
        width: channels of the stem, twice the growth rate; None for the paper's.
        in_channels: of the image.
        side: the shorter side of the image; ``resnet_stem`` says what it does.
    """
    match = _SMALL.fullmatch(arch)
    growth, counts = (int(match[2]), ((int(match[1]) - 4) // 6,) * 3) if match else _NAMED[arch]
    stem = resnet_stem(in_channels, width or 2 * growth, side)
    growth = max(1, width // 2) if width else growth
    stages = []
    channels = stem.out_channels
    for place, count in enumerate(counts):
        stage = [_describe_layer(channels, channels // 2 + growth if place else channels + growth, growth, bool(place))]
        for _ in range(count - 1):
            stage.append(_describe_layer(stage[-1].out_channels, stage[-1].out_channels + growth, growth, False))
        stages.append(tuple(stage))
        channels = stage[-1].out_channels
    return BackboneSpec(arch, stem, tuple(stages), head=norm_pool_head)


def _describe_layer(in_channels: int, out_channels: int, growth: int, shrinks: bool) -> BlockSpec:
    make = partial(_shrinking if shrinks else _plain, growth)
    build = partial(make, in_channels, out_channels)
    return BlockSpec(build, in_channels, out_channels, 2 if shrinks else 1, between=make)


def _plain(growth: int, in_channels: int, out_channels: int) -> nn.Module:
    return DenseLayer(in_channels, out_channels - in_channels, _BOTTLENECK * growth)


def _shrinking(growth: int, in_channels: int, out_channels: int) -> nn.Module:
    """Return a transition to ``out_channels`` less the growth rate, and a dense layer."""
    kept = out_channels - growth
    transition = nn.Sequential(
        nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True), nn.AvgPool2d(2), nn.Conv2d(in_channels, kept, 1, bias=False)
    )
    return nn.Sequential(transition, DenseLayer(kept, growth, _BOTTLENECK * growth))
