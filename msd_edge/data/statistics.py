"""One mean and one standard deviation for all channels: what makes a raw int8 pixel exactly the network's input."""

import numpy as np

from msd_edge.data.dataset import ImageSet
from msd_edge.data.select import lowest_hashes

_MOST_IMAGES = 10_000
_PIECE = 500


def pixel_statistics(split: ImageSet) -> tuple[int, float]:
    """Return the mean, an integer, and the standard deviation over all channels of a split, in pixel units 0..255.

    At most 10,000 images are read: those with the lowest hashes, so the answer hangs on the content alone.
    The deviation is rounded to sixteenths and at least 1.
    """
    chosen = lowest_hashes(split, _MOST_IMAGES)
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(chosen), _PIECE):
        counts += np.bincount(split.read(chosen[start : start + _PIECE]).reshape(-1), minlength=256)
    values = np.arange(256)
    total = counts.sum()
    mean = float((counts * values).sum() / total)
    variance = float((counts * (values - mean) ** 2).sum() / total)
    return int(mean + 0.5), max(1.0, round(variance**0.5 * 16) / 16)
