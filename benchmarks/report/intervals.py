"""How sure an accuracy is: Wilson's interval for a share of images."""

import math

Z_95 = 1.959963984540054


def wilson(correct: int, images: int, z: float = Z_95) -> tuple[float, float]:
    """Return the ends of Wilson's score interval, at 95 % unless told otherwise (Wilson 1927).

    Args:
        correct: how many of ``images`` were right.
        images: at least 1.
        z: the normal quantile of the level.
    """
    p, z2 = correct / images, z * z
    centre = (p + z2 / (2 * images)) / (1 + z2 / images)
    half = half_width(correct, images, z)
    return max(0.0, centre - half), min(1.0, centre + half)


def differs(share: float, images: int, correct: int, of: int) -> bool:
    """Return whether a share of ``images`` and ``correct`` of ``of`` other images differ beyond chance.

    The 95 % interval of the difference is Newcombe's, built from Wilson's two (Newcombe 1998, method 10).
    """
    right = round(share * images)
    (low, high), (other_low, other_high) = wilson(right, images), wilson(correct, of)
    first, second = right / images, correct / of
    gap = first - second
    below = math.hypot(first - low, other_high - second)
    above = math.hypot(high - first, second - other_low)
    return not gap - below <= 0 <= gap + above


def half_width(correct: int, images: int, z: float = Z_95) -> float:
    """Return half the width of Wilson's interval."""
    p, z2 = correct / images, z * z
    return z / (1 + z2 / images) * math.sqrt(p * (1 - p) / images + z2 / (4 * images * images))
