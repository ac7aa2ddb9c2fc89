"""Images on disk: decoded once to be hashed and checked, then kept in memory or read again when they are needed."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import Images, Labels, MemorySet, hash_image
from msd_edge.data.resize import quiet_pillow, read_image
from msd_edge.data.splits import Pool
from msd_edge.errors import DataError


@dataclass(frozen=True)
class StreamedSet:
    """A split on disk: images are decoded and resized when they are read.

    Attributes:
        paths: one file an image.
        labels: (images,) int64.
        hashes: SHA-256 of each image's pixels as read, the same as if it were in memory.
        image_shape: (height, width, channels) of what ``read`` gives.
    """

    paths: tuple[str, ...]
    labels: Labels
    hashes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    in_memory: bool = False

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def read(self, indices: NDArray[np.int64]) -> Images:
        """Return raw images (len(indices), H, W, C), uint8.

        Raises:
            DataError: a file has gone or is damaged.
        """
        images = np.empty((len(indices), *self.image_shape), dtype=np.uint8)
        for place, index in enumerate(indices.tolist()):
            images[place] = read_image(Path(self.paths[index]), *self.image_shape)
        return images

    def select(self, indices: NDArray[np.int64]) -> "StreamedSet":
        """Return the split of these images, in this order."""
        chosen = indices.tolist()
        paths, hashes = tuple(self.paths[i] for i in chosen), tuple(self.hashes[i] for i in chosen)
        return StreamedSet(paths, self.labels[indices], hashes, self.image_shape)


def scan_images(
    root: Path,
    listed: list[list[tuple[Path, int]]],
    shape: tuple[int, int, int],
    config: DataConfig,
    notes: list[str],
) -> list[Pool]:
    """Decode every image once: to hash it, to find the unreadable ones, and to keep it where all fit in memory.

    Args:
        root: for messages.
        listed: the files of each split, with their labels.
        shape: (height, width, channels) to bring images to.
        config: has the memory limit, and whether unreadable images may be left out.
        notes: gets a sentence on images left out.

    Returns:
        A split for each of ``listed``, all in memory or all on disk.

    Raises:
        DataError: images are unreadable and may not be left out; the first ten are named.
    """
    files = [path for split in listed for path, _ in split]
    keep = len(files) * math.prod(shape) <= config.memory_gib * 2**30
    pixels = np.empty((len(files), *shape), dtype=np.uint8) if keep else None

    def scan(place: int) -> str | DataError:
        try:
            image = read_image(files[place], *shape)
        except DataError as problem:
            return problem
        if pixels is not None:
            pixels[place] = image
        return hash_image(image)

    with quiet_pillow(), ThreadPoolExecutor() as pool:
        results = list(pool.map(scan, range(len(files))))
    bad = [str(files[i]) for i, result in enumerate(results) if isinstance(result, DataError)]
    if bad:
        what = "1 image cannot be read" if len(bad) == 1 else f"{len(bad):,} images cannot be read"
        if not config.skip_bad:
            raise DataError(f"{root}: {what}: {shorten(bad)}; mend or remove them, or leave them out with --skip-bad.")
        notes.append(f"{root}: {what} and were left out: {shorten(bad)}.")

    pools: list[Pool] = []
    start = 0
    for split in listed:
        places = [i for i in range(start, start + len(split)) if isinstance(results[i], str)]
        start += len(split)
        labels = np.array([split[i - start][1] for i in places], dtype=np.int64)
        hashes = tuple(str(results[i]) for i in places)
        if pixels is not None:
            whole = len(places) == len(split)  # then a view does, and memory holds the pixels once
            pools.append(MemorySet(pixels[places[0] : start] if whole and places else pixels[places], labels, hashes))
        else:
            pools.append(StreamedSet(tuple(str(files[i]) for i in places), labels, hashes, shape))
    return pools


def join_pools(pools: list[Pool]) -> Pool:
    """Return one split of all the images that ``scan_images`` found."""
    if len(pools) == 1:
        return pools[0]
    labels = np.concatenate([pool.labels for pool in pools])
    hashes = tuple(digest for pool in pools for digest in pool.hashes)
    memory = [pool for pool in pools if isinstance(pool, MemorySet)]
    if memory:
        return MemorySet(np.concatenate([pool.images for pool in memory]), labels, hashes)
    streamed = [pool for pool in pools if isinstance(pool, StreamedSet)]
    return StreamedSet(tuple(p for pool in streamed for p in pool.paths), labels, hashes, streamed[0].image_shape)


def shorten(names: list[str], most: int = 10) -> str:
    """Return the first names of a list, and how many more there are."""
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
