"""What quantized logits can express: no probability beyond it ever comes out, so no threshold beyond it is reached."""

from collections.abc import Sequence

import numpy as np

from msd_edge.bundle.manifest import RuleName, TensorSpec
from msd_edge.exits.rules import ExitRule, Floats, never, score


def sharpest(name: RuleName, logits: TensorSpec, temperature: float) -> float | None:
    """Return the best score an exit's quantized logits can express, None for floats or patience: no limit.

    An 8-bit tensor holds values at most 255 steps apart: the surest answer has one class at the top of the range and
    all others at its bottom.

    Args:
        name: the kind of rule; ``max-softmax`` scores are highest, ``entropy`` scores lowest at their best.
        logits: the exit's output, shape (1, classes).
        temperature: of the exit.
    """
    if logits.scale is None or name == "patience":
        return None
    surest: Floats = np.zeros((1, logits.shape[-1]), dtype=np.float32)
    surest[0, 0] = np.float32(255) * np.float32(logits.scale)
    return float(score(name, surest, temperature)[0])


def unreachable(rule: ExitRule, logits: Sequence[TensorSpec]) -> tuple[int, ...]:
    """Return the exits (1-based) that no image can leave although their threshold does not say "never".

    Args:
        rule: the exit rule.
        logits: the output of each exit.
    """
    found = []
    closed = never(rule.name, rule.exits)
    for place, threshold in enumerate(rule.thresholds):
        best = sharpest(rule.name, logits[place], rule.temperatures[place])
        if best is None or threshold == closed:
            continue
        limit = float(np.float32(threshold))
        if best < limit if rule.name == "max-softmax" else best > limit:
            found.append(place + 1)
    return tuple(found)
