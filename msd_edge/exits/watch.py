"""Notices when images leave at other exits than calibration expected: the first sign that the field looks different.

Thresholds are fitted on clean images. Noise, blur or another camera make every exit less sure (or falsely sure), exit
shares move, and with them accuracy and milliseconds. Shares are seen without labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Drift:
    """A window of images whose exit shares are not those expected.

    Attributes:
        expected: share of images leaving at each exit, from the calibration split.
        seen: the same over the window.
        images: in the window.
        p_value: how likely shares so far apart are where nothing has changed.
    """

    expected: tuple[float, ...]
    seen: tuple[float, ...]
    images: int
    p_value: float

    def __str__(self) -> str:
        """One sentence for a log."""
        expected = " / ".join(f"{100 * share:.0f}" for share in self.expected)
        seen = " / ".join(f"{100 * share:.0f}" for share in self.seen)
        return (
            f"of the last {self.images} images {seen} % left at exits 1..{len(self.seen)}, where calibration expected "
            f"{expected} %; accuracy and time are no longer what was measured."
        )


class ShareWatch:
    """Counts exits, window after window, and tests each full window against what calibration saw.

    The test is that of two samples, since that comes from a limited number of images too: likelihood-ratio G
    over exits x {calibration, window}, chi-squared with as many degrees of freedom as exits less one. At the default
    significance one window in 10,000 raises a false alarm.
    """

    def __init__(
        self, expected: Sequence[float], calibration_images: int, window: int = 200, significance: float = 1e-4
    ) -> None:
        """Begin to watch.

        Args:
            expected: share of images leaving at each exit.
            calibration_images: how many images the shares come from.
            window: images that are tested together.
            significance: the p-value below which a window counts as drift.

        Raises:
            ValueError: shares that are none, or a window without images.
        """
        if not expected or window < 1 or calibration_images < 1 or abs(sum(expected) - 1) > 1e-3:
            raise ValueError("shares of at least one exit must add up to 1, and windows hold images")
        self.expected = tuple(expected)
        self.window = window
        self._calibrated = [share * calibration_images for share in expected]
        self._significance = significance
        self._counts = [0] * len(expected)
        self._seen = 0
        self.images = 0
        self.drift: Drift | None = None

    def add(self, exit_: int) -> None:
        """Count an image that left at an exit, 1-based; a full window sets ``drift``, or clears it."""
        self._counts[exit_ - 1] += 1
        self._seen += 1
        self.images += 1
        if self._seen == self.window:
            p_value = compare_counts(self._calibrated, self._counts)
            seen = tuple(count / self.window for count in self._counts)
            drifts = p_value < self._significance
            self.drift = Drift(self.expected, seen, self.window, p_value) if drifts else None
            self._counts = [0] * len(self._counts)
            self._seen = 0


def compare_counts(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the p-value of the G-test that two samples over the same kinds come from one distribution.

    Args:
        first, second: counts per kind; kinds that neither has are left out.
    """
    kinds = [(a, b) for a, b in zip(first, second, strict=True) if a + b > 0]
    sizes = [sum(column) for column in zip(*kinds, strict=True)]
    if len(kinds) < 2 or not all(sizes):
        return 1.0
    whole = sum(sizes)
    statistic = 2 * sum(
        count * math.log(count * whole / (sum(kind) * size))
        for kind in kinds
        for count, size in zip(kind, sizes, strict=True)
        if count > 0
    )
    return chi_squared_tail(max(0.0, statistic), len(kinds) - 1)


def chi_squared_tail(value: float, freedom: int) -> float:
    """Return P(X >= value) for X chi-squared with a whole number of degrees of freedom.

    By Q(a + 1, x) = Q(a, x) + x^a e^-x / Γ(a + 1) (Abramowitz and Stegun 6.5.21), from Q(1/2, x) or Q(1, x) on.
    """
    half = value / 2
    if half == 0:
        return 1.0
    order = 0.5 if freedom % 2 else 1.0
    tail = math.erfc(math.sqrt(half)) if freedom % 2 else math.exp(-half)
    while order < freedom / 2:
        tail += math.exp(order * math.log(half) - half - math.lgamma(order + 1))
        order += 1
    return min(1.0, tail)
