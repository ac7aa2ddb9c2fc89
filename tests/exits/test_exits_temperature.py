"""Temperatures and metrics: never worse than before, robust where there is no finite optimum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.simulated_logits import simulate

from msd_edge.errors import DataError
from msd_edge.exits.metrics import accuracy, ece, nll, quality, reliability
from msd_edge.exits.rules import softmax
from msd_edge.exits.temperature import HIGHEST, LOWEST, fit_temperature


@given(
    logits=hnp.arrays(np.float32, (20, 4), elements=st.floats(-50, 50, width=32)),
    labels=hnp.arrays(np.int64, 20, elements=st.integers(0, 3)),
)
@settings(max_examples=150, deadline=None)
def test_never_worse_than_before(logits, labels):
    temperature = fit_temperature(logits, labels)
    assert LOWEST <= temperature <= HIGHEST
    assert nll(logits, labels, temperature) <= nll(logits, labels)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_finds_the_temperature_the_labels_were_drawn_with(true):
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(20000, 5)) * 3).astype(np.float32)
    probabilities = softmax(logits, true).astype(np.float64)
    labels = (probabilities.cumsum(axis=1) < rng.random((20000, 1))).sum(axis=1).clip(0, 4)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(true, rel=0.03)
    assert ece(logits, labels, temperature) < 0.015
    # It is the minimum: both neighbours are no better (but for the smoothing of one image in 20,000).
    assert nll(logits, labels, temperature) <= min(nll(logits, labels, temperature * f) for f in (0.97, 1.03)) + 1e-6


def test_a_perfectly_separated_set_keeps_its_images_apart():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, 150)
    logits = rng.normal(size=(150, 10)).astype(np.float32)
    logits[np.arange(150), labels] += 12
    temperature = fit_temperature(logits, labels)
    confidence = softmax(logits, temperature).max(axis=1)
    assert LOWEST < temperature < HIGHEST
    assert len(np.unique(confidence)) > 100  # not all rounded to 1
    assert 0.95 < confidence.mean() < 1


def test_one_class_equal_logits_and_hopeless_exits():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(50, 3)).astype(np.float32)
    assert LOWEST <= fit_temperature(logits, np.zeros(50, dtype=np.int64)) <= HIGHEST
    assert fit_temperature(np.zeros((50, 3), dtype=np.float32), np.arange(50) % 3) == 1.0
    wrong = np.eye(3, dtype=np.float32)[np.arange(30) % 3] * 10
    assert fit_temperature(wrong, (np.arange(30) + 1) % 3) == pytest.approx(HIGHEST, rel=0.01)


def test_empty_and_infinite_are_refused():
    with pytest.raises(DataError, match="empty"):
        fit_temperature(np.zeros((0, 3), dtype=np.float32), np.zeros(0, dtype=np.int64))
    with pytest.raises(DataError, match="not finite"):
        fit_temperature(np.array([[np.nan, 0]], dtype=np.float32), np.array([0]))


def test_metrics_by_hand():
    logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.3, 0.7]], dtype=np.float32))
    labels = np.array([0, 1, 1, 1])
    assert accuracy(logits, labels) == 0.75
    assert nll(logits, labels) == pytest.approx(-np.mean(np.log([0.9, 0.1, 0.6, 0.7])), rel=1e-5)
    # Bins of 1/15: the two 0.9 in one (accuracy 0.5), 0.6 and 0.7 in theirs (accuracy 1).
    assert ece(logits, labels) == pytest.approx((2 * 0.4 + 0.4 + 0.3) / 4, rel=1e-5)
    found = quality(logits, labels)
    assert (found.accuracy, found.nll, found.ece) == (0.75, nll(logits, labels), ece(logits, labels))


@given(seed=st.integers(0, 1000), temperature=st.floats(0.05, 20), bins=st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_reliability_counts_every_image_once_in_its_bin(seed, temperature, bins):
    logits, labels = simulate(60, seed)
    found = reliability(logits[:, 0], labels, temperature, bins)
    assert sum(part.count for part in found) == 60
    assert sum(part.count * part.accuracy for part in found) == pytest.approx(60 * accuracy(logits[:, 0], labels))
    for part in found:
        assert not part.count or part.low - 1e-6 <= part.confidence <= part.high + 1e-6
        assert part.count or part.confidence == part.accuracy == 0
