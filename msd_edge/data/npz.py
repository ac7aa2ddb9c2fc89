"""A data set in one .npz file: x_train, y_train, x_test, y_test, and optionally ``classes``.

Nothing is unpickled, and no array is read before what it declares has been held against the memory limit.
"""

import contextlib
import math
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import Images, hold
from msd_edge.data.splits import Source
from msd_edge.errors import DataError

KEYS = ("x_train", "y_train", "x_test", "y_test")
_LONGEST_SIDE = 8192


def load_npz(path: Path, config: DataConfig) -> Source:
    """Read a .npz file.

    ``x_*``: uint8 (images, H, W, C), C being 1 or 3, or (images, H, W). ``y_*``: integers (images,) or (images, 1).
    ``classes``: names as a unicode array; without it classes are called "0", "1", ….

    Raises:
        DataError: the file is none, holds other things, or is larger than ``config.memory_gib``.
    """
    arrays = _read_arrays(path, config.memory_gib)
    x_train, x_test = _images(path, "x_train", arrays["x_train"]), _images(path, "x_test", arrays["x_test"])
    if x_train.shape[1:] != x_test.shape[1:]:
        raise DataError(
            f"{path}: x_train has images of {_by(x_train.shape[1:])}, but x_test of {_by(x_test.shape[1:])}."
        )
    y_train = _labels(path, "y_train", arrays["y_train"], len(x_train))
    y_test = _labels(path, "y_test", arrays["y_test"], len(x_test))
    classes = _class_names(path, arrays.get("classes"), y_train)
    if y_test.max() >= len(classes):
        raise DataError(
            f"{path}: y_test has the label {y_test.max()}, but training knows the classes 0 to {len(classes) - 1} only."
        )
    height, width, channels = x_train.shape[1:]
    return Source(config.source, classes, (height, width, channels), hold(x_train, y_train), hold(x_test, y_test))


def _read_arrays(path: Path, memory_gib: float) -> dict[str, NDArray[Any]]:
    with _opened(path) as archive:
        found: dict[str, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name in (*KEYS, "classes"):
                if name in found:
                    raise DataError(f"{path}: {name} stands in the file twice; write it again with numpy.savez.")
                found[name] = member
        missing = [key for key in KEYS if key not in found]
        if missing:
            raise DataError(
                f"{path}: there is no {' and no '.join(missing)} in it; "
                f"a data set has {', '.join(KEYS[:-1])} and {KEYS[-1]}."
            )
        size = sum(member.file_size for member in found.values())
        if size > memory_gib * 2**30:
            raise DataError(
                f"{path}: its arrays take {size / 2**30:,.2f} GiB, more than the {memory_gib:g} GiB of memory allowed; "
                "`msd-edge train --memory-gib` raises the limit, and a folder of class folders can stream from disk."
            )
        return {name: _read_array(path, archive, name, member) for name, member in found.items()}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        struct.error,
        zlib.error,
    ) as problem:
        raise DataError(f"{path}: this is no .npz file, or a damaged one ({problem}).") from None
    except OSError as problem:
        raise DataError(f"{path}: cannot read this file: {problem.strerror or problem}.") from None


def _read_array(path: Path, archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo) -> NDArray[Any]:
    try:
        with archive.open(member) as file:
            shape, dtype = _read_header(file)
            declared = file.tell() + math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise DataError(
                f"{path}: {name} holds pickled objects, which are never opened; save plain numbers or strings."
            )
        if declared != member.file_size:
            raise DataError(
                f"{path}: {name} declares {declared:,} bytes and has {member.file_size:,}; the file is damaged."
            )
        with archive.open(member) as file:
            values: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            return values
    except (ValueError, SyntaxError, tokenize.TokenError, TypeError, OverflowError, MemoryError) as problem:
        # numpy reads a header as a Python literal, and lets through what that leads to.
        reason = re.sub(r"<[^>]* object at 0x[0-9a-f]+>", "something else", " ".join(str(problem).split()))
        raise DataError(f"{path}: {name} is no readable array ({reason[:200].rstrip('.') or 'damaged'}).") from None


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"format version {version[0]}.{version[1]}")
    return shape, dtype


def _images(path: Path, name: str, values: NDArray[Any]) -> Images:
    if values.dtype != np.uint8:
        raise DataError(f"{path}: {name} is {values.dtype}; images are raw pixels, uint8 from 0 to 255.")
    if values.ndim == 3:
        values = values[..., np.newaxis]
    if values.ndim != 4 or values.shape[3] not in (1, 3):
        channels_first = values.ndim == 4 and values.shape[1] in (1, 3)
        hint = f"; transpose it with {name}.transpose(0, 2, 3, 1)" if channels_first else ""
        raise DataError(
            f"{path}: {name} has the shape {values.shape}; images are (images, height, width, 1 or 3 channels){hint}."
        )
    if values.size == 0:
        raise DataError(f"{path}: {name} is empty: its shape is {values.shape}.")
    if max(values.shape[1:3]) > _LONGEST_SIDE:
        raise DataError(
            f"{path}: {name} has images of {_by(values.shape[1:])}; {_LONGEST_SIDE} pixels a side is the most."
        )
    return values


def _labels(path: Path, name: str, values: NDArray[Any], images: int) -> NDArray[np.int64]:
    if values.dtype.kind not in "iu":
        raise DataError(f"{path}: {name} is {values.dtype}; labels are integers, 0 for the first class.")
    if values.shape not in ((images,), (images, 1)):
        raise DataError(
            f"{path}: {name} has the shape {values.shape}, but there are {images:,} images; give one label an image."
        )
    if values.min() < 0 or values.max() > np.iinfo(np.int64).max:
        wrong = values.min() if values.min() < 0 else values.max()
        raise DataError(f"{path}: {name} has the label {wrong}; labels run from 0.")
    return values.reshape(-1).astype(np.int64)


def _class_names(path: Path, values: NDArray[Any] | None, y_train: NDArray[np.int64]) -> tuple[str, ...]:
    present = np.unique(y_train)
    if values is not None:
        if values.dtype.kind != "U" or values.ndim != 1:
            raise DataError(f"{path}: classes is {values.dtype} of shape {values.shape}; give a list of strings.")
        try:
            names = tuple(str(name) for name in values)
        except (SystemError, ValueError):  # numbers where Unicode has no sign
            raise DataError(f"{path}: classes holds signs that are no Unicode.") from None
        if len(set(names)) != len(names) or not all(name.strip() for name in names):
            raise DataError(f"{path}: classes holds an empty name or the same name twice.")
        if present[-1] >= len(names):
            raise DataError(f"{path}: y_train has the label {present[-1]}, but classes names {len(names)} only.")
    else:
        # A label without an image means a gap: found here, before a stray huge label becomes a huge list of names.
        gaps = np.flatnonzero(present != np.arange(len(present)))
        if len(gaps):
            raise DataError(
                f"{path}: y_train has the label {present[-1]} but no image of class {gaps[0]}; "
                "number classes from 0 without gaps."
            )
        names = tuple(str(label) for label in present)
    if len(names) < 2:
        raise DataError(f"{path}: there is only one class in it; a classifier needs two.")
    return names


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape)
