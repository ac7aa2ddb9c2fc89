"""From an image to the tensor that a file takes: raw pixels, nothing normalized here."""

import struct
import warnings
import zlib
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
    """Read an image file as the raw image a bundle takes: EXIF orientation, shorter side to size, centre crop.

    Returns:
        uint8 (height, width, channels).

    Raises:
        DataError: the file is missing, no image, damaged, or so large that it may be an attack.
    """
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    from msd_edge.data.resize import fit_image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Pillow.DecompressionBombWarning)
            # Remarks of Pillow about odd but readable files (a palette with transparency, broken EXIF).
            warnings.simplefilter("ignore", UserWarning)
            with Pillow.open(path) as image:
                return fit_image(image, spec.height, spec.width, spec.channels)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such image.") from None
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning):
        limit = Pillow.MAX_IMAGE_PIXELS or 0
        raise DataError(f"{path}: this image has more than {limit:,} pixels; scale it down first.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: this file is no image that can be read.") from None
    except (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error, zlib.error) as problem:
        reason = " ".join(str(problem).split()).rstrip(".")
        raise DataError(f"{path}: this image cannot be read: {reason}.") from None
