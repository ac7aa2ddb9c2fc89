"""What happens to pictures in the field, made by ourselves at five levels: noise, blur, brightness, contrast."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
LEVELS = (1, 2, 3, 4, 5)
_NOISE = (8.0, 16.0, 26.0, 38.0, 52.0)  # standard deviation in pixel values
_BLUR = (0.4, 0.6, 0.9, 1.3, 1.8)  # standard deviation in pixels of a 32-pixel image
_BRIGHTNESS = (20.0, 40.0, 60.0, 80.0, 100.0)  # pixel values added
_CONTRAST = (0.75, 0.55, 0.4, 0.25, 0.15)  # factor about the image's mean


def add_noise(images: Images, level: int, seed: int = 0) -> Images:
    """Return images (images, H, W, C) with Gaussian noise, the same for the same seed."""
    noise = np.random.default_rng(seed).normal(0, _NOISE[level - 1], images.shape)
    return _to_pixels(images + noise)


def blur(images: Images, level: int) -> Images:
    """Return images smoothed by a Gaussian as wide as the level says, in proportion to the shorter side."""
    deviation = _BLUR[level - 1] * min(images.shape[1:3]) / 32
    reach = max(1, int(np.ceil(3 * deviation)))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights /= weights.sum()
    smooth = images.astype(np.float64)
    for axis in (1, 2):
        padded = np.pad(smooth, [(reach, reach) if side == axis else (0, 0) for side in range(4)], mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(weights), axis=axis)
        smooth = windows @ weights
    return _to_pixels(smooth)


def brighten(images: Images, level: int) -> Images:
    """Return images with so much added to every pixel."""
    return _to_pixels(images + _BRIGHTNESS[level - 1])


def flatten_contrast(images: Images, level: int) -> Images:
    """Return images drawn towards their own mean."""
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return _to_pixels(mean + (images - mean) * _CONTRAST[level - 1])


CORRUPTIONS: dict[str, Callable[[Images, int], Images]] = {
    "noise": add_noise,
    "blur": blur,
    "brightness": brighten,
    "contrast": flatten_contrast,
}


def _to_pixels(values: NDArray[np.floating[Any]]) -> Images:
    pixels: Images = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return pixels
