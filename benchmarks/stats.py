"""From a list of times to a distribution: nothing is clipped, nothing is dropped."""

import math
from collections.abc import Sequence

from msd_edge.benchmarks.results import Timing


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the percentile of ascending values, linearly interpolated between neighbours (numpy's default, type 7).

    Args:
        ordered: at least one value, ascending.
        share: 0..1.

    Raises:
        ValueError: there is no value, or ``share`` is outside 0..1.
    """
    if not ordered or not 0 <= share <= 1:
        raise ValueError(f"no percentile {share} of {len(ordered)} values")
    place = (len(ordered) - 1) * share
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    low, high = ordered[below], ordered[above]
    # The clamp keeps rounding from leaving the interval: p90 must not come out above p99.
    return min(low + (high - low) * (place - below), high)


def summarise(times: Sequence[float], raw: str | None = None) -> Timing:
    """Summarise times in milliseconds.

    Args:
        times: at least one, finite, not negative, in any order.
        raw: the name of the list in the raw-timings file.

    Raises:
        ValueError: there is no time, or one is negative or not finite.
    """
    if not times:
        raise ValueError("there are no times to summarise")
    if any(not (math.isfinite(time) and time >= 0) for time in times):
        raise ValueError("a time is negative or not finite")
    ordered = sorted(times)
    mean = math.fsum(ordered) / len(ordered)
    return Timing(
        count=len(ordered),
        median=percentile(ordered, 0.5),
        p90=percentile(ordered, 0.9),
        p99=percentile(ordered, 0.99),
        mean=min(max(mean, ordered[0]), ordered[-1]),
        minimum=ordered[0],
        maximum=ordered[-1],
        raw=raw,
    )
