"""Which of the trained exits are worth keeping: every subset, weighed by measured milliseconds and accuracy.

Every image that goes on has paid for each branch it passed, so fewer exits can be faster. A subset's thresholds are
chosen on one half of the calibration split and judged on the other, both ways round: among many subsets the luck of one
split would decide.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from msd_edge.bundle.manifest import RuleName
from msd_edge.errors import ConfigError
from msd_edge.exits.front import pareto
from msd_edge.exits.metrics import Labels
from msd_edge.exits.rules import Floats
from msd_edge.exits.search import search
from msd_edge.exits.thresholds import Evidence, Settings, evaluate, gather
from msd_edge.exits.weights import fit_weights

MOST_EXITS = 8


@dataclass(frozen=True)
class Subset:
    """Exits kept, with what to expect of them on images not used for choosing thresholds.

    Attributes:
        exits: 1-based, early to late.
        accuracy: share.
        ms: mean milliseconds an image.
        shares: of images leaving at each of ``exits``.
        holds: whether it keeps the accuracy that was asked for, as far as the split can tell: it misses it by no more
            than a standard error of the paired difference to the last trained exit.
    """

    exits: tuple[int, ...]
    accuracy: float
    ms: float
    shares: tuple[float, ...]
    holds: bool


def branch_times(segment_ms: Sequence[float], exit_ms: Sequence[float]) -> tuple[float, ...]:
    """Return what each exit but the last costs an image that passes it: its branch, decision and hand-over.

    The chain up to exit k costs what exit k costs alone, plus all branches passed before it. So the branches before
    exit k together cost the one minus the other; noise may not make one negative.

    Args:
        segment_ms: of every segment, in the chain.
        exit_ms: of every exit alone.
    """
    extra = np.cumsum(segment_ms) - np.asarray(exit_ms)
    return tuple(np.diff(np.maximum.accumulate(np.maximum(extra, 0))).tolist())


def subset_times(exits: Sequence[int], exit_ms: Sequence[float], branches: Sequence[float]) -> tuple[float, ...]:
    """Return the milliseconds until each of ``exits`` (1-based) when only these exist."""
    found, passed = [], 0.0
    for index in exits:
        found.append(exit_ms[index - 1] + passed)
        passed += branches[index - 1] if index <= len(branches) else 0.0
    return tuple(np.maximum.accumulate(found).tolist())


def weigh_subsets(
    rule: RuleName,
    logits: Floats,
    labels: Labels,
    temperatures: Sequence[float],
    segment_ms: Sequence[float],
    exit_ms: Sequence[float],
    *,
    max_drop: float = 0.0,
    max_ms: float | None = None,
) -> tuple[Subset, ...]:
    """Weigh every subset of exits, the best first.

    Without ``max_ms`` the best is the fastest of those that hold the last trained exit's accuracy less ``max_drop``,
    followed by the others by accuracy; with it, the most accurate within that time, followed by the slower ones.

    Args:
        rule: the kind of exit rule.
        logits: of every exit on the calibration split, (images, exits, classes).
        labels: (images,).
        temperatures: one per exit.
        segment_ms, exit_ms: measured, of every segment in the chain and of every exit alone.
        max_drop: share of accuracy that may be lost against the last exit.
        max_ms: expected milliseconds allowed.

    Raises:
        ConfigError: too many exits to try every subset.
        DataError: there are no images, or a logit is not finite.
    """
    count = logits.shape[1]
    if count > MOST_EXITS:
        raise ConfigError(f"{count} exits have {2**count - 1:,} subsets; at most {MOST_EXITS} exits are weighed.")
    branches = branch_times(segment_ms, exit_ms)
    halves = [np.arange(len(labels)) % 2 == side for side in (0, 1)]
    references = [logits[half][:, -1].argmax(-1) == labels[half] for half in halves]
    found = []

    @cache
    def weigh(side: int, places: tuple[int, ...]) -> tuple[float, ...]:
        half = halves[side]
        return fit_weights(logits[half][:, places], labels[half], temperatures[places[-1]])

    def see(side: int, places: Sequence[int], times: Sequence[float], fitted_on: int) -> Evidence:
        half, prefixes = halves[side], [tuple(places[: k + 1]) for k in range(len(places))]
        return gather(
            rule,
            logits[half][:, places],
            labels[half],
            [temperatures[place] for place in places],
            np.diff(times, prepend=0.0).tolist(),
            times,
            [weigh(fitted_on, prefix) for prefix in prefixes] if rule == "averaged" else [],
        )

    for size in range(1, count + 1):
        for exits in combinations(range(1, count + 1), size):
            places = [index - 1 for index in exits]
            times = subset_times(exits, exit_ms, branches)
            parts = [(see(here, places, times, here), see(1 - here, places, times, here)) for here in (0, 1)]
            found.append(_judge(exits, parts, references, max_drop, max_ms))
    return tuple(sorted(found, key=lambda one: _rank(one, max_ms)))


def _judge(
    exits: tuple[int, ...],
    parts: Sequence[tuple[Evidence, Evidence]],
    references: Sequence[NDArray[np.bool_]],
    max_drop: float,
    max_ms: float | None,
) -> Subset:
    right = gained = lost = 0
    total_ms = 0.0
    left = np.zeros(len(exits))
    images = sum(unseen.images for _, unseen in parts)
    for here, (seen, unseen) in enumerate(parts):
        front = pareto(evaluate(seen, search(seen)))
        place = _choose(front, seen, references[here], max_drop, max_ms)
        limits = front.limits[place : place + 1]
        result = evaluate(unseen, limits)
        answers, reference = _answers(unseen, limits)[0], references[1 - here]
        right += int(answers.sum())
        gained += int((answers & ~reference).sum())
        lost += int((~answers & reference).sum())
        total_ms += float(result.ms[0]) * unseen.images
        left += result.left[0]
    holds = gained - lost + max_drop * images >= -math.sqrt(gained + lost)
    return Subset(exits, right / images, total_ms / images, tuple((left / images).tolist()), holds)


def _choose(
    front: Settings, evidence: Evidence, reference: NDArray[np.bool_], max_drop: float, max_ms: float | None
) -> int:
    """Return the place on a front (accurate to fast) that meets the wish, a standard error to spare."""
    if max_ms is not None:
        fitting = np.flatnonzero(front.ms <= max_ms)
        return int(fitting[0]) if len(fitting) else len(front) - 1
    answers = _answers(evidence, front.limits)
    gained, lost = (answers & ~reference).sum(axis=1), (~answers & reference).sum(axis=1)
    enough = np.flatnonzero(gained - lost + max_drop * evidence.images >= np.sqrt(gained + lost))
    return int(enough[-1]) if len(enough) else 0


def _answers(evidence: Evidence, limits: Floats) -> NDArray[np.bool_]:
    """Return for each setting which images it gets right, (settings, images)."""
    leaving = evidence.ease[None] >= limits[:, None]
    last = np.ones((*leaving.shape[:2], 1), dtype=np.bool_)
    taken = np.concatenate([leaving, last], axis=2).argmax(axis=2)
    found: NDArray[np.bool_] = evidence.right[np.arange(evidence.images), taken]
    return found


def _rank(one: Subset, max_ms: float | None) -> tuple[float, ...]:
    if max_ms is not None:
        return (0, -one.accuracy, one.ms) if one.ms <= max_ms else (1, one.ms, -one.accuracy)
    return (0, one.ms, -one.accuracy) if one.holds else (1, -one.accuracy, one.ms)
