"""Exit rules: one image and a whole split decide alike, labels have no say, numbers that do not fit are refused."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.simulated_logits import simulate

from msd_edge.errors import ConfigError
from msd_edge.exits.rules import RULES, ExitRule, agreeing, always, never, score, softmax

# int8-like logits: a coarse grid, so that ties of scores and of classes are common.
grids = st.tuples(st.integers(1, 12), st.integers(1, 5), st.sampled_from([2, 3, 7, 10, 33, 130])).flatmap(
    lambda shape: hnp.arrays(np.int8, shape)
)


def mean_of(exits: int) -> tuple[tuple[float, ...], ...]:
    """Return weights by which every exit so far counts alike."""
    return tuple((1 / count,) * count for count in range(1, exits + 1))


def rule_for(
    name: str,
    logits: np.ndarray,
    temperatures: tuple[float, ...],
    pick: int,
    weights: tuple[tuple[float, ...], ...] = (),
) -> ExitRule:
    """Return a rule whose thresholds are scores that occur, so that every comparison can be a tie."""
    exits = logits.shape[1]
    if name == "patience":
        return ExitRule(name, (float(pick % (exits + 1)),) * (exits - 1), temperatures)
    bare = ExitRule(name, (never(name, exits),) * (exits - 1), temperatures, weights)  # type: ignore[arg-type]
    each = list(logits.swapaxes(0, 1))
    thresholds = tuple(float(score(name, *bare.basis(k, each))[pick % len(logits)]) for k in range(exits - 1))  # type: ignore[arg-type]
    return replace(bare, thresholds=thresholds)


@given(
    raw=grids,
    scale=st.sampled_from([0.02, 0.125, 1.0]),
    name=st.sampled_from(RULES),
    pick=st.integers(0, 11),
    data=st.data(),
)
@settings(max_examples=200, deadline=None)
def test_a_split_is_decided_as_image_by_image(raw, scale, name, pick, data):
    logits = raw.astype(np.float32) * np.float32(scale)
    exits = logits.shape[1]
    temperatures = tuple(data.draw(st.lists(st.floats(0.05, 20), min_size=exits, max_size=exits)))
    weights = ()
    if name == "averaged":
        weights = tuple(
            tuple(data.draw(st.lists(st.floats(0, 20), min_size=k, max_size=k))) for k in range(1, exits + 1)
        )
    rule = rule_for(name, logits, temperatures, pick, weights)
    one_by_one, named = [], []
    for image in logits:
        for k in range(exits):
            leaves, probabilities = rule.decide(k, list(image[: k + 1]))
            assert probabilities.dtype == np.float32
            np.testing.assert_array_equal(probabilities, softmax(*rule.basis(k, list(image))))
            if leaves:
                one_by_one.append(k)
                named.append(int(probabilities.argmax()))
                break
    taken = rule.take(logits)
    assert taken.dtype == np.int64
    assert taken.tolist() == one_by_one
    if name == "averaged":  # the others answer by their logits, which may be told apart where probabilities are not
        assert rule.name_classes(logits)[np.arange(len(logits)), taken].tolist() == named
    else:
        assert np.array_equal(rule.name_classes(logits), logits.argmax(-1))


def test_averaged_answers_are_geometric_means_of_probabilities():
    logits, _ = simulate(300, 7)
    temperatures = (1.3, 0.8, 2.0)
    shown = np.stack([softmax(logits[:, k].astype(np.float64), temperatures[k]) for k in range(3)], axis=1)
    for k in range(3):
        wanted = np.exp(np.log(shown[:, : k + 1].astype(np.float64)).mean(axis=1))
        wanted /= wanted.sum(-1, keepdims=True)
        equal = tuple(tuple(1 / (t * (j + 1)) for t in temperatures[: j + 1]) for j in range(3))
        found = softmax(*ExitRule("averaged", (0.5, 0.5), temperatures, equal).basis(k, list(logits.swapaxes(0, 1))))
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)
    # Three exits of one opinion and two of another: the surer ones win, not the later ones.
    image = np.array([[[0, 4], [0, 4], [1, 0]]], dtype=np.float32)
    ones = (1.0,) * 3
    assert ExitRule("averaged", (0.5, 0.5), ones, mean_of(3)).name_classes(image).tolist() == [[1, 1, 1]]
    assert ExitRule("max-softmax", (0.5, 0.5), ones).name_classes(image).tolist() == [[1, 1, 0]]
    late = ExitRule("averaged", (0.5, 0.5), ones, ((1.0,), (0.0, 1.0), (0.1, 0.0, 3.0)))
    assert late.name_classes(image).tolist() == [[1, 1, 0]]


@given(name=st.sampled_from(RULES), seed=st.integers(0, 1000), threshold=st.floats(0, 1), data=st.data())
@settings(max_examples=50, deadline=None)
def test_permuting_labels_changes_no_exit(name, seed, threshold, data):
    """C4: a rule has no way to see a label; what it takes depends on the logits of each image alone."""
    logits, labels = simulate(10, seed)
    weights = mean_of(3) if name == "averaged" else ()
    rule = ExitRule(name, ((2.0 if name == "patience" else threshold),) * 2, (1.0, 1.2, 0.9), weights)
    before = rule.take(logits)
    labels[:] = data.draw(st.permutations(labels.tolist()))
    assert (rule.take(logits) == before).all()
    order = data.draw(st.permutations(range(10)))
    assert (rule.take(logits[order]) == before[order]).all()
    for method in (rule.decide, rule.take):
        assert set(inspect.signature(method).parameters) <= {"exit", "logits"}


@pytest.mark.parametrize("name", RULES)
def test_never_and_always(name):
    logits, _ = simulate(50, 0)
    logits[0] = 0  # equal logits: entropy exactly at its top, and rounding around it
    logits[1, :, 0] = 1000
    ones = (1.0,) * 3
    weights = mean_of(3) if name == "averaged" else ()
    assert (ExitRule(name, (never(name, 3),) * 2, ones, weights).take(logits) == 2).all()
    assert (ExitRule(name, (always(name),) * 2, ones, weights).take(logits) == 0).all()


def test_patience_counts_exits_that_agree():
    named = [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 0, 0], [0, 1, 2, 3]]
    logits = np.zeros((4, 4, 5), dtype=np.float32)
    for image, classes in enumerate(named):
        for place, index in enumerate(classes):
            logits[image, place, index] = 1
    assert agreeing(logits).tolist() == [[1, 2, 3, 4], [1, 1, 2, 3], [1, 1, 1, 2], [1, 1, 1, 1]]
    for t, expected in ((0, [0, 0, 0, 0]), (1, [1, 2, 3, 3]), (2, [2, 3, 3, 3]), (4, [3, 3, 3, 3])):
        assert ExitRule("patience", (float(t),) * 3, (1.0,) * 4).take(logits).tolist() == expected


def test_known_scores():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]], dtype=np.float32))
    np.testing.assert_allclose(score("max-softmax", logits, 1.0), [0.5, 1 / 3], rtol=1e-6)
    expected = -(0.5 * np.log(0.5) + 0.5 * np.log(0.25)) / np.log(3)
    np.testing.assert_allclose(score("entropy", logits, 1.0), [expected, 1], rtol=1e-6)
    np.testing.assert_allclose(score("max-softmax", 2 * logits, 2.0), [0.5, 1 / 3], rtol=1e-6)


def test_far_apart_logits_give_numbers():
    logits = np.array([[1e30, 0, -1e30]], dtype=np.float32)
    for name in ("max-softmax", "entropy"):
        assert np.isfinite(score(name, logits, 0.05)).all()


def test_lengths_are_checked_and_both_numbers_named():
    """C3: two thresholds for two exits should be one."""
    with pytest.raises(ConfigError, match=r"2 thresholds for 2 exits.*makes 1"):
        ExitRule("max-softmax", (0.5, 0.5), (1.0, 1.0))
    with pytest.raises(ConfigError, match="0 thresholds for 0 exits"):
        ExitRule("entropy", (), ())
    with pytest.raises(ConfigError, match="the entropy rule has weights for 2 exits"):
        ExitRule("entropy", (0.5,), (1.0, 1.0), ((1.0,), (1.0, 1.0)))
    with pytest.raises(ConfigError, match="the averaged rule has weights for 0 exits"):
        ExitRule("averaged", (0.5,), (1.0, 1.0))
    with pytest.raises(ConfigError, match="one list for each of 2, of one weight for each exit up to it"):
        ExitRule("averaged", (0.5,), (1.0, 1.0), ((1.0,), (1.0,)))
    with pytest.raises(ConfigError, match=r"weights of exit 2 are \[1.0, -1.0\]; they must be finite, 0 or more"):
        ExitRule("averaged", (0.5,), (1.0, 1.0), ((1.0,), (1.0, -1.0)))
    with pytest.raises(ConfigError, match="do not fit a rule for 2 exits"):
        ExitRule("entropy", (0.5,), (1.0, 1.0)).take(np.zeros((4, 3, 10), dtype=np.float32))


@pytest.mark.parametrize(
    ("name", "thresholds", "temperatures", "words"),
    [
        ("max-softmax", (0.5,), (1.0, 0.0), "temperature of exit 2"),
        ("max-softmax", (0.5,), (float("inf"), 1.0), "temperature of exit 1"),
        ("entropy", (float("nan"),), (1.0, 1.0), "threshold of exit 1"),
        ("patience", (0.5,), (1.0, 1.0), "one and the same count"),
        ("patience", (1.0, 2.0), (1.0, 1.0, 1.0), "one and the same count"),
        ("patience", (-1.0,), (1.0, 1.0), "one and the same count"),
        ("loss", (0.5,), (1.0, 1.0), "no such rule"),
    ],
)
def test_numbers_that_make_no_rule_are_refused(name, thresholds, temperatures, words):
    with pytest.raises(ConfigError, match=words):
        ExitRule(name, thresholds, temperatures)


def test_one_exit_needs_no_threshold():
    rule = ExitRule("patience", (), (1.5,))
    assert rule.take(np.zeros((3, 1, 4), dtype=np.float32)).tolist() == [0, 0, 0]
    assert rule.decide(0, [np.zeros(4, dtype=np.float32)])[0]
