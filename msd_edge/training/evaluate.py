"""Accuracy of every exit on a split, counted exactly."""

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msd_edge.data.batches import Feeder
from msd_edge.training.distributed import ALONE, World
from msd_edge.training.int8 import Int8Arithmetic


def iterate_logits(
    network: nn.Module,
    feeder: Feeder,
    size: int,
    *,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
    int8: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits (exits, batch, classes) and labels (batch,) over a whole split, in order, in evaluation mode.

    Where the feeder gives one process's part of each batch, these are yielded; batches of which it has none are not.

    Args:
        network: takes images (batch, C, H, W), gives logits (batch, classes) per exit.
        feeder: of the split.
        size: of the split.
        batch_size: images at once.
        dtype: number format where that is cheap.
        int8: compute as int8 files do, in float32.
    """
    training = network.training
    network.eval()
    try:
        for images, labels in feeder.batches(np.arange(size), batch_size):
            if not len(labels):
                continue
            faster = dtype != torch.float32 and not int8
            with torch.inference_mode(), torch.autocast(images.device.type, dtype, enabled=faster):
                with Int8Arithmetic() if int8 else nullcontext():
                    found = network(images.float())
                logits = torch.stack([a.float() for a in found])
            yield logits, labels
    finally:
        network.train(training)


def count_correct(
    network: nn.Module,
    feeder: Feeder,
    size: int,
    *,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
    int8: bool = False,
    world: World = ALONE,
) -> tuple[int, ...]:
    """Return how many of ``size`` images each exit classifies rightly, in all processes of ``world`` together.

    Every image is counted once. Other arguments as for ``iterate_logits``.
    """
    total: Tensor | None = None
    for logits, labels in iterate_logits(network, feeder, size, batch_size=batch_size, dtype=dtype, int8=int8):
        right = (logits.argmax(-1) == labels).sum(-1)
        total = right if total is None else total + right
    own = () if total is None else tuple(int(n) for n in total)
    exits = max(world.gather(len(own)))
    return world.add_counts(own or (0,) * exits)


def collect_logits(network: nn.Module, feeder: Feeder, size: int) -> NDArray[np.float32]:
    """Return the logits of a whole split, (images, exits, classes) float32."""
    parts = [logits.transpose(0, 1).cpu().numpy() for logits, _ in iterate_logits(network, feeder, size)]
    return np.concatenate(parts)
