"""Weights by which the ``averaged`` rule mixes the logits of the exits so far."""

import numpy as np
from numpy.typing import NDArray

from msd_edge.errors import DataError
from msd_edge.exits.metrics import Labels, nll
from msd_edge.exits.rules import Floats, mix
from msd_edge.exits.temperature import LOWEST

HIGHEST = 1 / LOWEST

_STEPS = 50
_SHORTEST = 1e-6


def fit_weights(logits: Floats, labels: Labels, temperature: float) -> tuple[float, ...]:
    """Return the weights, each within [0, 20], whose mixture of logits has the least negative log-likelihood.

    The weighted geometric mean of the exits' probabilities (Zero Time Waste, Wołczyk et al. 2021, arXiv 2106.05409,
    with no bias): the softmax of sum_j w_j z_j. The loss is convex in w; Newton steps are projected onto the box
    (Bertsekas 1982), from the last exit alone at its temperature, and go down only, so that the mixture is never worse
    than that. Targets are smoothed as in ``fit_temperature``.

    Args:
        logits: of some exits, the one that answers last, (images, exits, classes).
        labels: (images,).
        temperature: fitted, of the exit that answers.

    Raises:
        DataError: there are no images, or a logit is not finite.
    """
    if not len(labels):
        raise DataError("weights cannot be fitted: the calibration set is empty.")
    values = logits.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError("weights cannot be fitted: some logits are not finite.")
    images, exits, _ = values.shape
    alone = np.zeros(exits)
    alone[-1] = 1 / temperature
    if exits == 1:
        return (float(alone[0]),)
    values -= values.max(axis=2, keepdims=True)
    smoothing = 1 / (images + 2)
    wanted = (1 - smoothing) * values[np.arange(images), :, labels] + smoothing * values.mean(axis=2)
    weights = alone
    loss, slope, curvature = _derivatives(values, wanted, weights)
    for _ in range(_STEPS):
        held = ((weights <= 0) & (slope > 0)) | ((weights >= HIGHEST) & (slope < 0))
        free = np.flatnonzero(~held)
        if not len(free):
            break
        step = np.zeros(exits)
        # A hair of ridge: exits that say the same have no one best pair of weights.
        ridge = 1e-9 * max(1.0, float(np.trace(curvature))) * np.eye(len(free))
        step[free] = -np.linalg.solve(curvature[np.ix_(free, free)] + ridge, slope[free])
        found = _go_down(values, wanted, weights, step, loss)
        if found is None:
            break
        moved = float(np.abs(found - weights).max())
        weights = found
        loss, slope, curvature = _derivatives(values, wanted, weights)
        if moved < _SHORTEST:
            break
    chosen = tuple(weights.tolist())
    mixed = mix([logits[:, place] for place in range(exits)], chosen)
    return chosen if nll(mixed, labels) <= nll(logits[:, -1], labels, temperature) else tuple(alone.tolist())


def _go_down(
    values: NDArray[np.float64],
    wanted: NDArray[np.float64],
    weights: NDArray[np.float64],
    step: NDArray[np.float64],
    loss: float,
) -> NDArray[np.float64] | None:
    """Return weights of a lower loss on the way of the step, bent along the box; None: there are none."""
    share = 1.0
    while share > _SHORTEST:
        found = np.clip(weights + share * step, 0, HIGHEST)
        if _derivatives(values, wanted, found)[0] < loss:
            return found
        share /= 2
    return None


def _derivatives(
    values: NDArray[np.float64], wanted: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean loss and its first and second derivatives by the weights: E_p[z] - z_target, Cov_p[z].

    Args:
        values: logits less their maximum, (images, exits, classes).
        wanted: of the smoothed target, (images, exits).
        weights: (exits,).
    """
    mixed = np.einsum("nkc,k->nc", values, weights)
    top = mixed.max(axis=1, keepdims=True)
    shares = np.exp(mixed - top)
    total = shares.sum(axis=1, keepdims=True)
    shares /= total
    loss = float(np.mean(top[:, 0] + np.log(total[:, 0]) - wanted @ weights))
    weighed = values * shares[:, None]
    mean = weighed.sum(axis=2)
    slope: NDArray[np.float64] = (mean - wanted).mean(axis=0)
    second = np.einsum("nkc,nlc->kl", weighed, values, optimize=True) / len(values)
    curvature: NDArray[np.float64] = second - mean.T @ mean / len(values)
    return loss, slope, curvature
