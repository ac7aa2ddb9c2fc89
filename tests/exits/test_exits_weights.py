"""Weights of mixed exits: never worse than the last of them alone, and found again where they are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.simulated_logits import simulate

from msd_edge.errors import DataError
from msd_edge.exits.metrics import nll
from msd_edge.exits.rules import mix, softmax
from msd_edge.exits.temperature import fit_temperature
from msd_edge.exits.weights import HIGHEST, fit_weights


def fit(logits: np.ndarray, labels: np.ndarray) -> tuple[tuple[float, ...], float]:
    """Return the weights, and the likelihood of the last exit at its temperature."""
    temperature = fit_temperature(logits[:, -1], labels)
    return fit_weights(logits, labels, temperature), nll(logits[:, -1], labels, temperature)


def loss(logits: np.ndarray, labels: np.ndarray, weights: tuple[float, ...]) -> float:
    return nll(mix(list(logits.swapaxes(0, 1)), weights), labels)


@given(
    logits=hnp.arrays(np.float32, (20, 3, 4), elements=st.floats(-50, 50, width=32)),
    labels=hnp.arrays(np.int64, 20, elements=st.integers(0, 3)),
)
@settings(max_examples=150, deadline=None)
def test_never_worse_than_the_last_exit_alone(logits: np.ndarray, labels: np.ndarray) -> None:
    weights, alone = fit(logits, labels)
    assert len(weights) == 3
    assert all(0 <= weight <= HIGHEST for weight in weights)
    assert weights[-1] >= 0.05
    assert loss(logits, labels, weights) <= alone + 1e-6
    named = softmax(mix(list(logits.swapaxes(0, 1)), weights)).argmax(-1)
    assert (named == labels).sum() >= (logits[:, -1].argmax(-1) == labels).sum()


@pytest.mark.parametrize("true", [(0.5, 0.3, 0.8), (0.0, 1.0, 0.4)])
def test_finds_the_weights_the_labels_were_drawn_with(true: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(20000, 3, 5)) * 2).astype(np.float32)
    shares = softmax(mix(list(logits.swapaxes(0, 1)), true)).astype(np.float64)
    labels = (shares.cumsum(axis=1) < rng.random((20000, 1))).sum(axis=1).clip(0, 4)
    weights, alone = fit(logits, labels)
    assert weights == pytest.approx(true, abs=0.03)
    assert loss(logits, labels, weights) < alone - 0.05
    # It is the minimum: no neighbour is better (but for the smoothing of one image in 20,000).
    for place in range(3):
        for factor in (0.95, 1.05):
            near = [*weights]
            near[place] *= factor
            assert loss(logits, labels, weights) <= loss(logits, labels, tuple(near)) + 1e-6


def test_exits_that_err_alike_and_unlike() -> None:
    logits, labels = simulate(3000, 3, margins=(4.6, 5.0), alike=0.3)
    weights, alone = fit(logits, labels)
    assert min(weights) > 0.1  # both know something
    assert loss(logits, labels, weights) < alone
    twins = np.repeat(logits[:, -1:], 2, axis=1)
    weights, alone = fit(twins, labels)
    assert loss(twins, labels, weights) == pytest.approx(alone, abs=1e-4)


def test_the_first_exit_has_its_temperature() -> None:
    logits, labels = simulate(200, 1)
    temperature = fit_temperature(logits[:, 0], labels)
    assert fit_weights(logits[:, :1], labels, temperature) == (1 / temperature,)


def test_a_perfectly_separated_set_has_finite_weights() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, 150)
    logits = rng.normal(size=(150, 2, 10)).astype(np.float32)
    logits[np.arange(150), :, labels] += 12
    weights, _ = fit(logits, labels)
    confidence = softmax(mix(list(logits.swapaxes(0, 1)), weights)).max(axis=1)
    assert len(np.unique(confidence)) > 50  # not all rounded to 1
    assert fit(np.zeros((50, 2, 3), np.float32), np.arange(50) % 3)[0] == (0.0, 1.0)


def test_exits_of_very_different_scale_are_fitted_as_well() -> None:
    logits, labels = simulate(2000, 3, margins=(4.6, 5.0), alike=0.3)
    weights, _ = fit(logits, labels)
    scaled = logits * np.array([[[30.0], [1.0]]], np.float32)
    found, _ = fit(scaled, labels)
    assert loss(scaled, labels, found) == pytest.approx(loss(logits, labels, weights), abs=1e-5)


def test_of_many_classes_some_images_are_enough() -> None:
    logits, labels = simulate(9000, 5, margins=(4.6, 5.0), alike=0.3, classes=900)
    weights, alone = fit(logits, labels)
    few, _ = fit(logits[:4660], labels[:4660])
    assert weights == pytest.approx(few, abs=1e-6)
    assert loss(logits, labels, weights) < alone


def test_empty_and_infinite_are_refused() -> None:
    with pytest.raises(DataError, match="weights cannot be fitted: the calibration set is empty"):
        fit_weights(np.zeros((0, 2, 3), dtype=np.float32), np.zeros(0, dtype=np.int64), 1.0)
    with pytest.raises(DataError, match="weights cannot be fitted: some logits are not finite"):
        fit_weights(np.full((1, 2, 3), np.nan, dtype=np.float32), np.array([0]), 1.0)
