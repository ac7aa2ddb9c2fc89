"""From which share of leavers an exit pays."""

import pytest

from msd_edge.models.build import ExitCost, NetworkConfig, build_network, measure_costs
from msd_edge.models.worth import EXPENSIVE, break_even


def cost(chain: int, branch: int) -> ExitCost:
    return ExitCost("1:1", 0, chain, branch, 0, 0, 0)


def test_at_break_even_the_exit_costs_what_it_saves():
    costs = [cost(30, 10), cost(70, 20), cost(100, 5)]
    shares = break_even(costs)
    # Without exit 1 every image pays 90; with it every image pays 30, and those that stay 70 more.
    assert 30 + (1 - shares[0]) * 70 == pytest.approx(90)
    # Without exit 2 an image that goes on from exit 1 pays 50; with it 40, and 30 more if it stays.
    assert 40 + (1 - shares[1]) * 30 == pytest.approx(50)


def test_a_sampled_branch_beside_a_short_rest_is_expensive():
    def shares(branch: str) -> tuple[float, ...]:
        config = NetworkConfig(
            arch="airbench", width=8, branch=branch, classes=10, image_shape=(3, 32, 32), mean=(1.0,), std=(1.0,)
        )
        return break_even(measure_costs(build_network(config)))

    assert shares("sampled")[1] > EXPENSIVE > shares("separable")[1]
