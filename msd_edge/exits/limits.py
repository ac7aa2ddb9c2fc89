"""What quantized logits can express: no probability beyond it ever comes out, so no threshold beyond it is reached."""

from collections.abc import Sequence

import numpy as np

from msd_edge.bundle.manifest import TensorSpec
from msd_edge.exits.rules import ExitRule, Floats, never, score


def sharpest(rule: ExitRule, exit: int, logits: Sequence[TensorSpec]) -> float | None:
    """Return the best score an exit's quantized logits can express, None for floats or patience: no limit.

    An 8-bit tensor holds values at most 255 steps apart: the surest answer has one class at the top of the range and
    all others at its bottom.

    Args:
        rule: the exit rule; ``entropy`` scores are lowest at their best, all others highest.
        exit: 0-based.
        logits: the outputs of exits 0..exit at least, shape (1, classes).
    """
    if rule.name == "patience":
        return None
    surest: list[Floats] = []
    for place, spec in enumerate(logits[: exit + 1]):
        if spec.scale is None and (place == exit or rule.name == "averaged"):
            return None
        surest.append(np.zeros((1, spec.shape[-1]), dtype=np.float32))
        surest[-1][0, 0] = np.float32(255) * np.float32(spec.scale or 0)
    return float(score(rule.name, *rule.basis(exit, surest))[0])


def unreachable(rule: ExitRule, logits: Sequence[TensorSpec]) -> tuple[int, ...]:
    """Return the exits (1-based) that no image can leave although their threshold does not say "never".

    Args:
        rule: the exit rule.
        logits: the output of each exit.
    """
    found = []
    closed = never(rule.name, rule.exits)
    for place, threshold in enumerate(rule.thresholds):
        best = sharpest(rule, place, logits)
        if best is None or threshold == closed:
            continue
        limit = float(np.float32(threshold))
        if best > limit if rule.name == "entropy" else best < limit:
            found.append(place + 1)
    return tuple(found)
