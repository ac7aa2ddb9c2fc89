"""CIFAR-10, CIFAR-100 and Fashion-MNIST, by torchvision's own loaders and downloads."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import hold
from msd_edge.data.splits import Source
from msd_edge.errors import DataError

# Our name: torchvision's class, and where below the root its files lie.
SETS = {
    "cifar10": ("CIFAR10", "cifar-10-batches-py/"),
    "cifar100": ("CIFAR100", "cifar-100-python/"),
    "fashion-mnist": ("FashionMNIST", "FashionMNIST/raw/"),
}


def load_torchvision(config: DataConfig) -> Source:
    """Return one of ``SETS``, downloaded to ``config.root`` if it is not there and ``config.download`` allows it.

    Raises:
        DataError: torchvision is not installed, the files are missing or damaged, or the download failed.
    """
    try:
        from torchvision import datasets
    except ImportError:
        raise DataError(
            f"{config.source} needs torchvision, which is missing: pip install 'msd-edge[train]'."
        ) from None
    make = getattr(datasets, SETS[config.source][0])
    train, test = _open(make, config, train=True), _open(make, config, train=False)
    x_train, x_test = _pixels(train), _pixels(test)
    y_train, y_test = np.asarray(train.targets, dtype=np.int64), np.asarray(test.targets, dtype=np.int64)
    height, width, channels = x_train.shape[1:]
    classes = tuple(str(name) for name in train.classes)
    return Source(config.source, classes, (height, width, channels), hold(x_train, y_train), hold(x_test, y_test))


def _open(make: Any, config: DataConfig, *, train: bool) -> Any:
    root = Path(config.root).expanduser()
    inside = root / SETS[config.source][1]
    new = [folder for folder in (inside, *inside.parents) if not folder.exists()]
    try:
        # Standard output belongs to our own results; old pickles of arrays make new numpy warn of deprecation.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            return make(root=str(root), train=train, download=config.download)
    except BaseException as problem:  # torchvision raises RuntimeError, URLError, OSError, EOFError, …
        for folder in new:  # it makes its folders before it has anything to put into them
            with contextlib.suppress(OSError):
                folder.rmdir()
        if not isinstance(problem, Exception):
            raise
        why = "could not be downloaded" if config.download else "is not there, or is damaged"
        reason = " ".join(str(getattr(problem, "reason", problem)).split()).rstrip(".")
        raise DataError(
            f"{config.source} {why} ({reason}); put its files into {inside}, or give the images as --data FILE.npz."
        ) from None


def _pixels(part: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    images = np.asarray(part.data, dtype=np.uint8)
    return images if images.ndim == 4 else images[..., np.newaxis]
