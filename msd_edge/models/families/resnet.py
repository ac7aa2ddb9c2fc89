"""ResNets (He et al. 2016, arXiv 1512.03385): the CIFAR family of depth 6n+2, and ResNet-10/18/34/50."""

from functools import partial

from torch import nn

from msd_edge.models.blocks import BasicBlock, Bottleneck, conv_bn
from msd_edge.models.network import BackboneSpec, BlockSpec, GlobalPool

_IMAGENET_DEPTHS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    10: (BasicBlock, (1, 1, 1, 1)),
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}
_DEEPEST = 1202
# Those of the papers; any depth of 6n+2 can be built.
ARCHS = tuple(f"resnet{depth}" for depth in sorted((8, 14, 20, 26, 32, 38, 44, 56, 110, *_IMAGENET_DEPTHS)))


def has_arch(arch: str) -> bool:
    """Return whether this names a ResNet of a depth that exists."""
    depth = arch.removeprefix("resnet")
    if not arch.startswith("resnet") or not (depth.isascii() and depth.isdigit()):
        return False
    return int(depth) in _IMAGENET_DEPTHS or (8 <= int(depth) <= _DEEPEST and int(depth) % 6 == 2)


def describe(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe a ResNet.

    Args:
        arch: ``resnetD``, D being 6n+2 for the CIFAR family (three stages, basic blocks; 50 is ResNet-50), or 10, 18,
            34, 50.
        width: channels of the first stage; None for the paper's (16 for the CIFAR family, 64 for the others).
        in_channels: of the image.
        side: the shorter side of the image; up to 64 pixels the stem keeps the resolution, up to 128 it halves it,
            beyond that it is the paper's 7x7 and pooling, a quarter.
    """
    depth = int(arch.removeprefix("resnet"))
    if depth in _IMAGENET_DEPTHS:
        block, counts = _IMAGENET_DEPTHS[depth]
        base = width or 64
        stem = _stem(in_channels, base, side)
    else:
        block, counts = BasicBlock, ((depth - 2) // 6,) * 3
        base = width or 16
        stem = BlockSpec(partial(_small_stem, in_channels, base, 1), in_channels, base)
    stages = []
    channels = base
    for place, count in enumerate(counts):
        stage = []
        for index in range(count):
            stride = 2 if place > 0 and index == 0 else 1
            stage.append(_describe_block(block, channels, base << place, stride))
            channels = stage[-1].out_channels
        stages.append(tuple(stage))
    return BackboneSpec(arch, stem, tuple(stages), head=_pool)


def _describe_block(block: type[BasicBlock] | type[Bottleneck], in_channels: int, width: int, stride: int) -> BlockSpec:
    return BlockSpec(partial(block, in_channels, width, stride), in_channels, width * block.expansion, stride)


def _stem(in_channels: int, width: int, side: int) -> BlockSpec:
    if side <= 128:
        stride = 1 if side <= 64 else 2
        return BlockSpec(partial(_small_stem, in_channels, width, stride), in_channels, width, stride)
    return BlockSpec(partial(_large_stem, in_channels, width), in_channels, width, 4)


def _small_stem(in_channels: int, width: int, stride: int) -> nn.Module:
    return nn.Sequential(conv_bn(in_channels, width, 3, stride), nn.ReLU(inplace=True))


def _large_stem(in_channels: int, width: int) -> nn.Module:
    # Zero padding before an unpadded pool equals the paper's padded pool, since what comes out of ReLU is >= 0;
    # int8 kernels take this spelling and not the other.
    pool = nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2))
    return nn.Sequential(conv_bn(in_channels, width, 7, 2), nn.ReLU(inplace=True), pool)


def _pool(channels: int) -> nn.Module:
    del channels
    return GlobalPool()
