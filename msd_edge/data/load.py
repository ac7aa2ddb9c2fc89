"""From a choice of data to a data set: the one door that commands go through."""

import difflib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import Dataset
from msd_edge.data.splits import Source, split_source
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
    source = _find(config.source)(config)
    return split_source(replace(source, name=config.source), config)


def _find(name: str) -> Callable[[DataConfig], Source]:
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix.lower() != ".npz":
            raise DataError(f"{name}: this is a file; a data set is a .npz file or a folder of class folders.")
        return _load_npz
    close = difflib.get_close_matches(name.lower(), _BUILT_IN, n=1, cutoff=0.6)
    guess = f"; did you mean {close[0]}?" if close else ""
    raise DataError(
        f"{name}: no such data set, file or folder{guess} "
        f"(built in: {', '.join(_BUILT_IN)}; else a .npz file or a folder)."
    )


def _load_npz(config: DataConfig) -> Source:
    from msd_edge.data.npz import load_npz

    return load_npz(Path(config.source).expanduser(), config)


def _load_digits(config: DataConfig) -> Source:
    from msd_edge.data.digits import load_digits

    return load_digits()


_BUILT_IN: dict[str, Callable[[DataConfig], Source]] = {"digits": _load_digits}
