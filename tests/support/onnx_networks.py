"""Tiny multi-exit networks with everything that conversion must get right: non-square images, strides, non-trivial
batch statistics, and batch normalizations that no convolution can take in."""

import numpy as np
import torch
from torch import Tensor, nn

from msd_edge.models.network import Branch, GlobalPool, MultiExitNetwork, Normalize

HEIGHT, WIDTH, CLASSES = 12, 8, 10


class Block(nn.Module):
    """A residual block with a convolution on its shortcut where shapes change."""

    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, made, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(made)
        self.conv2 = nn.Conv2d(made, made, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(made)
        self.relu = nn.ReLU(inplace=True)
        same = stride == 1 and given == made
        self.shortcut: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(given, made, 1, stride, bias=False), nn.BatchNorm2d(made))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class SpatialMean(nn.Module):
    """The other spelling of a global pool."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def residual(channels: int = 3, mean: float = 121.0, std: float = 64.0) -> MultiExitNetwork:
    """Three exits, width 8, post-activation; exit 2 pools by a mean."""
    stem = nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
    trunk = [nn.Sequential(stem, Block(8, 8, 1)), Block(8, 16, 2), Block(16, 24, 2)]
    branches = [
        Branch(Block(8, 16, 2), GlobalPool(), 16, CLASSES),
        Branch(nn.Identity(), SpatialMean(), 16, CLASSES),
        Branch(nn.Identity(), GlobalPool(), 24, CLASSES),
    ]
    return _ready(
        MultiExitNetwork(Normalize((mean,), (std,)), trunk, branches, ("a", "b", "c"), (channels, HEIGHT, WIDTH))
    )


def pre_activated() -> MultiExitNetwork:
    """Three exits behind feature maps that are not clipped; branches and pieces start with BN-ReLU; mean by channel."""

    def opening(given: int, made: int, stride: int) -> nn.Module:
        return nn.Sequential(nn.BatchNorm2d(given), nn.ReLU(), nn.Conv2d(given, made, 3, stride, 1))

    trunk = [nn.Conv2d(3, 8, 3, padding=1), opening(8, 16, 2), opening(16, 16, 1)]
    branches = [
        Branch(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(width)), GlobalPool(), width, CLASSES) for width in (8, 16, 16)
    ]
    normalize = Normalize((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    return _ready(MultiExitNetwork(normalize, trunk, branches, ("a", "b", "c"), (3, HEIGHT, WIDTH)))


def digit_images(count: int, channels: int = 3) -> np.ndarray:
    """Real handwritten digits as (count, 12, 8, channels) uint8; the channels differ."""
    from sklearn.datasets import load_digits

    grey = np.clip(load_digits().images[:count] * 16, 0, 255).astype(np.uint8)
    grey = np.pad(grey, ((0, 0), (2, 2), (0, 0)))
    return np.stack([grey, grey[:, ::-1], 255 - grey][:channels], axis=-1)


def _ready(network: MultiExitNetwork) -> MultiExitNetwork:
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, generator=generator)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2.5, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.3, generator=generator)
    return network.eval()
