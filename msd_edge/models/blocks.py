"""Building blocks that backbones share."""

from torch import Tensor, nn


def conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return a bias-free convolution with symmetric padding, then BatchNorm: it folds into one operator at export."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def separable_pair(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Return two depthwise-separable convolutions (Howard et al. 2017, arXiv 1704.04861), the first with ``stride``."""
    return nn.Sequential(_separable(in_channels, out_channels, stride), _separable(out_channels, out_channels, 1))


def _separable(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    depthwise = nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False)
    return nn.Sequential(
        depthwise,
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        conv_bn(in_channels, out_channels, 1),
        nn.ReLU(inplace=True),
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, fig. 5 left); a 1x1 projection where the shape changes."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv_bn(in_channels, width, 3, stride)
        self.second = conv_bn(width, width, 3)
        self.shortcut = _shortcut(in_channels, width, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, H, W) to (batch, width, H / stride, W / stride)."""
        y = self.second(self.relu(self.first(x)))
        out: Tensor = self.relu(y + self.shortcut(x))
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut (He et al. 2016, fig. 5 right); the stride sits in the 3x3."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.reduce = conv_bn(in_channels, width, 1)
        self.middle = conv_bn(width, width, 3, stride)
        self.expand = conv_bn(width, out_channels, 1)
        self.shortcut = _shortcut(in_channels, out_channels, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, H, W) to (batch, 4 * width, H / stride, W / stride)."""
        y = self.expand(self.relu(self.middle(self.relu(self.reduce(x)))))
        out: Tensor = self.relu(y + self.shortcut(x))
        return out


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return conv_bn(in_channels, out_channels, 1, stride)
