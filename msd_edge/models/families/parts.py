"""What the families share: widths, strides that suit small images, stems, stages, heads."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from msd_edge.errors import ModelError
from msd_edge.models.blocks import Activation, conv_bn, conv_bn_act, relu
from msd_edge.models.network import BlockSpec, GlobalPool

# (in_channels, out_channels, stride) to a block.
Make = Callable[[int, int, int], nn.Module]

# Blocks of each stage, by depth, of the networks that were made for 224x224 images.
IMAGENET_COUNTS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


@dataclass(frozen=True)
class Widths:
    """Scales a family's own widths: times ``factor``, to the nearest multiple of ``divisor``."""

    factor: float = 1.0
    divisor: int = 8

    def __call__(self, channels: float) -> int:
        """Return the scaled width."""
        return round_channels(channels * self.factor, self.divisor)


def round_channels(channels: float, divisor: int = 8) -> int:
    """Return the nearest multiple of ``divisor``, at least one of it and never below 90 % (MobileNetV2's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def scale_widths(arch: str, width: int | None, own: int, multiplier: float | None = None) -> Widths:
    """Return how a family's widths are scaled.

    Args:
        arch: the network's name, for the message.
        width: channels that its first stage shall have, exactly; the others are multiples of what 8 and it share.
        own: channels that the family's first stage has.
        multiplier: the one in the name.

    Raises:
        ModelError: both are given.
    """
    if width is None:
        return Widths(1.0 if multiplier is None else multiplier)
    if multiplier is not None:
        raise ModelError(f"--arch {arch} --width {width}: the name has a width already; give one of the two.")
    return Widths(width / own, math.gcd(8, width))


def soften_strides(strides: Sequence[int], side: int) -> tuple[int, ...]:
    """Take strides away from the front of a network made for 224 pixels, so that small images keep resolution.

    The last feature map stays between 4 and 8 pixels wide: two of the strides become 1 for images up to 64 pixels, one
    for images up to 128.

    Args:
        strides: from the stem on, each 1 or 2.
        side: the shorter side of the image, in pixels.
    """
    spare = surplus_halvings(side)
    softened = []
    for stride in strides:
        softened.append(1 if stride == 2 and spare else stride)
        spare -= int(stride == 2 and spare > 0)
    return tuple(softened)


def surplus_halvings(side: int) -> int:
    """Return how many halvings fewer than an image of 224 pixels one of ``side`` pixels bears."""
    return 2 if side <= 64 else 1 if side <= 128 else 0


def make_stage(make: Make, in_channels: int, out_channels: int, count: int, stride: int) -> tuple[BlockSpec, ...]:
    """Describe ``count`` blocks of one width, the first with ``stride``."""
    first = describe_block(make, in_channels, out_channels, stride)
    return (first, *(describe_block(make, out_channels, out_channels, 1) for _ in range(count - 1)))


def describe_block(make: Make, in_channels: int, out_channels: int, stride: int) -> BlockSpec:
    """Describe a block that ``make`` builds."""
    return BlockSpec(partial(make, in_channels, out_channels, stride), in_channels, out_channels, stride)


def conv_stem(in_channels: int, width: int, stride: int, act: Activation = relu) -> BlockSpec:
    """Describe a stem of one 3x3 convolution."""
    build = partial(conv_bn_act, in_channels, width, 3, stride, act=act)
    return BlockSpec(build, in_channels, width, stride)


def resnet_stem(in_channels: int, width: int, side: int) -> BlockSpec:
    """Describe a ResNet's stem.

    Up to 64 pixels it keeps the resolution, up to 128 it halves it, beyond that it is the paper's 7x7 and pooling, a
    quarter.
    """
    surplus = surplus_halvings(side)
    if surplus:
        return conv_stem(in_channels, width, 1 if surplus == 2 else 2)
    return BlockSpec(partial(_large_stem, in_channels, width), in_channels, width, 4)


def _large_stem(in_channels: int, width: int) -> nn.Module:
    return nn.Sequential(conv_bn(in_channels, width, 7, 2), nn.ReLU(inplace=True), padded_max_pool())


def padded_max_pool() -> nn.Module:
    """Return a 3x3 max pooling of stride 2, to stand behind a ReLU.

    Zero padding before an unpadded pool then equals the usual padded pool, since nothing is below 0; int8 kernels take
    this spelling and not the other.
    """
    return nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2))


def pool_head(channels: int) -> nn.Module:
    """Return the head of a network that ends activated: the mean over height and width."""
    del channels
    return GlobalPool()


def norm_pool_head(channels: int) -> nn.Module:
    """Return the head of a pre-activation network: BN-ReLU, then the mean over height and width."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True), GlobalPool())


def has_three_stages(depth: str, layers: int, shortest: int = 8) -> bool:
    """Return whether a CIFAR network can be ``depth`` layers deep.

    Args:
        depth: as it stands in the name.
        layers: that one more block in each of the three stages adds; two more are stem and classifier.
        shortest: the smallest depth.
    """
    return depth.isascii() and depth.isdigit() and shortest <= int(depth) <= 1202 and (int(depth) - 2) % layers == 0
