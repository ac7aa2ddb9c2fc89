"""From the logits of a calibration split to what goes into a bundle: temperatures, front, operating points."""

from collections.abc import Sequence

import numpy as np

from msd_edge.bundle.manifest import Calibration, ExitCalibration, LatencySource, RuleName
from msd_edge.errors import ConfigError, DataError
from msd_edge.exits.front import OutOfReach, budgeted_points, build_front, front_points, named_points
from msd_edge.exits.metrics import Labels, quality
from msd_edge.exits.rules import Floats
from msd_edge.exits.temperature import fit_temperature
from msd_edge.exits.thresholds import gather
from msd_edge.exits.weights import fit_all_weights


def fit_exits(logits: Floats, labels: Labels) -> tuple[ExitCalibration, ...]:
    """Fit a temperature to each exit and say what it changed.

    Args:
        logits: of every exit, (images, exits, classes).
        labels: (images,).

    Raises:
        DataError: there are no images, or a logit is not finite.
    """
    fitted = []
    for place in range(logits.shape[1]):
        own = logits[:, place]
        temperature = fit_temperature(own, labels)
        before, after = quality(own, labels), quality(own, labels, temperature)
        fitted.append(
            ExitCalibration(
                exit=place + 1,
                temperature=temperature,
                nll_before=before.nll,
                nll_after=after.nll,
                ece_before=before.ece,
                ece_after=after.ece,
                accuracy=before.accuracy,
            )
        )
    return tuple(fitted)


def fit_calibration(
    rule: RuleName,
    logits: Floats,
    labels: Labels,
    *,
    latency: LatencySource,
    chain_macs: Sequence[float],
    split_sha256: str,
    min_accuracy: float | None = None,
    max_ms: float | None = None,
    unmet: list[str] | None = None,
) -> Calibration:
    """Fit temperatures, then thresholds on the scaled logits, and choose the operating points.

    For ``averaged`` weights are fitted too, and thresholds on the weighed logits.

    Args:
        rule: the kind of exit rule.
        logits: what the files gave for the calibration split, (images, exits, classes).
        labels: (images,).
        latency: milliseconds of each segment.
        chain_macs: multiply-accumulates until each exit.
        split_sha256: names the split.
        min_accuracy: a share; adds the point ``custom``.
        max_ms: expected milliseconds; adds the point ``custom``.
        unmet: gets a sentence on a wish that cannot be met, and there is no ``custom`` then; None: raise it.

    Raises:
        OutOfReach: a wish cannot be met; the message says what can.
        ConfigError: numbers of exits differ.
        DataError: there are no images, labels do not fit, or a logit is not finite.
    """
    if logits.ndim != 3 or len(labels) != len(logits):
        raise DataError(f"logits of shape {logits.shape} do not fit {len(labels)} labels.")
    if len(labels) and (np.min(labels) < 0 or np.max(labels) >= logits.shape[2]):
        raise DataError(
            f"labels run from {np.min(labels)} to {np.max(labels)}, and the exits know {logits.shape[2]} classes."
        )
    if len(latency.segment_ms) != logits.shape[1]:
        raise ConfigError(f"there are {len(latency.segment_ms)} segment times for {logits.shape[1]} exits.")
    exits = fit_exits(logits, labels)
    temperatures = [part.temperature for part in exits]
    weights: tuple[tuple[float, ...], ...] = ()
    if rule == "averaged":
        weights = fit_all_weights(logits, labels, temperatures)
        exits = tuple(part.model_copy(update={"weights": own}) for part, own in zip(exits, weights, strict=True))
    evidence = gather(rule, logits, labels, temperatures, latency.segment_ms, chain_macs, weights)
    front = build_front(evidence)
    try:
        points = named_points(front, min_accuracy=min_accuracy, max_ms=max_ms)
    except OutOfReach as problem:
        if unmet is None:
            raise
        unmet.append(str(problem))
        points = named_points(front)
    return Calibration(
        rule=rule,
        images=len(labels),
        split_sha256=split_sha256,
        exits=exits,
        latency=latency,
        points=points,
        front=front_points(front),
        budgeted=budgeted_points(evidence),
    )
