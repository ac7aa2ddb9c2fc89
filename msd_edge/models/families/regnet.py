"""RegNets (Radosavovic et al. 2020, arXiv 2003.13678): widths on a line, quantized; X plain, Y with channel weights.

``regnetx-200mf`` and so on; the name tells the multiply-adds for 224x224 images.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor, nn

from msd_edge.models.blocks import SqueezeExcite, conv_bn, conv_bn_act
from msd_edge.models.families.parts import conv_stem, make_stage, pool_head, scale_widths, soften_strides
from msd_edge.models.network import BackboneSpec


@dataclass(frozen=True)
class _Line:
    """The paper's d, w_0, w_a, w_m, and channels of a group."""

    depth: int
    first: int
    slope: float
    step: float
    group: int


# The authors' configurations, pycls.
_LINES = {
    "regnetx-200mf": _Line(13, 24, 36.44, 2.49, 8),
    "regnetx-400mf": _Line(22, 24, 24.48, 2.54, 16),
    "regnetx-600mf": _Line(16, 48, 36.97, 2.24, 24),
    "regnetx-800mf": _Line(16, 56, 35.73, 2.28, 16),
    "regnety-200mf": _Line(13, 24, 36.44, 2.49, 8),
    "regnety-400mf": _Line(16, 48, 27.89, 2.09, 8),
    "regnety-600mf": _Line(15, 48, 32.54, 2.32, 16),
    "regnety-800mf": _Line(14, 56, 38.84, 2.4, 16),
}
ARCHS = tuple(_LINES)
_STEM = 32


class RegNetBlock(nn.Module):
    """1x1, grouped 3x3, channel weights where asked, 1x1, and a shortcut; all of one width.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        stride: of the 3x3.
        groups: of the 3x3.
        squeezed: channels between the two layers of the squeeze-and-excitation; 0 leaves it out.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = conv_bn_act(in_channels, out_channels, 1)
        self.middle = conv_bn_act(out_channels, out_channels, 3, stride, groups)
        self.excite = SqueezeExcite(out_channels, squeezed) if squeezed else nn.Identity()
        self.expand = conv_bn(out_channels, out_channels, 1)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else conv_bn(in_channels, out_channels, 1, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, H, W) to (batch, out_channels, H / stride, W / stride)."""
        y = self.expand(self.excite(self.middle(self.reduce(x))))
        out: Tensor = self.relu(y + self.shortcut(x))
        return out


def describe(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe a RegNet of four stages.

    Args:
        arch: ``regnetx-…`` or ``regnety-…``.
        width: channels of the first stage, and all widths follow; None for the paper's.
        in_channels: of the image.
        side: the shorter side of the image; ``soften_strides`` says what it does.
    """
    line = _LINES[arch]
    own = _stages(line)
    if width is None:
        stem_width, table = _STEM, own
    else:
        widths = scale_widths(arch, width, own[0][0])
        stem_width, table = widths(_STEM), [(widths(channels), count) for channels, count in own]
    first, *strides = soften_strides((2, 2, 2, 2, 2), side)
    stem = conv_stem(in_channels, stem_width, first)
    stages = []
    channels = stem.out_channels
    make = partial(_block, line.group, arch.startswith("regnety"))
    for (out_channels, count), stride in zip(table, strides, strict=True):
        stages.append(make_stage(make, channels, out_channels, count, stride))
        channels = out_channels
    return BackboneSpec(arch, stem, tuple(stages), head=pool_head)


def _stages(line: _Line) -> list[tuple[int, int]]:
    """Return width and blocks of each stage: equations 2 to 4 of the paper, then widths that groups divide."""
    along = line.first + line.slope * np.arange(line.depth)
    powers = np.round(np.log(along / line.first) / np.log(line.step))
    widths = np.round(line.first * line.step**powers / 8) * 8
    found, counts = np.unique(widths, return_counts=True)
    rounded = [max(line.group, round(width / line.group) * line.group) for width in found.tolist()]
    return [(int(width), int(count)) for width, count in zip(rounded, counts, strict=True)]


def _block(group: int, excites: bool, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    # Scaled widths need not be a multiple of the paper's groups: take the widest group that divides them.
    channels = max(size for size in range(1, min(group, out_channels) + 1) if out_channels % size == 0)
    squeezed = max(1, round(in_channels / 4)) if excites else 0
    return RegNetBlock(in_channels, out_channels, stride, out_channels // channels, squeezed)
