"""The watch over exit shares: no alarm where nothing changed, an alarm where it did, and honest statistics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from msd_edge.exits.watch import ShareWatch, chi_squared_tail, compare_counts


@given(st.floats(0, 400), st.integers(1, 12))
def test_the_tail_is_that_of_chi_squared(value: float, freedom: int) -> None:
    assert chi_squared_tail(value, freedom) == pytest.approx(stats.chi2.sf(value, freedom), rel=1e-9, abs=1e-290)


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), min_size=2, max_size=6))
def test_counts_are_compared_as_scipy_does(kinds: list[tuple[int, int]]) -> None:
    first, second = zip(*kinds, strict=True)
    found = compare_counts(first, second)
    expected = stats.chi2_contingency(np.array([first, second]), correction=False, lambda_="log-likelihood").pvalue
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-200)


def test_an_exit_that_nobody_took_is_no_evidence() -> None:
    assert compare_counts([100, 0, 50], [10, 0, 5]) == 1.0
    assert compare_counts([100], [10]) == 1.0


def test_expected_shares_raise_no_alarm_and_others_do() -> None:
    rng = np.random.default_rng(0)
    expected = (0.6, 0.3, 0.1)
    watch = ShareWatch(expected, calibration_images=1000)
    alarms = 0
    for exit_ in 1 + rng.choice(3, 200 * 200, p=expected):
        watch.add(int(exit_))
        alarms += watch.drift is not None and watch.images % watch.window == 0
    assert alarms == 0
    for exit_ in 1 + rng.choice(3, 200, p=(0.35, 0.4, 0.25)):
        watch.add(int(exit_))
    assert watch.drift is not None
    assert watch.drift.p_value < 1e-4
    assert "of the last 200 images" in str(watch.drift)
    assert "expected 60 / 30 / 10 %" in str(watch.drift)
    for exit_ in 1 + rng.choice(3, 200, p=expected):
        watch.add(int(exit_))
    assert watch.drift is None


@pytest.mark.parametrize(("shares", "images", "window"), [((), 10, 10), ((0.5, 0.4), 10, 10), ((1.0,), 0, 10)])
def test_promises_that_are_none_are_refused(shares: tuple[float, ...], images: int, window: int) -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        ShareWatch(shares, images, window)
