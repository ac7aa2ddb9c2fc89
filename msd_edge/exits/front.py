"""The Pareto front of expected milliseconds against accuracy, and the named operating points on it.

Every choice is made on one fixed front, so that asking for more accuracy never makes a point cheaper and allowing more
milliseconds never makes it less accurate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from msd_edge.bundle.manifest import FULL_POINT, OperatingPoint
from msd_edge.errors import ConfigError
from msd_edge.exits.rules import Floats
from msd_edge.exits.search import search
from msd_edge.exits.thresholds import Evidence, Settings, budgeted_limits, evaluate, never_limit, shift, thresholds

BALANCED_DROP = 0.005
FAST_DROP = 0.02
FRONT_POINTS = 40

_NEAR = 1.005  # within half a percent of the milliseconds two settings cost the same: keep the more accurate
_MARGIN = 1.0  # standard errors
_LOOSER = 2.0  # odds
_BATCH = 64


class OutOfReach(ConfigError):
    """A wish that no setting meets; the message says what can be reached."""


@dataclass(frozen=True)
class Front:
    """What was found on the calibration split.

    Attributes:
        evidence: the split.
        settings: the front, from accurate to fast: fewer milliseconds and fewer right answers from each to the next.
        lossless: one setting, see ``find_lossless``.
        full: one setting: nobody leaves early.
    """

    evidence: Evidence
    settings: Settings
    lossless: Settings
    full: Settings

    def accuracies(self) -> list[float]:
        """Return the accuracy of each setting of the front."""
        return [_accuracy(self.evidence, self.settings, place) for place in range(len(self.settings))]

    def cheapest(self, min_accuracy: float, max_ms: float = math.inf) -> Settings:
        """Return the cheapest setting with at least ``min_accuracy`` (share) that needs at most ``max_ms``.

        Raises:
            OutOfReach: there is none; the message says what can be reached.
        """
        accuracies, times = self.accuracies(), self.settings.ms.tolist()
        good = [place for place, accuracy in enumerate(accuracies) if accuracy >= min_accuracy - 1e-12]
        if not good:
            raise OutOfReach(
                f"an accuracy of {100 * min_accuracy:.2f} % cannot be reached: the best is {100 * accuracies[0]:.2f} % "
                f"at {times[0]:.3f} ms on the calibration split."
            )
        found = good[-1]
        if times[found] > max_ms:
            raise OutOfReach(
                f"{100 * min_accuracy:.2f} % within {max_ms:g} ms cannot be reached: that accuracy takes at least "
                f"{times[found]:.3f} ms{self._best_within(max_ms)}."
            )
        return self.settings.only(np.array([found]))

    def most_accurate(self, max_ms: float) -> Settings:
        """Return the most accurate setting that needs at most ``max_ms`` on average.

        Raises:
            OutOfReach: even the fastest needs more; the message says how much.
        """
        fitting = np.flatnonzero(self.settings.ms <= max_ms)
        if not len(fitting):
            raise OutOfReach(
                f"{max_ms:g} ms cannot be reached: the fastest setting takes {self.settings.ms[-1]:.3f} ms "
                f"({100 * self.accuracies()[-1]:.2f} %)."
            )
        return self.settings.only(fitting[:1])

    def trusted(self, drop: float) -> Settings:
        """Return the cheapest setting within ``drop`` (share) of the last exit, one standard error to spare.

        The spare is what choosing among many settings by their luck on this split costs: in the simulations of
        ``find_lossless`` a point chosen without it promised a drop of 0.5 points and lost 0.6 to 0.8 on fresh images.
        """
        holding = np.flatnonzero(_within(self.settings, drop * self.evidence.images))
        settings = [self.lossless, *(self.settings.only(np.array([place])) for place in holding[-1:])]
        return min(settings, key=lambda one: float(one.ms[0]))

    def _best_within(self, max_ms: float) -> str:
        fitting = np.flatnonzero(self.settings.ms <= max_ms)
        if not len(fitting):
            return f", and no setting takes less than {self.settings.ms[-1]:.3f} ms"
        return f", and within {max_ms:g} ms the best is {100 * self.accuracies()[int(fitting[0])]:.2f} %"


def build_front(evidence: Evidence) -> Front:
    """Evaluate all settings worth a look and keep those that no other beats.

    Args:
        evidence: the calibration split.
    """
    pool = evaluate(evidence, search(evidence))
    return Front(evidence, pareto(pool), find_lossless(evidence, pool), evaluate(evidence, _closed(evidence)))


def pareto(pool: Settings) -> Settings:
    """Return the settings that no other beats in both milliseconds and accuracy, from accurate to fast.

    Of settings with the same figures the most cautious stays (highest limits); settings within half a percent of the
    milliseconds of a more accurate one go, but for the fastest of all.
    """
    order = np.lexsort((_daring(pool), -pool.difference, pool.ms))
    rising: list[int] = []
    best = -math.inf
    for place in order.tolist():
        if pool.difference[place] > best:
            best = float(pool.difference[place])
            rising.append(place)
    kept = [rising[-1]]
    for place in reversed(rising[:-1]):
        if pool.ms[place] * _NEAR < pool.ms[kept[-1]] or place == rising[0]:
            kept.append(place)
    return pool.only(np.array(kept))


def find_lossless(evidence: Evidence, pool: Settings) -> Settings:
    """Return the cheapest setting that can be trusted to lose nothing against the last exit on images not seen here.

    Merely asking for no loss on the calibration split picks, out of thousands of settings, the one that luck favoured.
    In simulations (5,000 images, 2 to 5 exits, the first 6 to 28 points weaker than the last) it lost 0.04 to 0.27
    points on fresh images, and one set of 10,000 test images in seven came out at or above the last exit. Two demands
    mend that:

    1. The paired difference to the last exit is at least its standard error: gained - lost >= sqrt(gained + lost).
    2. The same holds one step too far, with the odds of an image to reach each limit doubled. This catches settings
       that changed no answer at all here, for which a standard error is blind.

    With both, the mean loss on fresh images was 0.001 points at most and six test sets in seven came out at or above
    the last exit, for 7 to 35 % more milliseconds. With 1,000 images: 0.02 points, four sets in seven. Checked once on
    real images afterwards (Fashion-MNIST, three ridge classifiers as exits, eight splits of 5,000, max-softmax): 0 or 1
    of 10,000 test images lost, against 1 to 21 without the demands.

    With ``averaged``, whose answer at the last exit is at least as good as that exit's own, a setting may meet both
    demands against that answer instead: mixed exits differ from a single one in so many answers that noise hides what
    leaving early costs.

    Where nothing passes, nobody leaves early; of settings that take the same time the most cautious is taken (highest
    limits), so that an image less sure than all of these goes on.

    Args:
        evidence: the calibration split.
        pool: settings evaluated on it.
    """
    full = evaluate(evidence, _closed(evidence))
    found = _trust(evidence, pool)
    own = evidence.right[:, -1]
    if not np.array_equal(own, evidence.reference):
        against = replace(evidence, reference=own)
        found += _trust(against, evaluate(against, pool.limits))
    return min([full, *(evaluate(evidence, limits) for limits in found)], key=lambda one: float(one.ms[0]))


def _trust(evidence: Evidence, pool: Settings) -> list[Floats]:
    """Return the limits, (1, exits - 1), of the cheapest setting that meets both demands; none if none does."""
    passing = np.flatnonzero(_within(pool, 0))
    passing = passing[np.lexsort((_daring(pool)[passing], pool.ms[passing]))]
    for start in range(0, len(passing), _BATCH):
        batch = pool.only(passing[start : start + _BATCH])
        holding = np.flatnonzero(_within(evaluate(evidence, shift(evidence, batch.limits, _LOOSER)), 0))
        if len(holding):
            return [batch.limits[holding[:1]]]
    return []


def _closed(evidence: Evidence) -> Floats:
    """Return the limits with which nobody leaves early, (1, exits - 1)."""
    return np.full((1, evidence.exits - 1), never_limit(evidence.name, evidence.exits), dtype=np.float32)


def named_points(
    front: Front, *, min_accuracy: float | None = None, max_ms: float | None = None
) -> tuple[OperatingPoint, ...]:
    """Return the named operating points, from the slowest to the fastest.

    ``full`` never leaves early; ``lossless`` is what ``find_lossless`` trusts; ``balanced`` and ``fast`` are the
    cheapest within 0.5 and 2.0 points of the last exit. ``custom`` is there when a wish is given: the cheapest that
    meets ``min_accuracy`` (and ``max_ms``), or the most accurate within ``max_ms``.

    Args:
        front: the front of the variant.
        min_accuracy: the accuracy wanted, as a share.
        max_ms: the expected milliseconds allowed.

    Raises:
        OutOfReach: the wish cannot be met; the message says what can.
    """
    chosen = {FULL_POINT: front.full, "lossless": front.lossless}
    for name, drop in (("balanced", BALANCED_DROP), ("fast", FAST_DROP)):
        chosen[name] = front.trusted(drop)
    if min_accuracy is not None:
        chosen["custom"] = front.cheapest(min_accuracy, math.inf if max_ms is None else max_ms)
    elif max_ms is not None:
        chosen["custom"] = front.most_accurate(max_ms)
    points = [_point(front.evidence, name, one, 0) for name, one in chosen.items()]
    return tuple(sorted(points, key=lambda point: -point.expected_ms))


def front_points(front: Front, limit: int = FRONT_POINTS) -> tuple[OperatingPoint, ...]:
    """Return the front as operating points ``front-1``.., from accurate to fast, thinned evenly to ``limit``."""
    count = len(front.settings)
    places = np.unique(np.linspace(0, count - 1, min(limit, count)).round().astype(int))
    return tuple(
        _point(front.evidence, f"front-{number}", front.settings, int(place)) for number, place in enumerate(places, 1)
    )


def budgeted_points(evidence: Evidence) -> tuple[OperatingPoint, ...]:
    """Return MSDNet's 40 budgeted settings as points ``budgeted-P``; none for patience, which ranks nothing."""
    if evidence.name == "patience":
        return ()
    base, limits = budgeted_limits(evidence)
    settings = evaluate(evidence, limits)
    return tuple(_point(evidence, f"budgeted-{p:.2f}", settings, place) for place, p in enumerate(base.tolist()))


def shares(values: Sequence[int], images: int) -> tuple[float, ...]:
    """Return counts as shares of ``images``."""
    return tuple(value / images for value in values)


def _point(evidence: Evidence, name: str, settings: Settings, place: int) -> OperatingPoint:
    return OperatingPoint(
        name=name,
        thresholds=thresholds(evidence.name, settings.limits[place]),
        accuracy=_accuracy(evidence, settings, place),
        expected_ms=float(settings.ms[place]),
        expected_macs=float(settings.macs[place]),
        exit_shares=shares(settings.left[place].tolist(), evidence.images),
    )


def _accuracy(evidence: Evidence, settings: Settings, place: int) -> float:
    return (evidence.last_right + int(settings.difference[place])) / evidence.images


def _daring(settings: Settings) -> NDArray[np.float64]:
    """Return how low the limits of each setting are, whichever exits they belong to."""
    found: NDArray[np.float64] = np.sort(-settings.limits.astype(np.float64), axis=1).sum(axis=1)
    return found


def _within(settings: Settings, drop: float) -> NDArray[np.bool_]:
    """Return which settings lose at most ``drop`` images against the last exit, a standard error to spare."""
    found: NDArray[np.bool_] = settings.difference + drop >= _MARGIN * np.sqrt(settings.gained + settings.lost)
    return found
