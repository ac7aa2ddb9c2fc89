"""Building blocks that backbones share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Activation = Callable[[], nn.Module]


def relu() -> nn.Module:
    """Return a ReLU that works in place."""
    return nn.ReLU(inplace=True)


def relu6() -> nn.Module:
    """Return a ReLU6 that works in place."""
    return nn.ReLU6(inplace=True)


def conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a bias-free convolution with symmetric padding, then BatchNorm: it folds into one operator at export."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def conv_bn_act(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1, act: Activation = relu
) -> nn.Sequential:
    """Return ``conv_bn`` and an activation."""
    return nn.Sequential(conv_bn(in_channels, out_channels, kernel, stride, groups), act())


def separable(in_channels: int, out_channels: int, stride: int, act: Activation = relu) -> nn.Sequential:
    """Return a depthwise-separable convolution (Howard et al. 2017, arXiv 1704.04861)."""
    depthwise = nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False)
    pointwise = conv_bn(in_channels, out_channels, 1)
    return nn.Sequential(depthwise, nn.BatchNorm2d(in_channels), act(), pointwise, act())


def separable_pair(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Return two depthwise-separable convolutions, the first with ``stride``."""
    return nn.Sequential(separable(in_channels, out_channels, stride), separable(out_channels, out_channels, 1))


class SqueezeExcite(nn.Module):
    """A weight per channel from the mean of every channel (Hu et al. 2018, arXiv 1709.01507).

    Args:
        channels: in and out.
        squeezed: width in between.
        act: after the first layer.
        gate: after the second; it gives the weights.
    """

    def __init__(self, channels: int, squeezed: int, act: Activation = relu, gate: Activation = nn.Sigmoid) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.act = act()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        """Scale (batch, channels, H, W)."""
        out: Tensor = x * self.gate(self.expand(self.act(self.reduce(self.pool(x)))))
        return out


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, fig. 5 left); a 1x1 projection where the shape changes.

    ``squeeze``: channels between the two layers of a squeeze-and-excitation before the sum; 0 leaves it out.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1, squeeze: int = 0) -> None:
        super().__init__()
        self.first = conv_bn(in_channels, width, 3, stride)
        self.second = conv_bn(width, width, 3)
        self.excite = SqueezeExcite(width, squeeze) if squeeze else nn.Identity()
        self.shortcut = _shortcut(in_channels, width, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, H, W) to (batch, width, H / stride, W / stride)."""
        y = self.excite(self.second(self.relu(self.first(x))))
        out: Tensor = self.relu(y + self.shortcut(x))
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut (He et al. 2016, fig. 5 right); the stride sits in the 3x3.

    Args:
        in_channels: of the input; 4 * ``width`` come out.
        width: a quarter of what comes out.
        stride: of the 3x3.
        middle: channels of the 3x3; None for ``width``.
        groups: of the 3x3 (Xie et al. 2017, arXiv 1611.05431).
        squeeze: channels between the two layers of a squeeze-and-excitation before the sum; 0 leaves it out.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        *,
        middle: int | None = None,
        groups: int = 1,
        squeeze: int = 0,
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        middle = middle or width
        self.reduce = conv_bn(in_channels, middle, 1)
        self.middle = conv_bn(middle, middle, 3, stride, groups)
        self.expand = conv_bn(middle, out_channels, 1)
        self.excite = SqueezeExcite(out_channels, squeeze) if squeeze else nn.Identity()
        self.shortcut = _shortcut(in_channels, out_channels, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, H, W) to (batch, 4 * width, H / stride, W / stride)."""
        y = self.excite(self.expand(self.relu(self.middle(self.relu(self.reduce(x))))))
        out: Tensor = self.relu(y + self.shortcut(x))
        return out


class PreActBlock(nn.Module):
    """BN-ReLU-conv twice and a shortcut (He et al. 2016, arXiv 1603.05027); what comes out is not activated.

    Where the shape changes, the 1x1 projection takes the activated input, as in the authors' and the Wide ResNet code.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.first = conv_bn(in_channels, out_channels, 3, stride)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        same = stride == 1 and in_channels == out_channels
        self.project = None if same else nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, H, W) to (batch, out_channels, H / stride, W / stride)."""
        active = self.relu(self.norm(x))
        y: Tensor = self.second(self.relu(self.first(active)))
        return y + (x if self.project is None else self.project(active))


class InvertedResidual(nn.Module):
    """1x1 up, depthwise, 1x1 down, a sum where the shape stays (Sandler et al. 2018, arXiv 1801.04381).

    Args:
        in_channels: of the input.
        out_channels: of the output.
        stride: of the depthwise convolution.
        expanded: channels in between; equal to ``in_channels`` there is no 1x1 up.
        kernel: of the depthwise convolution.
        act: after the first two convolutions.
        excite: what stands before the last one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        expanded: int,
        kernel: int = 3,
        act: Activation = relu6,
        excite: nn.Module | None = None,
    ) -> None:
        super().__init__()
        same = expanded == in_channels
        self.expand = nn.Identity() if same else conv_bn_act(in_channels, expanded, 1, act=act)
        self.depthwise = conv_bn_act(expanded, expanded, kernel, stride, groups=expanded, act=act)
        self.excite = excite or nn.Identity()
        self.project = conv_bn(expanded, out_channels, 1)
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, H, W) to (batch, out_channels, H / stride, W / stride)."""
        y: Tensor = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + y if self.adds else y


class DenseLayer(nn.Module):
    """BN-ReLU-1x1, BN-ReLU-3x3, its result beside its input (Huang et al. 2017, arXiv 1608.06993, DenseNet-B).

    Args:
        in_channels: of the input.
        growth: channels that are added.
        bottleneck: channels between the two convolutions.
    """

    def __init__(self, in_channels: int, growth: int, bottleneck: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.reduce = conv_bn(in_channels, bottleneck, 1)
        self.grow = nn.Conv2d(bottleneck, growth, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, H, W) to (batch, in_channels + growth, H, W)."""
        new = self.grow(self.relu(self.reduce(self.relu(self.norm(x)))))
        return torch.cat((x, new), 1)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return conv_bn(in_channels, out_channels, 1, stride)
