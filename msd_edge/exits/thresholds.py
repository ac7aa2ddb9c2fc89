"""Thresholds: what a setting of the exit rule costs and gets right on the calibration split, and which to try.

Inside, a rule is turned so that an image leaves an exit when its *ease* is at least a limit: the top probability, the
negated entropy, or the length of the run of exits that agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msd_edge.bundle.manifest import RuleName
from msd_edge.errors import ConfigError, DataError
from msd_edge.exits.metrics import Labels
from msd_edge.exits.rules import ExitRule, Floats, agreeing, always, never, score, split_exits

_CHUNK = 1 << 22  # images times settings looked at in one go


@dataclass(frozen=True)
class Evidence:
    """The calibration split as the search sees it.

    Attributes:
        name: the kind of rule.
        ease: (images, exits - 1) float32, an image may leave where this is at least the limit.
        right: (images, exits) bool, whether an image that leaves at the exit is named right.
        reference: (images,) bool, whether the last exit by itself names the class: what every setting is held against.
        ms: (exits,) milliseconds until the exit, all segments before it included.
        macs: (exits,) multiply-accumulates until the exit.
    """

    name: RuleName
    ease: Floats
    right: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    ms: NDArray[np.float64]
    macs: NDArray[np.float64]

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self.right)

    @property
    def exits(self) -> int:
        """The number of exits."""
        return int(self.right.shape[1])

    @property
    def last_right(self) -> int:
        """How many images the last exit by itself gets right."""
        return int(self.reference.sum())


@dataclass(frozen=True)
class Settings:
    """Many settings with what each does on the split.

    Attributes:
        limits: (settings, exits - 1) float32, in units of ease.
        left: (settings, exits) images leaving at each exit.
        gained: (settings,) images right here and wrong at the last exit by itself.
        lost: (settings,) images wrong here and right at the last exit by itself.
        ms: (settings,) mean milliseconds per image.
        macs: (settings,) mean multiply-accumulates per image.
    """

    limits: Floats
    left: NDArray[np.int64]
    gained: NDArray[np.int64]
    lost: NDArray[np.int64]
    ms: NDArray[np.float64]
    macs: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of settings."""
        return len(self.ms)

    @property
    def difference(self) -> NDArray[np.int64]:
        """How many images more than the last exit it gets right, (settings,)."""
        return self.gained - self.lost

    def only(self, places: NDArray[np.int64]) -> "Settings":
        """Return the settings at ``places``, in that order."""
        fields = (self.limits, self.left, self.gained, self.lost, self.ms, self.macs)
        return Settings(*(field[places] for field in fields))  # type: ignore[arg-type]


def gather(
    name: RuleName,
    logits: Floats,
    labels: Labels,
    temperatures: Sequence[float],
    segment_ms: Sequence[float],
    chain_macs: Sequence[float],
    weights: Sequence[tuple[float, ...]] = (),
) -> Evidence:
    """Turn logits of the calibration split into evidence.

    Args:
        name: the kind of rule.
        logits: of every exit, (images, exits, classes).
        labels: (images,).
        temperatures: one per exit.
        segment_ms: milliseconds of each segment, decision included.
        chain_macs: multiply-accumulates until each exit.
        weights: of ``averaged``, as an ``ExitRule`` has them.

    Raises:
        ConfigError: the numbers of exits differ.
        DataError: there are no images, or logits are not finite.
    """
    images, exits = logits.shape[:2]
    for what, values in (("temperatures", temperatures), ("segment times", segment_ms), ("MACs", chain_macs)):
        if len(values) != exits:
            raise ConfigError(f"there are {len(values)} {what} for {exits} exits.")
    if not images:
        raise DataError("thresholds cannot be fitted: the calibration set is empty.")
    if not np.isfinite(logits).all():
        raise DataError("thresholds cannot be fitted: some logits are not finite.")
    rule = ExitRule(name, (never(name, exits),) * (exits - 1), tuple(temperatures), tuple(weights))
    each = split_exits(logits)
    if name == "patience":
        ease = agreeing(logits)[:, :-1].astype(np.float32)
    else:
        ease = np.empty((images, exits - 1), dtype=np.float32)
        for place in range(exits - 1):
            found = score(name, *rule.basis(place, each))
            ease[:, place] = -found if name == "entropy" else found
    right = rule.name_classes(logits) == labels[:, None]
    reference = logits[:, -1].argmax(axis=1) == labels
    costs = np.cumsum(segment_ms, dtype=np.float64)
    return Evidence(name, ease, right, reference, costs, np.array(chain_macs, dtype=np.float64))


def thresholds(name: RuleName, limits: Floats) -> tuple[float, ...]:
    """Return limits of one setting, in units of ease, as the rule's own thresholds."""
    values = [float(limit) for limit in limits]
    if name == "entropy":
        return tuple(0.0 - value for value in values)
    return tuple(value - 1 for value in values) if name == "patience" else tuple(values)


def never_limit(name: RuleName, exits: int) -> np.float32:
    """Return the limit with which no image leaves early."""
    values = {"entropy": 1.0, "patience": exits + 1.0}
    return np.float32(values.get(name, never(name, exits)))


def always_limit(name: RuleName) -> np.float32:
    """Return the limit with which every image leaves."""
    values = {"entropy": -2.0, "patience": 1.0}
    return np.float32(values.get(name, always(name)))


def evaluate(evidence: Evidence, limits: Floats) -> Settings:
    """Return what each setting does on the split.

    Args:
        evidence: the split.
        limits: (settings, exits - 1), in units of ease.
    """
    count, exits = len(limits), evidence.exits
    left = np.empty((count, exits), dtype=np.int64)
    gained, lost = np.zeros((2, count), dtype=np.int64)
    better = [evidence.right[:, k] & ~evidence.reference for k in range(exits)]
    worse = [~evidence.right[:, k] & evidence.reference for k in range(exits)]
    step = max(1, _CHUNK // evidence.images)
    for start in range(0, count, step):
        part = slice(start, start + step)
        staying = np.ones((len(limits[part]), evidence.images), dtype=np.bool_)
        for k in range(exits - 1):
            leaving = staying & (evidence.ease[:, k] >= limits[part, k, None])
            staying &= ~leaving
            left[part, k] = np.count_nonzero(leaving, axis=1)
            gained[part] += np.count_nonzero(leaving[:, better[k]], axis=1)
            lost[part] += np.count_nonzero(leaving[:, worse[k]], axis=1)
        left[part, -1] = np.count_nonzero(staying, axis=1)
        gained[part] += np.count_nonzero(staying[:, better[-1]], axis=1)
        lost[part] += np.count_nonzero(staying[:, worse[-1]], axis=1)
    shares = left / evidence.images
    return Settings(limits, left, gained, lost, shares @ evidence.ms, shares @ evidence.macs)


def budgeted_limits(evidence: Evidence) -> tuple[NDArray[np.float64], Floats]:
    """Return the settings of MSDNet's budgeted batch classification (Huang et al. 2018, section 5 and its code).

    For p in {1..40}/20 the share of images meant to leave at exit k is proportional to p^k; the limit of an exit is the
    ease at that rank among the images still there. Where ties let too many leave early, all that are still there leave.

    Returns:
        The values of p, (40,), and the limits, (40, exits - 1).
    """
    base = np.arange(1, 41) / 20
    exits, images = evidence.exits, evidence.images
    shares = base[:, None] ** np.arange(1, exits + 1)
    counts = np.floor(images * shares / shares.sum(axis=1, keepdims=True)).astype(np.int64)
    limits = np.full((len(base), exits - 1), never_limit(evidence.name, exits), dtype=np.float32)
    for setting in range(len(base)):
        staying = np.ones(images, dtype=np.bool_)
        for k in range(exits - 1):
            ordered = np.sort(evidence.ease[staying, k])[::-1]
            wanted = min(int(counts[setting, k]), len(ordered))
            if wanted:
                limits[setting, k] = ordered[wanted - 1]
            staying &= evidence.ease[:, k] < limits[setting, k]
    return base, limits


def shift(evidence: Evidence, limits: Floats, factor: float) -> Floats:
    """Return limits that multiply the odds of an image to reach them by ``factor``: above 1 looser, below 1 tighter.

    An exit that nobody leaves stays closed. Patience knows no steps in between and is returned as it is.

    Args:
        evidence: the split.
        limits: (settings, exits - 1), in units of ease.
        factor: positive.
    """
    if evidence.name == "patience":
        return limits
    moved = limits.copy()
    for k in range(evidence.exits - 1):
        ordered = np.sort(evidence.ease[:, k])
        leaving = evidence.images - np.searchsorted(ordered, limits[:, k], side="left")
        odds = factor * leaving / np.maximum(evidence.images - leaving, 0.5)
        wanted = evidence.images * odds / (1 + odds)
        count = np.ceil(wanted) if factor > 1 else np.floor(wanted)
        found = ordered[evidence.images - np.clip(count.astype(np.int64), 1, evidence.images)]
        bounded = np.minimum(found, limits[:, k]) if factor > 1 else np.maximum(found, limits[:, k])
        moved[:, k] = np.where(leaving > 0, bounded, limits[:, k])
    return moved
