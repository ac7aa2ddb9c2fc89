"""Every subset of exits, weighed: times add up, thresholds are judged on images they were not chosen on."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.simulated_logits import simulate

from msd_edge.errors import ConfigError
from msd_edge.exits.rules import RULES
from msd_edge.exits.subsets import branch_times, subset_times, weigh_subsets


@given(
    trunk=st.lists(st.floats(0.1, 5), min_size=1, max_size=6),
    branches=st.lists(st.floats(0.01, 2), min_size=6, max_size=6),
)
@settings(deadline=None)
def test_branches_are_what_the_chain_costs_more_than_the_exits_alone(trunk, branches):
    branches = branches[: len(trunk)]
    segments = np.add(trunk, branches)
    alone = np.cumsum(trunk) + branches
    found = branch_times(segments.tolist(), alone.tolist())
    np.testing.assert_allclose(found, branches[:-1], atol=1e-9)
    count = len(trunk)
    every = subset_times(range(1, count + 1), alone.tolist(), found)
    np.testing.assert_allclose(every, np.maximum.accumulate(np.cumsum(segments)), atol=1e-9)
    assert subset_times([count], alone.tolist(), found) == pytest.approx((alone[-1],))


@given(
    segments=st.lists(st.floats(0, 5), min_size=1, max_size=6),
    noise=st.lists(st.floats(0, 5), min_size=6, max_size=6),
)
@settings(deadline=None)
def test_noise_never_makes_a_time_negative_or_a_later_exit_cheaper(segments, noise):
    alone = noise[: len(segments)]
    branches = branch_times(segments, alone)
    assert all(value >= 0 for value in branches)
    times = subset_times(range(1, len(segments) + 1), alone, branches)
    assert all(a <= b for a, b in pairwise(times))


SEGMENTS, ALONE = (0.5, 0.9, 1.0), (0.5, 1.0, 1.4)  # the second branch costs 0.6, the first 0.4


@pytest.fixture(scope="module")
def split():
    return simulate(2000, 1, margins=(4.4, 4.5, 5.4))


def weigh(split, **wish):
    return weigh_subsets("max-softmax", *split, (1.0,) * 3, SEGMENTS, ALONE, **wish)


def test_an_exit_that_hardly_helps_is_dropped(split):
    subsets = weigh(split, max_drop=0.005)
    assert {one.exits for one in subsets} == {(1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)}
    by_exits = {one.exits: one for one in subsets}
    assert subsets[0].exits == (1, 3)
    assert by_exits[(1, 3)].ms < by_exits[(1, 2, 3)].ms
    last = by_exits[(3,)]
    assert last.ms == pytest.approx(1.4)
    assert last.accuracy == float((split[0][:, -1].argmax(-1) == split[1]).mean())
    for one in subsets:
        assert sum(one.shares) == pytest.approx(1)


def test_within_a_time_the_most_accurate_comes_first(split):
    subsets = weigh(split, max_ms=0.9)
    fitting = [one for one in subsets if one.ms <= 0.9]
    assert fitting
    assert subsets[: len(fitting)] == tuple(fitting)
    assert all(a.accuracy >= b.accuracy for a, b in pairwise(fitting))


def test_every_rule_can_be_weighed(split):
    alone = weigh(split)
    for rule in RULES:
        found = weigh_subsets(rule, *split, (1.0,) * 3, SEGMENTS, ALONE)
        assert len(found) == 7
        for one in found:
            if len(one.exits) == 1:  # one exit answers as it does in any rule
                assert one.accuracy == next(other for other in alone if other.exits == one.exits).accuracy


def test_weights_are_judged_on_images_they_were_not_fitted_on():
    """Exits of pure noise: a sum fitted to these very labels would look better than chance."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 120)
    logits = rng.normal(size=(120, 8, 10)).astype(np.float32) * 3
    times = tuple(np.linspace(1, 1.7, 8))
    judged = weigh_subsets("averaged", logits, labels, (1.0,) * 8, (1.0, *(0.1,) * 7), times)
    (every,) = (one for one in judged if len(one.exits) == 8)
    assert every.accuracy < 0.2


def test_too_many_exits_are_refused():
    with pytest.raises(ConfigError, match="9 exits have 511 subsets"):
        weigh_subsets("max-softmax", np.zeros((4, 9, 2), np.float32), np.zeros(4, int), (1.0,) * 9, (1,) * 9, (1,) * 9)
