"""Accuracy of every exit on a split, counted exactly."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msd_edge.data.batches import Feeder


def iterate_logits(
    network: nn.Module, feeder: Feeder, size: int, *, batch_size: int = 256, dtype: torch.dtype = torch.float32
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits (exits, batch, classes) and labels (batch,) over a whole split, in order, in evaluation mode."""
    training = network.training
    network.eval()
    try:
        for images, labels in feeder.batches(np.arange(size), batch_size):
            with torch.inference_mode(), torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
                logits = torch.stack([a.float() for a in network(images.float())])
            yield logits, labels
    finally:
        network.train(training)


def count_correct(
    network: nn.Module, feeder: Feeder, size: int, *, batch_size: int = 256, dtype: torch.dtype = torch.float32
) -> tuple[int, ...]:
    """Return how many of ``size`` images each exit classifies rightly."""
    total: Tensor | None = None
    for logits, labels in iterate_logits(network, feeder, size, batch_size=batch_size, dtype=dtype):
        right = (logits.argmax(-1) == labels).sum(-1)
        total = right if total is None else total + right
    return () if total is None else tuple(int(n) for n in total)


def collect_logits(network: nn.Module, feeder: Feeder, size: int) -> NDArray[np.float32]:
    """Return the logits of a whole split, (images, exits, classes) float32."""
    parts = [logits.transpose(0, 1).cpu().numpy() for logits, _ in iterate_logits(network, feeder, size)]
    return np.concatenate(parts)
