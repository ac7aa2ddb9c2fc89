"""The time that is left follows what the epochs to come cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msd_edge.models.build import ExitCost
from msd_edge.training.config import OptimConfig
from msd_edge.training.forecast import weigh_epochs


def cost(macs: int, branch: int, chain: int) -> ExitCost:
    return ExitCost("1:1", macs, chain, branch, 1, 1, 1)


COSTS = (cost(30, 10, 30), cost(60, 10, 70), cost(90, 0, 110))


def test_epochs_of_whole_images_cost_the_same() -> None:
    assert weigh_epochs(OptimConfig(epochs=3, qat_epochs=2), (32, 32), COSTS) == (1,) * 5


def test_small_images_cost_what_their_pixels_do() -> None:
    weights = weigh_epochs(OptimConfig(epochs=6, initial_scale=0.5), (32, 32), COSTS)
    assert weights == pytest.approx((0.25, 0.25, 0.5625, 1, 1, 1))


def test_frozen_pieces_are_not_differentiated() -> None:
    weights = weigh_epochs(OptimConfig(epochs=4, freeze_early=0.5, qat_epochs=1), (32, 32), COSTS)
    # Two thirds of the 20 of 110 up to the first exit, of the 50 up to the second, nothing in int8 arithmetic.
    assert weights == pytest.approx((1, 1, 1 - 2 / 3 * 20 / 110, 1 - 2 / 3 * 50 / 110, 1))


@given(st.integers(1, 60), st.floats(0.25, 1), st.floats(0.1, 1), st.integers(0, 3))
def test_every_epoch_costs_something(epochs: int, scale: float, frozen: float, more: int) -> None:
    optim = OptimConfig(epochs=epochs, initial_scale=scale, freeze_early=frozen, qat_epochs=more)
    weights = weigh_epochs(optim, (24, 40), COSTS)
    assert len(weights) == epochs + more
    assert all(0 < weight <= 1 for weight in weights)
