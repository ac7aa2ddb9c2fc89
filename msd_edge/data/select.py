"""Choosing a part of a split: always the same, with the shares of the classes kept."""

import numpy as np
from numpy.typing import NDArray

from msd_edge.data.dataset import ImageSet

_SEED = 0


def select_images(labels: NDArray[np.int64], limit: int | None) -> NDArray[np.int64]:
    """Choose images, always the same for the same labels, with the shares of the classes kept, in a mixed order.

    Args:
        labels: (images,) classes.
        limit: how many, None for all.

    Returns:
        Their places, (chosen,). Any first part of them is a random sample of the whole.
    """
    mixed = np.random.default_rng(_SEED).permutation(len(labels))
    if limit is None or limit >= len(labels):
        return mixed
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * (limit / len(labels))
    quotas = np.floor(exact).astype(np.int64)
    # What rounding down left over goes to the largest remainders; equal ones in the order of the classes.
    for place in np.argsort(-(exact - quotas), kind="stable")[: limit - int(quotas.sum())]:
        quotas[place] += 1
    left = dict(zip(classes.tolist(), quotas.tolist(), strict=True))
    chosen = []
    for index in mixed.tolist():
        label = int(labels[index])
        if left[label] > 0:
            left[label] -= 1
            chosen.append(index)
    return np.array(chosen, dtype=np.int64)


def lowest_hashes(split: ImageSet, limit: int) -> NDArray[np.int64]:
    """Return the places of ``limit`` images at most, those with the lowest hashes: it hangs on content alone."""
    return np.argsort(np.array(split.hashes), kind="stable")[:limit].astype(np.int64)
