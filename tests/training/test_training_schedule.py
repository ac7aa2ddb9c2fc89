import pytest
from hypothesis import given
from hypothesis import strategies as st

from msd_edge.training.schedule import learning_rate


@given(st.sampled_from(["cosine", "one-cycle"]), st.floats(0, 1), st.integers(1, 500))
def test_rate_rises_to_its_peak_then_falls(schedule: str, warmup: float, steps: int) -> None:
    rates = [learning_rate(schedule, 0.1, warmup, step, steps) for step in range(steps)]
    assert all(0 < rate <= 0.1 + 1e-9 for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_last_step_is_small_but_moves() -> None:
    assert 0 < learning_rate("one-cycle", 1.0, 0.2, 99, 100) < 0.02
    assert learning_rate("cosine", 1.0, 0.0, 0, 100) == pytest.approx(1.0, rel=1e-3)
