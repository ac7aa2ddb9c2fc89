"""From an image to the tensor that a file takes: raw pixels, nothing normalized here."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msd_edge.bundle.manifest import InputSpec, TensorSpec
from msd_edge.errors import DataError
from msd_edge.runtime.session import Array

Image = NDArray[np.uint8]
_TO_INT8 = np.uint8(0x80)


def check_image(image: Image, spec: TensorSpec) -> None:
    """Raise when an image is not what a file's input tensor takes.

    Raises:
        DataError: it is not uint8 (H, W, C) of that size.
    """
    height, width, channels = spec.shape[1:] if spec.layout == "NHWC" else (*spec.shape[2:], spec.shape[1])
    shape, dtype = np.shape(image), getattr(image, "dtype", None)
    if dtype != np.uint8 or shape != (height, width, channels):
        raise DataError(
            f"the image is {dtype or type(image).__name__} {shape}; "
            f"this bundle takes uint8 {(height, width, channels)}: height, width, channels."
        )


def to_tensor(image: Image, spec: TensorSpec, out: Array | None = None) -> Array:
    """Put raw pixels into the layout and dtype of a file's input.

    Args:
        image: uint8 (H, W, C), as a camera gives it.
        spec: the input; ``uint8`` and ``float32`` take the pixel value 0..255, ``int8`` takes it minus 128.
        out: an array of the input's shape and dtype to write into, to spare an allocation.

    Returns:
        The tensor, batch of one: ``out`` if given, else a new array or, where nothing changes, a view of the image.

    Raises:
        DataError: the image is not uint8 (H, W, C) of the file's size.
    """
    check_image(image, spec)
    nhwc = image[np.newaxis]
    pixels = nhwc if spec.layout == "NHWC" else nhwc.transpose(0, 3, 1, 2)
    if out is None:
        if spec.dtype == "uint8":
            return np.ascontiguousarray(pixels)
        out = np.empty(spec.shape, spec.dtype)
    if spec.dtype == "int8":
        # p - 128 in two's complement is p with its top bit turned over.
        np.bitwise_xor(pixels, _TO_INT8, out=out.view(np.uint8))
    else:
        out[...] = pixels
    return out


def load_image(path: Path, spec: InputSpec) -> Image:
    """Read an image file as the raw image a bundle takes, exactly as training read it (``msd_edge.data.resize``).

    Returns:
        uint8 (height, width, channels).

    Raises:
        DataError: the file is missing, no image, damaged, or so large that it may be an attack.
    """
    from msd_edge.data.resize import quiet_pillow, read_image

    if not path.is_file():
        raise DataError(f"{path}: there is no such image file.")
    try:
        with quiet_pillow():
            return read_image(path, spec.height, spec.width, spec.channels)
    except DataError as problem:
        named = str(problem).startswith(f"{path}")
        raise problem if named else DataError(f"{path}: {problem}") from None
