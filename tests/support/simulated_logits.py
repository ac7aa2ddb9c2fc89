"""Logits of exits that behave like a real network's: images of unequal difficulty, exits that err on the same ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def simulate(
    images: int,
    seed: int,
    margins: Sequence[float] = (4.2, 4.8, 5.4),
    alike: float = 0.85,
    classes: int = 10,
    sharpness: float = 2.0,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return logits (images, exits, classes) on a grid of 1/8, as int8 files give them, and labels (images,).

    ``margins``: how strong each exit is. ``alike``: the correlation of one exit's noise with the one before.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    difficulty = rng.gamma(1.2, 2.2 / 1.2, images)
    noise = rng.normal(size=(images, classes))
    logits = np.empty((images, len(margins), classes), dtype=np.float32)
    for place, margin in enumerate(margins):
        if place:
            noise = alike * noise + np.sqrt(1 - alike**2) * rng.normal(size=(images, classes))
        values = noise.copy()
        values[np.arange(images), labels] += margin - difficulty
        logits[:, place] = np.round(values * sharpness * 8) / 8
    return logits, labels
