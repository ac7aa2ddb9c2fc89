"""Statistics of times: nothing clipped, percentiles as numpy has them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msd_edge.benchmarks.stats import percentile, summarise

TIMES = st.lists(st.floats(0, 1e7, allow_nan=False), min_size=1, max_size=200)


@settings(deadline=None)
@given(TIMES)
def test_figures_are_ordered_and_from_all_values(times: list[float]) -> None:
    found = summarise(times)
    assert found.count == len(times)
    assert found.minimum == min(times)
    assert found.maximum == max(times)
    assert found.minimum <= found.median <= found.p90 <= found.p99 <= found.maximum
    assert found.minimum <= found.mean <= found.maximum


@settings(deadline=None)
@given(TIMES)
def test_percentiles_are_numpys(times: list[float]) -> None:
    found = summarise(times)
    expected = np.percentile(np.array(times), [50, 90, 99])
    assert np.allclose([found.median, found.p90, found.p99], expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(TIMES, st.randoms())
def test_order_does_not_matter(times: list[float], random: object) -> None:
    mixed = list(times)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert summarise(mixed) == summarise(times)


def test_an_outlier_stays_in() -> None:
    found = summarise([1.0] * 99 + [1000.0])
    assert found.maximum == 1000.0
    assert found.mean == pytest.approx(10.99)
    assert found.median == 1.0
    assert found.p99 == pytest.approx(1.0 + 0.01 * 999)


def test_the_name_of_the_raw_list_is_kept() -> None:
    assert summarise([1.0], "tflite-int8/exit-1/total").raw == "tflite-int8/exit-1/total"


@pytest.mark.parametrize("times", [[], [-1.0], [float("nan")], [float("inf")]])
def test_no_times_and_impossible_times_are_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match="time"):
        summarise(times)


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 1.5), ([1.0], -0.1)])
def test_impossible_percentiles_are_refused(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile(values, share)
