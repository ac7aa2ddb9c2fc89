"""Operating points with the same setting: they make the same decisions, so one of them is measured for all."""

from collections.abc import Iterable

from msd_edge.benchmarks.results import CascadeBench
from msd_edge.bundle.manifest import Calibration


def measured_as(calibration: Calibration) -> dict[str, str]:
    """Return for every operating point, in their order, the first one with the same thresholds: itself, or an earlier.

    Rule and temperatures are those of the whole calibration, so thresholds are all that tells points apart.
    """
    first: dict[tuple[float, ...], str] = {}
    return {point.name: first.setdefault(tuple(point.thresholds), point.name) for point in calibration.points}


def measured_with(points: Iterable[CascadeBench]) -> dict[str, str]:
    """Return the same of a variant's results, which say it by their lists of raw times and their thresholds."""
    first: dict[tuple[object, ...], str] = {}
    return {
        point.point: first.setdefault((point.total.raw or point.point, point.thresholds), point.point)
        for point in points
    }
