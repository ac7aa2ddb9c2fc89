"""What a data set is once it is here: classes and three disjoint splits of raw uint8 images."""

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


class ImageSet(Protocol):
    """A split: labelled images of one size, in memory or on disk."""

    @property
    def labels(self) -> Labels:
        """Labels (images,), int64, in 0..classes-1."""
        ...

    @property
    def hashes(self) -> tuple[str, ...]:
        """The SHA-256 of each image's content, as 64 hexadecimal characters."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether ``read`` is a mere copy."""
        ...

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def read(self, indices: NDArray[np.int64]) -> Images:
        """Return raw images (len(indices), H, W, C), uint8."""
        ...


@dataclass(frozen=True)
class MemorySet:
    """A split held in memory. ``images``: (images, H, W, C) uint8."""

    images: Images
    labels: Labels
    hashes: tuple[str, ...]
    in_memory: bool = True

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def read(self, indices: NDArray[np.int64]) -> Images:
        """Return raw images (len(indices), H, W, C), uint8."""
        return self.images[indices]

    def select(self, indices: NDArray[np.int64]) -> "MemorySet":
        """Return the split of these images, in this order."""
        hashes = tuple(self.hashes[i] for i in indices.tolist())
        return MemorySet(self.images[indices], self.labels[indices], hashes)


def hold(images: Images, labels: NDArray[np.integer[Any]]) -> MemorySet:
    """Return a split in memory of images (images, H, W, C) uint8 and labels (images,), each image hashed."""
    images = np.ascontiguousarray(images)
    return MemorySet(images, labels.astype(np.int64), tuple(hash_image(image) for image in images))


def hash_image(image: Images) -> str:
    """Return the SHA-256 of one image's shape and pixels, in hexadecimal."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def hash_split(split: ImageSet) -> str:
    """Return a SHA-256 that names a split by its images and labels, whatever their order."""
    pairs = sorted(f"{digest}:{label}" for digest, label in zip(split.hashes, split.labels.tolist(), strict=True))
    return hashlib.sha256("\n".join(pairs).encode()).hexdigest()


@dataclass(frozen=True)
class Dataset:
    """Classes and three splits that share no image.

    Attributes:
        name: how the user named it (``digits``, ``cifar10``, a path).
        classes: names, in the order of the labels.
        image_shape: (height, width, channels) of every image; channels is 1 or 3.
        train: what weights and activation ranges learn from.
        calibration: cut from the training images; validation, temperatures, thresholds.
        test: touched by ``eval`` and ``bench`` only.
        notes: sentences the user should read ("12 training images that are test images too were left out").
    """

    name: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train: ImageSet
    calibration: ImageSet
    test: ImageSet
    notes: tuple[str, ...] = ()
