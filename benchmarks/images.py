"""How images reach another process: by a file that is mapped, not copied."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msd_edge.data.dataset import ImageSet

_PIECE = 256


def store_images(split: ImageSet, places: NDArray[np.int64], shape: tuple[int, int, int], path: Path) -> None:
    """Write images into a ``.npy`` file, (images, H, W, C) uint8, in pieces.

    Args:
        split: where they come from.
        places: which, in this order.
        shape: (H, W, C).
        path: the file.
    """
    target = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(places), *shape))
    for start in range(0, len(places), _PIECE):
        target[start : start + _PIECE] = split.read(places[start : start + _PIECE])
    target.flush()
