"""From a choice of data to a data set: the one door that commands go through."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from msd_edge.bundle.choices import suggest
from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import Dataset, hold
from msd_edge.data.splits import Pool, Source, split_source
from msd_edge.errors import DataError


def known_sources() -> tuple[str, ...]:
    """Return the names of the built-in data sets."""
    return tuple(_BUILT_IN)


def load_dataset(config: DataConfig) -> Dataset:
    """Return the data set that ``config`` names, in three splits that share no image.

    Raises:
        DataError: there is no such data set, or something in it is wrong; the message says what and where.
    """
    if config.channels not in (None, 1, 3):
        raise DataError(f"{config.source}: images have 1 channel (grey) or 3 (RGB), not {config.channels}.")
    source = replace(_find(config.source)(config), name=config.source)
    return split_source(_fit(source, config), config)


def _find(name: str) -> Callable[[DataConfig], Source]:
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix.lower() != ".npz":
            raise DataError(f"{name}: this is a file; a data set is a .npz file or a folder of class folders.")
        return _load_npz
    if path.is_dir():
        return _load_folder
    raise DataError(
        f"{name}: no such data set, file or folder{suggest(name.lower(), _BUILT_IN)} "
        f"(built in: {', '.join(_BUILT_IN)}; else a .npz file or a folder)."
    )


def _load_npz(config: DataConfig) -> Source:
    from msd_edge.data.npz import load_npz

    return load_npz(Path(config.source).expanduser(), config)


def _load_digits(config: DataConfig) -> Source:
    from msd_edge.data.digits import load_digits

    return load_digits()


def _load_folder(config: DataConfig) -> Source:
    from msd_edge.data.folder import load_folder

    return load_folder(Path(config.source).expanduser(), config)


def _load_torchvision(config: DataConfig) -> Source:
    from msd_edge.data.torchvision_sets import load_torchvision

    return load_torchvision(config)


def _fit(source: Source, config: DataConfig) -> Source:
    """Bring images to the size and channels asked for, where the source gave them otherwise."""
    height, width = config.size or source.image_shape[:2]
    shape = (height, width, config.channels or source.image_shape[2])
    if shape == source.image_shape:
        return source
    from msd_edge.data.resize import fit_array

    def fit(pool: Pool) -> Pool:
        images = pool.read(np.arange(len(pool), dtype=np.int64))
        return hold(np.stack([fit_array(image, *shape) for image in images]), pool.labels)

    images = len(source.train) + (len(source.test) if source.test is not None else 0)
    size = images * math.prod(shape) / 2**30
    if size > config.memory_gib:
        raise DataError(
            f"{source.name}: {images:,} images of {height}×{width}×{shape[2]} take {size:,.2f} GiB, more than the "
            f"{config.memory_gib:g} GiB of memory allowed; `msd-edge train --memory-gib` raises the limit, a smaller "
            "size needs less."
        )
    test = fit(source.test) if source.test is not None else None
    return replace(source, image_shape=shape, train=fit(source.train), test=test)


_BUILT_IN: dict[str, Callable[[DataConfig], Source]] = {
    "digits": _load_digits,
    "cifar10": _load_torchvision,
    "cifar100": _load_torchvision,
    "fashion-mnist": _load_torchvision,
}
