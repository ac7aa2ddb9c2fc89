"""Temperature scaling: one number per exit that makes its probabilities honest (Guo et al. 2017, section 4.2)."""

import numpy as np
from numpy.typing import NDArray

from msd_edge.errors import DataError
from msd_edge.exits.metrics import Labels, nll
from msd_edge.exits.rules import Floats

LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(logits: Floats, labels: Labels) -> float:
    """Return the temperature that minimises the negative log-likelihood, within [0.05, 20].

    The loss is convex in 1/T, so that its one minimum is found by Newton steps kept inside a shrinking bracket. A set
    that the exit separates perfectly has no finite minimum: the likelihood asks for ever sharper softmaxes, until all
    top probabilities are 1 and no threshold can tell images apart. So the target of every image is smoothed towards
    the uniform distribution by 1 / (images + 2), after Platt (1999): as if one more image had been seen whose class
    nobody knows. If that fit is not better on the plain likelihood than no scaling, the temperature is 1.

    Args:
        logits: of one exit, (images, classes).
        labels: (images,).

    Raises:
        DataError: there are no images, or a logit is not finite.
    """
    if not len(labels):
        raise DataError("a temperature cannot be fitted: the calibration set is empty.")
    values = logits.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError("a temperature cannot be fitted: some logits are not finite.")
    values -= values.max(axis=1, keepdims=True)
    smoothing = 1 / (len(labels) + 2)
    wanted = (1 - smoothing) * values[np.arange(len(labels)), labels] + smoothing * values.mean(axis=1)
    if not values.any():  # every image has equal logits: all temperatures are the same
        return 1.0
    low, high = 1 / HIGHEST, 1 / LOWEST
    inverse = 1.0
    for _ in range(100):
        slope, curvature = _derivatives(values, wanted, inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else -1.0
        if not low < step < high:
            step = (low * high) ** 0.5
        if abs(step - inverse) <= 1e-9 * inverse:
            break
        inverse = step
    temperature = min(max(1 / inverse, LOWEST), HIGHEST)
    return temperature if nll(logits, labels, temperature) <= nll(logits, labels) else 1.0


def _derivatives(values: NDArray[np.float64], wanted: NDArray[np.float64], inverse: float) -> tuple[float, float]:
    """Return the first and second derivative of the mean loss by 1/T: E_p[z] - z_target, Var_p[z]."""
    weights = np.exp(values * inverse)
    weights /= weights.sum(axis=1, keepdims=True)
    mean = (weights * values).sum(axis=1)
    variance = (weights * values**2).sum(axis=1) - mean**2
    return float(np.mean(mean - wanted)), float(np.mean(variance))
