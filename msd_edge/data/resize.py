"""Any image becomes the network's input, here and nowhere else: training, export, bench and predict all call this.

Numpy and Pillow only: a small board that runs a bundle needs it too.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from msd_edge.errors import DataError


def fit_image(image: Image.Image, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Return an image as the network takes it: (height, width, channels) uint8.

    The image is turned the way its EXIF orientation says; the largest rectangle of the target's proportions around its
    centre is resized with Pillow's BILINEAR filter (which averages when shrinking): shorter side to the target, centre
    crop. Transparent pixels show white behind; 16-bit greys are divided by 257; RGB becomes grey by ITU-R 601.

    Args:
        image: of any size; 8-bit of any colour mode, or 16-bit grey.
        height: pixels of the result.
        width: pixels of the result.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        DataError: the pixels have no known range (floating point).
        OSError: the image is truncated or damaged (from Pillow).
    """
    turned = _to_mode(ImageOps.exif_transpose(image), "L" if channels == 1 else "RGB")
    if turned.size != (width, height):
        scale = min(turned.width / width, turned.height / height)
        left, top = (turned.width - width * scale) / 2, (turned.height - height * scale) / 2
        box = (
            max(0.0, left),
            max(0.0, top),
            min(turned.width, left + width * scale),
            min(turned.height, top + height * scale),
        )
        turned = turned.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.array(turned, dtype=np.uint8).reshape(height, width, channels)


def fit_array(image: NDArray[np.uint8], height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Return ``fit_image`` of raw pixels (H, W), (H, W, 1) or (H, W, 3), uint8."""
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    return fit_image(Image.fromarray(image), height, width, channels)


def read_image(path: Path, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Return ``fit_image`` of a file.

    Raises:
        DataError: the file cannot be read as an image, or has more pixels than Pillow takes for honest.
    """
    try:
        with Image.open(path) as image:
            if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise DataError(_refuse_size(f"{image.width}×{image.height} pixels"))
            return fit_image(image, height, width, channels)
    except Image.DecompressionBombError as problem:  # it tells how many pixels, and not the sides
        count = re.search(r"\((\d+) pixels\)", str(problem))
        size = f"{int(count[1]) / 1e6:,.0f} million pixels" if count else "far too many pixels"
        raise DataError(f"{path}: {_refuse_size(size)}") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: this is no image that Pillow knows.") from None
    except OSError as problem:
        raise DataError(f"{path}: cannot read this image: {problem.strerror or problem}.") from None
    except DataError as problem:
        raise DataError(f"{path}: {problem}") from None
    except Exception as problem:  # noqa: BLE001  decoders raise whatever a damaged file leads them to
        raise DataError(f"{path}: cannot read this image: {type(problem).__name__}: {problem}.") from None


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's warnings on odd files away while the block runs; ``read_image`` refuses what must be refused.

    Warning filters belong to the whole process: enter it outside of threads that read images.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _refuse_size(size: str) -> str:
    limit = f"{(Image.MAX_IMAGE_PIXELS or 0) / 1e6:.1f} million"
    return f"this image has {size}, too many to be opened safely: up to {limit} are read, make it smaller first."


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode:
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray(((values.clip(0, 65535) + 128) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise DataError("this image has floating-point pixels of no known range; save it with 8 bits a channel.")
    elif image.has_transparency_data:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    elif image.mode not in ("L", "1", "RGB"):
        image = image.convert("RGB")
    return image.convert(mode)
