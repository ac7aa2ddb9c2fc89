"""The front is monotone, nothing evaluated beats it, its named points hold on images they were not chosen on."""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.simulated_logits import simulate

from msd_edge.errors import ConfigError
from msd_edge.exits.front import build_front, front_points, named_points
from msd_edge.exits.rules import RULES
from msd_edge.exits.search import search
from msd_edge.exits.temperature import fit_temperature
from msd_edge.exits.thresholds import Evidence, evaluate, gather
from msd_edge.exits.weights import fit_all_weights


def evidence_for(name, exits, seed, images=300, **how):
    logits, labels = simulate(images, seed, margins=np.linspace(4.0, 5.4, exits), **how)
    ms = np.linspace(1.0, 0.7, exits)
    weights = fit_all_weights(logits, labels, (1.0,) * exits) if name == "averaged" else ()
    return gather(name, logits, labels, (1.0,) * exits, ms, np.cumsum(ms), weights)


@cache
def front_for(name, exits, seed):
    return build_front(evidence_for(name, exits, seed))


fronts = st.builds(front_for, st.sampled_from(RULES), st.integers(1, 4), st.integers(0, 1))
wishes = st.tuples(st.floats(0.2, 0.9), st.floats(0.2, 0.9)).map(sorted)
times = st.tuples(st.floats(0.5, 4), st.floats(0.5, 4)).map(sorted)


def accuracy_of(front, setting):
    return (front.evidence.last_right + setting.difference[0]) / front.evidence.images


@given(front=fronts, accuracies=wishes, limits=times)
@settings(max_examples=200, deadline=None)
def test_asking_for_more_never_costs_less(front, accuracies, limits):
    """Raising the accuracy never lowers the milliseconds; raising the milliseconds never lowers the accuracy."""

    def attempt(choose, *arguments):
        try:
            return choose(*arguments)
        except ConfigError:
            return None

    low, high = (attempt(front.cheapest, accuracy) for accuracy in accuracies)
    if high is not None:
        assert low is not None
        assert low.ms[0] <= high.ms[0]
    short, long = (attempt(front.most_accurate, ms) for ms in limits)
    if short is not None:
        assert long is not None
        assert accuracy_of(front, short) <= accuracy_of(front, long)
        assert long.ms[0] <= limits[1]
    tight, loose = (attempt(front.cheapest, accuracies[0], ms) for ms in limits)
    if tight is not None:
        assert loose is not None
        assert accuracy_of(front, tight) >= accuracies[0] - 1e-12
        assert tight.ms[0] <= limits[0]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("exits", [1, 2, 3, 4])
def test_nothing_evaluated_beats_the_front(name, exits):
    front = front_for(name, exits, 0)
    pool = evaluate(front.evidence, search(front.evidence))
    settings_ = front.settings
    assert all(a > b for a, b in pairwise(settings_.ms.tolist()))
    assert all(a > b for a, b in pairwise(settings_.difference.tolist()))
    for place in range(len(pool)):
        as_good = settings_.difference >= pool.difference[place]
        assert as_good.any()
        assert settings_.ms[as_good].min() <= pool.ms[place] * 1.0051  # within half a percent the accurate one stays
    assert settings_.ms[-1] == pool.ms.min()
    assert settings_.difference[0] == pool.difference.max()


def brute_force(evidence: Evidence, steps: int) -> np.ndarray:
    """Return every combination of evenly spaced ranks, always and never."""
    ladders = []
    for k in range(evidence.exits - 1):
        ordered = np.sort(evidence.ease[:, k])
        ladders.append(np.concatenate([[-1.0], ordered[:: max(1, len(ordered) // steps)], [2.0]]).astype(np.float32))
    return np.stack([axis.ravel() for axis in np.meshgrid(*ladders, indexing="ij")], axis=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_descent_is_nearly_as_good_as_every_combination(seed):
    front = front_for("max-softmax", 4, seed)
    all_of_them = evaluate(front.evidence, brute_force(front.evidence, 12))
    for drop in (0.005, 0.02, 0.05):
        wanted = -drop * front.evidence.images
        best = all_of_them.ms[all_of_them.difference >= wanted].min()
        last = front.evidence.last_right / front.evidence.images
        assert front.cheapest(last - drop).ms[0] <= 1.02 * best


@pytest.mark.parametrize("rule", ["max-softmax", "averaged"])
@pytest.mark.parametrize("exits", [2, 3, 4])
def test_lossless_holds_on_fresh_images(exits, rule):
    """On the mean of several calibration splits it loses less than 0.02 points, and it is well below the full cost."""
    margins = np.linspace(4.8, 5.4, exits)
    ms = np.linspace(1.0, 0.8, exits)
    fresh, fresh_labels = simulate(40000, 99, margins=margins, alike=0.8)
    drops, costs = [], []
    for seed in range(4):
        logits, labels = simulate(3000, seed, margins=margins, alike=0.8)
        temperatures = [fit_temperature(logits[:, k], labels) for k in range(exits)]
        weights = fit_all_weights(logits, labels, temperatures) if rule == "averaged" else ()
        front = build_front(gather(rule, logits, labels, temperatures, ms, ms, weights))
        assert front.lossless.difference[0] >= 0
        outside = gather(rule, fresh, fresh_labels, temperatures, ms, ms, weights)
        found = evaluate(outside, front.lossless.limits)
        drops.append(found.difference[0] / outside.images)
        costs.append(found.ms[0] / ms.sum())
    assert np.mean(drops) > -0.0002
    assert np.mean(costs) < 0.95


def test_where_early_exits_know_nothing_lossless_never_leaves():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 3, 10)).astype(np.float32)
    labels = rng.integers(0, 10, 400)
    logits[np.arange(400), 2, labels] += 10
    front = build_front(gather("max-softmax", logits, labels, (1.0,) * 3, (1.0,) * 3, (1.0,) * 3))
    assert front.lossless.left[0].tolist() == [0, 0, 400]


def test_an_early_exit_as_good_as_the_last_takes_nearly_all():
    logits, labels = simulate(500, 0, margins=(5.0,))
    front = build_front(gather("entropy", np.repeat(logits, 3, axis=1), labels, (1.0,) * 3, (1.0,) * 3, (1.0,) * 3))
    assert front.lossless.left[0].tolist() == [500, 0, 0]
    assert [point.exit_shares[0] for point in named_points(front)] == [0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("exits", [2, 3, 4])
def test_where_all_leave_at_once_an_image_less_sure_than_all_of_them_goes_on(exits):
    logits, labels = simulate(500, 0, margins=(5.0,))
    each = (1.0,) * exits
    evidence = gather("max-softmax", np.repeat(logits, exits, axis=1), labels, each, each, each)
    for point in named_points(build_front(evidence)):
        if point.name != "full":
            assert point.exit_shares[0] == 1
            assert point.thresholds[0] == evidence.ease[:, 0].min()


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("exits", [1, 2, 3, 4])
def test_named_points(name, exits):
    front = front_for(name, exits, 1)
    last = front.evidence.last_right / front.evidence.images
    points = named_points(front, max_ms=float(front.settings.ms[-1]) * 1.01)
    by_name = {point.name: point for point in points}
    assert [point.name for point in points[:1]] == ["full"]
    assert by_name.keys() == {"full", "lossless", "balanced", "fast", "custom"}
    assert all(a.expected_ms >= b.expected_ms for a, b in pairwise(points))
    full = by_name["full"].accuracy
    assert full == pytest.approx(front.evidence.right[:, -1].mean())
    assert full >= last if name == "averaged" else full == pytest.approx(last)
    assert by_name["full"].exit_shares[-1] == 1
    assert by_name["lossless"].accuracy >= last
    assert by_name["balanced"].accuracy >= last - 0.005
    assert by_name["fast"].accuracy >= last - 0.02
    assert by_name["fast"].expected_ms <= by_name["balanced"].expected_ms <= by_name["lossless"].expected_ms
    for point in points:
        assert len(point.thresholds) == exits - 1
        assert math.isclose(sum(point.exit_shares), 1)


def test_wishes_that_cannot_be_met_say_what_can():
    """B11 in spirit: nothing out of reach is promised silently."""
    front = front_for("max-softmax", 3, 0)
    best, fastest = front.accuracies()[0], float(front.settings.ms[-1])
    with pytest.raises(ConfigError, match=rf"99.90 % cannot be reached: the best is {100 * best:.2f} %") as caught:
        named_points(front, min_accuracy=0.999)
    assert caught.value.exit_code == 2
    with pytest.raises(ConfigError, match=rf"the fastest setting takes {fastest:.3f} ms"):
        named_points(front, max_ms=fastest / 2)
    with pytest.raises(ConfigError, match=r"that accuracy takes at least .* and within .* ms the best is"):
        named_points(front, min_accuracy=best, max_ms=fastest * 1.1)
    with pytest.raises(ConfigError, match="and no setting takes less than"):
        named_points(front, min_accuracy=best, max_ms=fastest / 2)


def test_the_front_in_the_manifest_is_thin_and_keeps_its_ends():
    front = front_for("max-softmax", 3, 0)
    points = front_points(front, 5)
    assert [point.name for point in points] == [f"front-{n}" for n in range(1, 6)]
    assert points[0].accuracy == front.accuracies()[0]
    assert points[-1].expected_ms == front.settings.ms[-1]
    assert len(front_points(front)) <= 40
