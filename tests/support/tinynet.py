"""A multi-exit network of a few hundred numbers, computed in numpy: the reference for hand-built files.

Piece k: 2x2 convolution (stride 1, no padding), ReLU. Exit k: mean over height and width, one linear layer. The input
is not square and the kernels not symmetric, so that a wrong layout cannot pass. Raw pixels p enter as (p - 121) / 64.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MEAN, STD = 121.0, 64.0
HEIGHT, WIDTH, FEATURES = 8, 12, 4
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Piece:
    """``kernel`` (out, 2, 2, in), ``bias`` (out,), ``head`` (classes, out), ``head_bias`` (classes,)."""

    kernel: Floats
    bias: Floats
    head: Floats
    head_bias: Floats


@dataclass(frozen=True)
class Step:
    """What one piece gives for a batch: features (n, H, W, out), pooled (n, out), logits (n, classes)."""

    features: Floats
    pooled: Floats
    logits: Floats


def make_pieces(exits: int, classes: int, channels: int, seed: int = 0) -> tuple[Piece, ...]:
    """Draw a network."""
    rng = np.random.default_rng(seed)
    pieces = []
    for index in range(exits):
        taken = channels if index == 0 else FEATURES
        pieces.append(
            Piece(
                kernel=(rng.standard_normal((FEATURES, 2, 2, taken)) / np.sqrt(2 * taken)).astype(np.float32),
                bias=rng.uniform(0, 0.2, FEATURES).astype(np.float32),
                head=(rng.standard_normal((classes, FEATURES)) * 3).astype(np.float32),
                head_bias=(rng.standard_normal(classes) * 0.3).astype(np.float32),
            )
        )
    return tuple(pieces)


def make_images(count: int, channels: int, seed: int = 1) -> NDArray[np.uint8]:
    """Draw images (count, 8, 12, channels): noise over a colour, so that their classes differ."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 200, (count, 1, 1, channels))
    return (base + rng.integers(0, 56, (count, HEIGHT, WIDTH, channels))).astype(np.uint8)


def run(pieces: tuple[Piece, ...], images: NDArray[np.uint8]) -> list[Step]:
    """Compute every piece for raw images (n, H, W, C)."""
    x = (images.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)
    steps = []
    for piece in pieces:
        rows, columns = x.shape[1] - 1, x.shape[2] - 1
        y = piece.bias + sum(
            np.einsum("nhwc,oc->nhwo", x[:, i : i + rows, j : j + columns], piece.kernel[:, i, j])
            for i in range(2)
            for j in range(2)
        )
        x = np.maximum(y, 0).astype(np.float32)
        pooled = x.mean(axis=(1, 2))
        steps.append(Step(x, pooled, (pooled @ piece.head.T + piece.head_bias).astype(np.float32)))
    return steps
