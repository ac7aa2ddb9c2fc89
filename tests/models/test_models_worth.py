"""From which share of leavers an exit pays."""

import pytest

from msd_edge.errors import ModelError
from msd_edge.models import worth
from msd_edge.models.build import ExitCost, NetworkConfig, build_network, measure_costs
from msd_edge.models.worth import EXPENSIVE, break_even, find_no_cheaper, mend_places


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


def describe(arch: str, **settings: object) -> NetworkConfig:
    return NetworkConfig(arch=arch, classes=10, image_shape=(3, 32, 32), mean=(1.0,), std=(1.0,), **settings)


@pytest.mark.parametrize(
    ("config", "places"),
    [
        (describe("mobilenetv1", width=8, branch="separable"), ("2:1", "3:2")),  # were 1:1, 3:2
        (describe("regnetx-200mf"), ("1:1", "3:2")),  # were 1:1, 2:1
    ],
)
def test_exits_that_cost_as_much_as_the_next_are_moved_no_further_than_needed(
    config: NetworkConfig, places: tuple[str, ...]
) -> None:
    costs = measure_costs(build_network(config))
    assert find_no_cheaper(costs) == (1,)
    assert mend_places(config, costs) == places
    mended = measure_costs(build_network(config.model_copy(update={"exits_at": ",".join(places)})))
    assert find_no_cheaper(mended) == ()
    assert [cost.place for cost in mended] == [*places, costs[-1].place]


def test_networks_from_elsewhere_are_not_built_again() -> None:
    costs = [ExitCost(place, 9, 9, 1, 1, 1, 1) for place in ("1:1", "2:1", "3:1")]
    assert mend_places(describe("no_such_file.py:build"), costs) == ()


def test_exits_that_cannot_stand_everywhere_are_left_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_config: NetworkConfig) -> None:
        raise ModelError("no branch can leave here.")

    config = describe("regnetx-200mf")
    costs = measure_costs(build_network(config))
    monkeypatch.setattr(worth, "build_network", fail)
    assert mend_places(config, costs) == ()


def test_where_every_branch_is_as_long_as_the_trunk_no_places_help():
    config = describe("resnet8")
    costs = measure_costs(build_network(config))
    assert find_no_cheaper(costs) == (1,)
    assert mend_places(config, costs) == ()


@pytest.mark.parametrize("arch", ["resnet20", "mobilenetv2", "airbench"])
def test_exits_that_are_spread_are_left_where_they_are(arch: str) -> None:
    config = describe(arch, width=8)
    costs = measure_costs(build_network(config))
    assert find_no_cheaper(costs) == ()
    assert mend_places(config, costs) == tuple(cost.place for cost in costs[:-1])
