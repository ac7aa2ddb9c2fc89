"""Which images an export measures on: training images for activation ranges, calibration images for the proof."""

import numpy as np

from msd_edge.data.dataset import Images, ImageSet, Labels
from msd_edge.data.select import select_images
from msd_edge.errors import DataError

_FEWEST_ACTIVATIONS = 16


def choose_activations(train: ImageSet, count: int, source: str) -> Images:
    """Choose different training images for activation ranges, with the classes' shares kept.

    Raises:
        DataError: the training split holds too few different images.
    """
    _, distinct = np.unique(np.array(train.hashes), return_index=True)
    distinct.sort()
    if len(distinct) < _FEWEST_ACTIVATIONS:
        raise DataError(
            f"{source}: {len(distinct)} different training images are too few for activation ranges "
            f"(at least {_FEWEST_ACTIVATIONS})."
        )
    chosen = distinct[select_images(train.labels[distinct], count)]
    return train.read(chosen)


def choose_proof(calibration: ImageSet, count: int) -> tuple[Images, Labels]:
    """Choose images of the calibration split, with the classes' shares kept."""
    places = select_images(calibration.labels, count)
    return calibration.read(places), calibration.labels[places]
