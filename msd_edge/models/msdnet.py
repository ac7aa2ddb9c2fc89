"""MSDNet (Huang et al. 2018, arXiv 1703.09844): several scales at once, dense connections, classifiers of its own.

Scale 1 is the finest; scale s has half its height and width and ``growth_factors[s]`` times its channels. Every layer
appends to the feature maps of each scale what it computes from that scale and from the next finer one. Classifiers
leave from the coarsest scale. Once no classifier needs a fine scale any more it is dropped (``prune``), and the others
are reduced by a 1x1 convolution.

Sizes follow the authors' code for CIFAR; what the paper leaves open (convolution, BatchNorm, ReLU in this order) too.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from msd_edge.models.blocks import conv_bn
from msd_edge.models.network import Branch, GlobalPool, MultiExitNetwork, Normalize, Stack, State
from msd_edge.typed import Model

ARCH = "msdnet"
_CLASSIFIER_WIDTH = 128
_SMALL = 64


class MsdnetOptions(Model):
    """The settings of an MSDNet.

    Attributes:
        scales: how many.
        base: layers before the first classifier.
        step: layers between two classifiers (even), or what their number grows by (linear).
        step_mode: even: every block has ``step`` layers; linear: block i (from 0) has ``step * i + 1``.
        channels: of the finest scale after the first layer.
        growth: channels that a layer adds to the finest scale.
        growth_factors: of channels and growth, per scale.
        bottleneck: a 1x1 convolution before every 3x3 one.
        bottleneck_factors: its width in outputs of the layer, per scale.
        prune: max: drop a scale as soon as the remaining layers are a share for the others; min: as late as possible.
        reduction: what a transition leaves of the channels.
    """

    scales: Annotated[int, Field(ge=1, le=6)] = 3
    base: Annotated[int, Field(ge=1, le=100)] = 4
    step: Annotated[int, Field(ge=1, le=100)] = 2
    step_mode: Literal["even", "linear"] = "even"
    channels: Annotated[int, Field(ge=1, le=1024)] = 16
    growth: Annotated[int, Field(ge=2, le=1024)] = 6
    growth_factors: tuple[Annotated[int, Field(ge=1, le=64)], ...] = (1, 2, 4, 4, 4, 4)
    bottleneck: bool = True
    bottleneck_factors: tuple[Annotated[int, Field(ge=1, le=64)], ...] = (1, 2, 4, 4, 4, 4)
    prune: Literal["max", "min"] = "max"
    reduction: Annotated[float, Field(gt=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _factors_reach(self) -> Self:
        if min(len(self.growth_factors), len(self.bottleneck_factors)) < self.scales:
            raise ValueError(f"{self.scales} scales need as many growth_factors and bottleneck_factors")
        return self

    def layers(self, exits: int) -> tuple[int, ...]:
        """Return how many layers each of ``exits`` blocks has, the first layer of all, from the image, not counted."""
        later = [self.step if self.step_mode == "even" else self.step * i + 1 for i in range(1, exits)]
        return (self.base, *later)


def build_msdnet(
    options: MsdnetOptions, exits: int, classes: int, normalize: Normalize, image_shape: tuple[int, int, int]
) -> MultiExitNetwork:
    """Build an MSDNet with ``exits`` classifiers.

    Args:
        options: its settings.
        exits: how many classifiers, one a block.
        classes: number of classes.
        normalize: raw pixels to the trunk's input.
        image_shape: (channels, height, width); above 64 pixels the first layer is the ImageNet one, a quarter.
    """
    counts = options.layers(exits)
    total = sum(counts)
    factors = options.growth_factors
    trunk: list[nn.Module] = []
    branches = []
    width = options.channels  # of a scale whose factor is 1
    number = 0
    for block, count in enumerate(counts):
        layers: list[nn.Module] = []
        if block == 0:
            layers.append(FirstLayer(options, image_shape))
        for _ in range(count):
            number += 1
            taken, given = _scales_in(options, number, total), _scales_out(options, number, total)
            layers.append(Layer(options, width, taken, given))
            width += options.growth
            if _has_transition(options, number, total):
                reduced = max(1, math.floor(options.reduction * width))
                kept = factors[options.scales - given : options.scales]
                layers.append(Transition([(width * f, reduced * f) for f in kept]))
                width = reduced
        trunk.append(Stack(*layers))
        branches.append(_classifier(width * factors[options.scales - 1], classes))
    places = [f"block {index}" for index in range(1, exits + 1)]
    return MultiExitNetwork(normalize, trunk, branches, places, image_shape)


class FirstLayer(nn.Module):
    """From the image to the feature maps of every scale, each made from the next finer one."""

    def __init__(self, options: MsdnetOptions, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        factors = options.growth_factors
        in_channels, height, width = image_shape
        channels = options.channels * factors[0]
        finest: list[nn.Module] = [conv_bn(in_channels, channels, 3), nn.ReLU(inplace=True)]
        if min(height, width) > _SMALL:
            # A zero pad before an unpadded pool equals a padded one behind ReLU.
            pool = [nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)]
            finest = [conv_bn(in_channels, channels, 7, 2), nn.ReLU(inplace=True), *pool]
        self.scales = nn.ModuleList([nn.Sequential(*finest)])
        for scale in range(1, options.scales):
            wider = options.channels * factors[scale]
            self.scales.append(nn.Sequential(conv_bn(channels, wider, 3, 2), nn.ReLU(inplace=True)))
            channels = wider

    def forward(self, x: Tensor) -> State:
        """Map (batch, channels, H, W) to one feature map a scale, fine to coarse."""
        found = []
        for scale in self.scales:
            x = scale(x)
            found.append(x)
        return tuple(found)


class Layer(nn.Module):
    """One layer: to each scale it appends what it makes of that scale and of the next finer one (paper, fig. 2).

    It takes ``taken`` scales, the coarsest ones, and gives ``given``: where that is one less, the finest is dropped.
    """

    def __init__(self, options: MsdnetOptions, width: int, taken: int, given: int) -> None:
        super().__init__()
        self.dropped = taken - given
        self.down = nn.ModuleList()
        self.normal = nn.ModuleList()
        for place in range(given):
            scale = options.scales - given + place
            factor = options.growth_factors[scale]
            wide = options.bottleneck_factors[scale] if options.bottleneck else None
            grown = options.growth * factor
            if place == 0 and not self.dropped:
                self.down.append(nn.Identity())
                self.normal.append(_convolution(width * factor, grown, 1, wide))
                continue
            finer = options.growth_factors[scale - 1]
            half = grown // 2
            wide_down = options.bottleneck_factors[scale - 1] if options.bottleneck else None
            self.down.append(_convolution(width * finer, half, 2, wide_down))
            self.normal.append(_convolution(width * factor, grown - half, 1, wide))

    def forward(self, *state: Tensor) -> State:
        """Map one feature map a scale to one a scale that stays, each wider by its growth."""
        found = []
        for place, (down, normal) in enumerate(zip(self.down, self.normal, strict=True)):
            here = place + self.dropped
            x = state[here]
            new = [x, normal(x)] if here == 0 else [x, down(state[here - 1]), normal(x)]
            found.append(torch.cat(new, 1))
        return tuple(found)


class Transition(nn.Module):
    """A 1x1 convolution on every scale that narrows it, by widths (in, out)."""

    def __init__(self, widths: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(nn.Sequential(conv_bn(a, b, 1), nn.ReLU(inplace=True)) for a, b in widths)

    def forward(self, *state: Tensor) -> State:
        """Narrow each scale."""
        return tuple(scale(x) for scale, x in zip(self.scales, state, strict=True))


def _convolution(in_channels: int, out_channels: int, stride: int, wide: int | None) -> nn.Sequential:
    layers: list[nn.Module] = []
    if wide is not None:
        inner = min(wide * out_channels, in_channels)
        layers += [conv_bn(in_channels, inner, 1), nn.ReLU(inplace=True)]
        in_channels = inner
    layers += [conv_bn(in_channels, out_channels, 3, stride), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _classifier(channels: int, classes: int) -> Branch:
    """Two strided 3x3 convolutions, average, linear (paper, section 4)."""
    blocks = nn.Sequential(
        conv_bn(channels, _CLASSIFIER_WIDTH, 3, 2),
        nn.ReLU(inplace=True),
        conv_bn(_CLASSIFIER_WIDTH, _CLASSIFIER_WIDTH, 3, 2),
        nn.ReLU(inplace=True),
    )
    return Branch(blocks, GlobalPool(), _CLASSIFIER_WIDTH, classes)


def _scales_out(options: MsdnetOptions, layer: int, total: int) -> int:
    """Return how many scales layer ``layer`` (1-based) of ``total`` gives."""
    if options.prune == "max":
        return options.scales - (layer - 1) // math.ceil(total / options.scales)
    return min(options.scales, total - layer + 1)


def _scales_in(options: MsdnetOptions, layer: int, total: int) -> int:
    """Return how many scales layer ``layer`` takes: what the one before gives."""
    return options.scales if layer == 1 else _scales_out(options, layer - 1, total)


def _has_transition(options: MsdnetOptions, layer: int, total: int) -> bool:
    """Tell whether layer ``layer`` ends with a transition: where it drops a scale, or after a third and two thirds."""
    if options.reduction >= 1:
        return False
    if options.prune == "max":
        return _scales_in(options, layer, total) > _scales_out(options, layer, total)
    return layer in (total // 3, 2 * total // 3)
