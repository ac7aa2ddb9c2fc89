"""Multi-exit networks: a trunk cut at its exits, a branch at each cut.

    images ─ normalize ─ trunk 1 ─┬─ trunk 2 ─┬─ … ─ trunk N ─ head
                                  └ branch 1  └ branch 2

The last "branch" is the network's own head. Everything a backbone must tell is in ``BackboneSpec``.

What one piece of the trunk hands to the next is a tuple of feature maps, one for most networks, one a scale for MSDNet;
the branch takes the last of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class BlockSpec:
    """One block of a stage: how to build it anew (the trunk and every sampled branch get their own), and its width.

    ``stride``: by how much it shrinks height and width. ``between``: builds the same block between other widths, given
    (in_channels, out_channels); a stage whose width grows from block to block must have it, so that a branch can let
    one block stand for several.
    """

    build: Callable[[], nn.Module]
    in_channels: int
    out_channels: int
    stride: int = 1
    between: Callable[[int, int], nn.Module] | None = None


@dataclass(frozen=True)
class BackboneSpec:
    """A single-classifier CNN as stem + stages of blocks + head.

    Invariants: stages are not empty; block i's ``out_channels`` is block i+1's ``in_channels``; ``head(channels)``
    builds the module between the last feature map (batch, channels, H, W) and the last linear layer; it returns
    pooled features (batch, features) and must not change their number with H and W. ``names``: what blocks are called
    where they have names, to (stage, block), both from 1; (0, 0) is the stem. ``lost``: a sentence that names what the
    original does in training and this does not; empty if there is nothing.
    """

    name: str
    stem: BlockSpec
    stages: tuple[tuple[BlockSpec, ...], ...]
    head: Callable[[int], nn.Module]
    feature_width: Callable[[int], int] = field(default=lambda channels: channels)
    names: dict[str, tuple[int, int]] = field(default_factory=dict)
    lost: str = ""


class GlobalPool(nn.Module):
    """Average over height and width: (batch, channels, H, W) to (batch, channels)."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of each channel."""
        return torch.flatten(self.pool(x), 1)


class Normalize(nn.Module):
    """Raw pixels 0..255 to (x - mean) / std; mean and std in pixel units, one value or one per channel.

    Attributes:
        mean: (1, M, 1, 1), M being 1 or the number of channels.
        inverse_std: the same shape, 1 / std.
    """

    mean: Tensor
    inverse_std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        shape = (1, len(mean), 1, 1)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(shape), persistent=False)
        self.register_buffer(
            "inverse_std", torch.tensor([1 / s for s in std], dtype=torch.float32).reshape(shape), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (batch, channels, H, W)."""
        return (x - self.mean) * self.inverse_std


class Branch(nn.Module):
    """From a trunk feature map to one exit's logits: blocks, then pooled features, then one linear layer."""

    def __init__(self, blocks: nn.Module, pool: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.pool = pool
        self.classifier = nn.Linear(features, classes)

    def features(self, x: Tensor) -> Tensor:
        """Return what enters the last linear layer: (batch, features)."""
        pooled: Tensor = self.pool(self.blocks(x))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes)."""
        logits: Tensor = self.classifier(self.features(x))
        return logits


State = tuple[Tensor, ...]


def advance(piece: nn.Module, state: State) -> State:
    """Run a piece of the trunk on what the one before handed on; a single tensor counts as a tuple of one."""
    out = piece(*state)
    return out if isinstance(out, tuple) else (out,)


class Stack(nn.Sequential):
    """Modules one after the other that hand a tuple of feature maps on."""

    def forward(self, *state: Tensor) -> State:
        """Run one layer after the other."""
        for layer in self:
            state = advance(layer, state)
        return state


class _ScaleGradient(torch.autograd.Function):
    """The same values; the gradient times a factor."""

    @staticmethod
    def forward(context: Any, x: Tensor, factor: float) -> Tensor:
        context.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * context.factor, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Return the same values; what comes back as gradient is multiplied by ``factor``."""
    scaled: Tensor = _ScaleGradient.apply(x, factor)
    return scaled


class MultiExitNetwork(nn.Module):
    """A network with N exits, ordered from early to late.

    Attributes:
        normalize: raw pixels to the trunk's input.
        trunk: N pieces; piece k takes the feature maps that piece k-1 gives, and returns a tensor or a tuple of them.
        branches: N branches; branch k takes the last of piece k's feature maps.
        places: where each exit leaves, as text ("1:1": stage 1, block 1).
        image_shape: (channels, height, width) it was built for.
        equilibrium: whether gradients are weighed where a branch leaves: exit k's by 1 / (N-k+1), those of the exits
            behind it by (N-k) / (N-k+1), so that the trunk's do not grow with the number of exits (gradient
            equilibrium, Li et al. 2019, arXiv 1908.06294). Training only; values are the same.
        lost: as in ``BackboneSpec``; what is trained already is none the worse for it.
    """

    def __init__(
        self,
        normalize: Normalize,
        trunk: Sequence[nn.Module],
        branches: Sequence[Branch],
        places: Sequence[str],
        image_shape: tuple[int, int, int],
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.trunk = nn.ModuleList(trunk)
        self.branches = nn.ModuleList(branches)
        self.places = tuple(places)
        self.image_shape = image_shape
        self.equilibrium = False
        self.lost = ""

    @property
    def exits(self) -> int:
        """The number of exits."""
        return len(self.branches)

    def forward_features(self, images: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Run the whole network.

        Args:
            images: raw pixel values 0..255 as floats, NCHW.

        Returns:
            The logits (batch, classes) of every exit, and the pooled features (batch, features) behind them.
        """
        state: State = (self.normalize(images),)
        logits, features = [], []
        for left, (piece, branch) in zip(
            range(self.exits, 0, -1), zip(self.trunk, self.branches, strict=True), strict=True
        ):
            assert isinstance(branch, Branch)
            state = advance(piece, state)
            if self.equilibrium and left > 1:
                shared = scale_gradient(state[-1], 1 / left)
                state = (*state[:-1], shared)
            pooled = branch.features(state[-1])
            logits.append(branch.classifier(pooled))
            features.append(pooled)
            if self.equilibrium and left > 1:
                state = (*state[:-1], scale_gradient(state[-1], left - 1))
        return tuple(logits), tuple(features)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (batch, classes) of every exit for raw pixel values 0..255, NCHW."""
        return self.forward_features(images)[0]
