"""Three splits that share no image: train, calibration, test, told apart by content.

A cut depends on the seed and on what the images show, never on the order in which they were found.
"""

import hashlib
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import Dataset, ImageSet
from msd_edge.errors import DataError


class Pool(ImageSet, Protocol):
    """Images that can be divided."""

    def select(self, indices: NDArray[np.int64]) -> Self:
        """Return the images at ``indices``, in this order."""
        ...


@dataclass(frozen=True)
class Source:
    """What a loader found.

    Attributes:
        name: for messages and for ``Dataset.name``.
        classes: names, in the order of the labels.
        image_shape: (height, width, channels).
        train: all images that are not test images.
        test: the source's own test split; None: it has none, one is to be cut.
        notes: sentences for the user.
    """

    name: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train: Pool
    test: Pool | None
    notes: tuple[str, ...] = ()


def split_source(source: Source, config: DataConfig) -> Dataset:
    """Divide what a loader found into train, calibration and test.

    The test split stays as it is; training images that it holds too are left out of training. Equal images all go to
    the same side of a cut; an image that carries different labels always trains.

    Raises:
        DataError: a split would be empty, a class has too few images, or train and test are the same images.
    """
    train, test, notes = source.train, source.test, list(source.notes)
    if len(train) == 0 or (test is not None and len(test) == 0):
        raise DataError(f"{source.name}: the {'training' if len(train) == 0 else 'test'} split has no images.")
    if test is None:
        kept, taken = cut(train, config.test_share, config.seed, "test", source)
        train, test = train.select(kept), train.select(taken)
    else:
        train = _leave_out(train, test, source.name, notes)
    kept, taken = cut(train, config.calibration_share, config.seed, "calibration", source)
    return Dataset(
        source.name,
        source.classes,
        source.image_shape,
        train.select(kept),
        train.select(taken),
        test,
        tuple(notes),
    )


def cut(
    images: ImageSet, share: float, seed: int, side: str, source: Source
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut ``share`` of the distinct images of every class off.

    Args:
        images: to be divided; equal ones are never parted.
        share: of each class, above 0 and below 1; at least one image stays and one goes.
        seed: with ``side`` and the images' hashes, all that the choice hangs on.
        side: ``calibration`` or ``test``.
        source: has the classes, and a name for messages.

    Returns:
        The indices that stay and those cut off, both ascending.

    Raises:
        DataError: a class has too few distinct images; it is named.
    """
    labels = images.labels
    names, place = np.unique(np.array(images.hashes), return_inverse=True)
    lowest, highest = np.full(len(names), len(source.classes)), np.full(len(names), -1)
    np.minimum.at(lowest, place, labels)
    np.maximum.at(highest, place, labels)
    clear = lowest == highest
    disputed = np.zeros(len(source.classes), dtype=np.int64)
    pairs = np.unique(np.stack([place, labels]), axis=1) if not clear.all() else np.empty((2, 0), dtype=np.int64)
    np.add.at(disputed, pairs[1][~clear[pairs[0]]], 1)

    ranks = np.argsort([hashlib.sha256(f"{side}:{seed}:{name}".encode()).digest() for name in names.tolist()])
    by_class = lowest[ranks]
    goes = np.zeros(len(names), dtype=bool)
    for label, name in enumerate(source.classes):
        own = ranks[(by_class == label) & clear[ranks]]
        total = len(own) + int(disputed[label])
        most = len(own) if disputed[label] else len(own) - 1
        if most < 1:
            raise DataError(_too_few(source.name, name, total, int(disputed[label]), side))
        goes[own[: min(max(1, int(share * total + 0.5)), most)]] = True
    taken = goes[place]
    return np.flatnonzero(~taken).astype(np.int64), np.flatnonzero(taken).astype(np.int64)


def _too_few(where: str, name: str, total: int, disputed: int, side: str) -> str:
    if disputed:
        return f"{where}: every image of class {name!r} carries another label too; {side} images need one clear label."
    found = "no training image" if total == 0 else "one distinct training image"
    return f"{where}: class {name!r} has {found}, and training and {side} take one each at least; add images."


def _leave_out(train: Pool, test: Pool, where: str, notes: list[str]) -> Pool:
    """Drop the training images that are test images too."""
    known = set(test.hashes)
    kept = np.array([i for i, digest in enumerate(train.hashes) if digest not in known], dtype=np.int64)
    left_out = len(train) - len(kept)
    if len(kept) == 0:
        raise DataError(
            f"{where}: every training image is a test image too; give different images for training and for testing."
        )
    if left_out == 0:
        return train
    images = (
        "1 training image that is a test image too was"
        if left_out == 1
        else (f"{left_out:,} training images that are test images too were")
    )
    notes.append(f"{images} left out of training.")
    return train.select(kept)
