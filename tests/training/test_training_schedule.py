import pytest
from hypothesis import given
from hypothesis import strategies as st

from msd_edge.training.schedule import freezing_epochs, image_sides, learning_rate


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


@given(st.integers(8, 512), st.integers(8, 512), st.floats(0.25, 1), st.integers(1, 300))
def test_images_grow_to_all_of_their_size(height: int, width: int, initial: float, epochs: int) -> None:
    sides = [image_sides((height, width), initial, epoch, epochs) for epoch in range(epochs)]
    assert sides == sorted(sides)
    assert sides[-1] == (height, width)
    assert sides.count((height, width)) >= epochs // 3
    assert len(set(sides)) <= 7
    if epochs >= 3:  # eighths of it, in whole pixels
        assert abs(sides[0][0] / height - initial) <= 1 / 16 + 1 / height
        assert abs(sides[0][1] / width - initial) <= 1 / 16 + 1 / width


def test_images_stay_whole_where_they_begin_whole() -> None:
    assert {image_sides((32, 28), 1.0, epoch, 30) for epoch in range(30)} == {(32, 28)}


def test_thirds_of_a_training() -> None:
    sides = [image_sides((32, 32), 0.5, epoch, 12)[0] for epoch in range(12)]
    assert sides == [16, 16, 16, 16, 20, 24, 28, 32, 32, 32, 32, 32]


@given(st.integers(1, 12), st.floats(0.1, 1), st.integers(1, 300))
def test_early_pieces_are_frozen_first_and_the_last_one_never(pieces: int, first: float, epochs: int) -> None:
    ends = freezing_epochs(pieces, first, epochs)
    assert list(ends) == sorted(ends)
    assert len(ends) == pieces
    assert ends[0] >= 1
    assert ends[-1] == epochs
    if pieces > 1:
        assert abs(ends[0] - max(1, first * epochs)) <= 0.5


def test_nothing_is_frozen_where_nothing_is_asked() -> None:
    assert freezing_epochs(4, 1.0, 30) == (30,) * 4


def test_pieces_between_are_frozen_evenly() -> None:
    assert freezing_epochs(3, 0.5, 20) == (10, 15, 20)
