"""Weights by which the ``averaged`` rule mixes the logits of the exits so far."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from msd_edge.errors import DataError
from msd_edge.exits.metrics import Labels, accuracy, nll
from msd_edge.exits.rules import Floats, mix, softmax, split_exits
from msd_edge.exits.temperature import HIGHEST as WIDEST
from msd_edge.exits.temperature import LOWEST as NARROWEST

HIGHEST = 1 / NARROWEST

_STEPS = 50
_SHORTEST = 1e-6
_NUMBERS = 1 << 23  # logits looked at: of many classes some of the images tell as much
_FEWEST = 1000  # images


def fit_all_weights(logits: Floats, labels: Labels, temperatures: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    """Return the weights of every exit, see ``fit_weights``.

    Args:
        logits: of every exit, (images, exits, classes), in a mixed order.
        labels: (images,).
        temperatures: one per exit.

    Raises:
        DataError: as ``fit_weights``.
    """
    return tuple(fit_weights(logits[:, : k + 1], labels, temperature) for k, temperature in enumerate(temperatures))


def fit_weights(logits: Floats, labels: Labels, temperature: float) -> tuple[float, ...]:
    """Return the weights whose mixture of logits has the least negative log-likelihood.

    They are within [0, 20], and that of the exit that answers is at least 0.05, the widest temperature.

    The weighted geometric mean of the exits' probabilities (Zero Time Waste, Wołczyk et al. 2021, arXiv 2106.05409,
    with no bias): the softmax of sum_j w_j z_j. The loss is convex in w; Newton steps are projected onto the box
    (Bertsekas 1982), from the last exit alone at its temperature. Targets are smoothed as in ``fit_temperature``. Where
    the mixture has a worse likelihood on all images, or names fewer of them right, than that exit alone, the exit
    answers alone.

    Args:
        logits: of some exits, the one that answers last, (images, exits, classes), in a mixed order.
        labels: (images,).
        temperature: fitted, of the exit that answers.

    Raises:
        DataError: there are no images, or a logit is not finite.
    """
    if not len(labels):
        raise DataError("weights cannot be fitted: the calibration set is empty.")
    if not np.isfinite(logits).all():
        raise DataError("weights cannot be fitted: some logits are not finite.")
    values = logits[: max(_FEWEST, _NUMBERS // (logits.shape[1] * logits.shape[2]))].astype(np.float64)
    images, exits, _ = values.shape
    alone = np.zeros(exits)
    alone[-1] = 1 / temperature
    if exits == 1:
        return (float(alone[0]),)
    values -= values.max(axis=2, keepdims=True)
    smoothing = 1 / (images + 2)
    wanted = (1 - smoothing) * values[np.arange(images), :, labels[:images]] + smoothing * values.mean(axis=2)
    low = np.zeros(exits)
    low[-1] = 1 / WIDEST
    weights = alone
    for _ in range(_STEPS):
        slope, curvature = _derivatives(values, wanted, weights)
        held = ((weights <= low) & (slope > 0)) | ((weights >= HIGHEST) & (slope < 0))
        free = np.flatnonzero(~held)
        if not len(free):
            break
        step = np.zeros(exits)
        # A hair of ridge: exits that say the same have no one best pair of weights, one that says nothing has any.
        ridge = np.diag(1e-9 * np.diag(curvature)[free] + 1e-30)
        step[free] = -np.linalg.solve(curvature[np.ix_(free, free)] + ridge, slope[free])
        found = _go_down(values, wanted, weights, step, low)
        if found is None:
            break
        moved = float(np.abs(found - weights).max())
        weights = found
        if moved < _SHORTEST:
            break
    chosen = tuple(weights.tolist())
    mixed = mix(split_exits(logits), chosen)
    better = nll(mixed, labels) <= nll(logits[:, -1], labels, temperature)
    as_good = accuracy(softmax(mixed), labels) >= accuracy(logits[:, -1], labels)
    return chosen if better and as_good else tuple(alone.tolist())


def _go_down(
    values: NDArray[np.float64],
    wanted: NDArray[np.float64],
    weights: NDArray[np.float64],
    step: NDArray[np.float64],
    low: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """Return weights of a lower loss on the way of the step, bent along the box; None: there are none."""
    share, loss = 1.0, _loss(values, wanted, weights)
    while share > _SHORTEST:
        found = np.clip(weights + share * step, low, HIGHEST)
        if _loss(values, wanted, found) < loss:
            return found
        share /= 2
    return None


def _loss(values: NDArray[np.float64], wanted: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the mean loss; arguments as of ``_derivatives``."""
    mixed = np.einsum("nkc,k->nc", values, weights)
    top = mixed.max(axis=1, keepdims=True)
    total = np.exp(mixed - top).sum(axis=1)
    return float(np.mean(top[:, 0] + np.log(total) - wanted @ weights))


def _derivatives(
    values: NDArray[np.float64], wanted: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first and second derivatives of the mean loss by the weights: E_p[z] - z_target, Cov_p[z].

    Args:
        values: logits less their maximum, (images, exits, classes).
        wanted: of the smoothed target, (images, exits).
        weights: (exits,).
    """
    mixed = np.einsum("nkc,k->nc", values, weights)
    shares = np.exp(mixed - mixed.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    weighed = values * shares[:, None]
    mean = weighed.sum(axis=2)
    slope: NDArray[np.float64] = (mean - wanted).mean(axis=0)
    second = np.einsum("nkc,nlc->kl", weighed, values, optimize=True) / len(values)
    curvature: NDArray[np.float64] = second - mean.T @ mean / len(values)
    return slope, curvature
