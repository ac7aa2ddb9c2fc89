"""VGG with BatchNorm (Simonyan & Zisserman 2014, arXiv 1409.1556).

Departures: one linear layer on the mean over height and width instead of three on the flattened map, which held nine
tenths of the weights; the last pooling is that mean. Each of the other poolings stands at the head of the stage behind
it, so that a branch's block, the first of its stage, has it.
"""

from functools import partial

from torch import nn

from msd_edge.models.blocks import conv_bn_act
from msd_edge.models.families.parts import make_stage, pool_head, scale_widths
from msd_edge.models.network import BackboneSpec, BlockSpec

_COUNTS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
ARCHS = tuple(f"vgg{depth}" for depth in _COUNTS)
_WIDTHS = (64, 128, 256, 512, 512)


def describe(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe a VGG: the first convolution is the stem, five stages with a pooling between each two.

    Args:
        arch: ``vgg11``, 13, 16 or 19.
        width: channels of the first stage; None for 64.
        in_channels: of the image.
        side: the shorter side of the image; at least 16. The poolings are the same for all sizes: these networks take
            the last map down to 2x2 for images of 32 pixels, and are costly beyond.
    """
    del side
    widths = scale_widths(arch, width, 64)
    counts = _COUNTS[int(arch.removeprefix("vgg"))]
    channels = widths(64)
    stem = BlockSpec(partial(conv_bn_act, in_channels, channels, 3), in_channels, channels)
    stages = []
    for place, (count, own) in enumerate(zip(counts, _WIDTHS, strict=True)):
        more = count if place else count - 1
        if more:
            stages.append(make_stage(_block, channels, widths(own), more, 2 if place else 1))
        channels = widths(own)
    return BackboneSpec(arch, stem, tuple(stages), head=pool_head)


def _block(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    conv = conv_bn_act(in_channels, out_channels, 3)
    return conv if stride == 1 else nn.Sequential(nn.MaxPool2d(stride), conv)
