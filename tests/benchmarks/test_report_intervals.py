"""Wilson's interval."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msd_edge.benchmarks.report.intervals import half_width, wilson


def test_known_values():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(1820, 2000) == pytest.approx((0.8967, 0.9218), abs=1e-4)


@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_it_holds_the_share_and_mirrors(pair):
    correct, images = pair
    low, high = wilson(correct, images)
    assert 0 <= low <= correct / images + 1e-12
    assert correct / images - 1e-12 <= high <= 1
    assert wilson(images - correct, images) == pytest.approx((1 - high, 1 - low), abs=1e-9)
    assert (high - low) / 2 <= half_width(correct, images) + 1e-12
