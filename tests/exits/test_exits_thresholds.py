"""What a setting does on a split is what the rule itself would do; MSDNet's budgeted rule; shifted limits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.simulated_logits import simulate

from msd_edge.errors import ConfigError, DataError
from msd_edge.exits.rules import RULES, ExitRule
from msd_edge.exits.search import search
from msd_edge.exits.thresholds import budgeted_limits, evaluate, gather, shift, thresholds

MS = (1.0, 0.5, 2.0, 0.25)
MACS = (10.0, 20.0, 40.0, 80.0)


def evidence_for(name, images, seed, exits=3, temperatures=(1.3, 0.8, 1.0, 2.0)):
    logits, labels = simulate(images, seed, margins=(3.8, 4.4, 5.0, 5.4)[:exits])
    how = (temperatures[:exits], MS[:exits], MACS[:exits], weights_for(name, exits))
    return logits, labels, gather(name, logits, labels, *how)


def weights_for(name, exits):
    return tuple((0.5,) * count for count in range(1, exits + 1)) if name == "averaged" else ()


@given(name=st.sampled_from(RULES), seed=st.integers(0, 500), exits=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_figures_are_those_of_the_rule(name, seed, exits):
    logits, labels, evidence = evidence_for(name, 40, seed, exits)
    limits = search(evidence)
    limits = limits[np.random.default_rng(seed).permutation(len(limits))[:20]]
    found = evaluate(evidence, limits)
    temperatures = (1.3, 0.8, 1.0, 2.0)[:exits]
    weights = weights_for(name, exits)
    any_rule = ExitRule(name, thresholds(name, limits[0]), temperatures, weights)
    right = any_rule.name_classes(logits) == labels[:, None]
    last = logits[:, -1].argmax(axis=1) == labels
    for place, one in enumerate(limits):
        taken = ExitRule(name, thresholds(name, one), temperatures, weights).take(logits)
        assert found.left[place].tolist() == np.bincount(taken, minlength=exits).tolist()
        assert found.ms[place] == pytest.approx(np.cumsum(MS)[taken].mean())
        assert found.macs[place] == pytest.approx(np.array(MACS)[taken].mean())
        here = right[np.arange(40), taken]
        assert found.difference[place] == here.sum() - last.sum()
        assert found.gained[place] == (here & ~last).sum()


def test_known_confidences_give_known_thresholds():
    """C2: 100 images whose confidences are 0.51, 0.515, … : a limit at rank r lets exactly r leave."""
    confidence = 0.5 + (np.arange(100) + 2) / 205
    logits = np.zeros((100, 2, 2), dtype=np.float32)
    logits[:, 0, 0] = np.log(confidence / (1 - confidence))
    evidence = gather("max-softmax", logits, np.zeros(100, dtype=np.int64), (1.0, 1.0), (1.0, 1.0), (1.0, 2.0))
    base, limits = budgeted_limits(evidence)
    left = evaluate(evidence, limits).left
    shares = np.stack([base, base**2], axis=1)
    assert left[:, 0].tolist() == np.floor(100 * shares[:, 0] / shares.sum(axis=1)).astype(int).tolist()
    np.testing.assert_allclose(limits[19, 0], confidence[50], rtol=1e-6)  # p = 1: half of them leave


def test_budgeted_settings_are_msdnets():
    """Against the code of MSDNet's authors, written out literally, on scores without ties."""
    _, _, evidence = evidence_for("max-softmax", 500, 3)
    rng = np.random.default_rng(0)
    ease = rng.permutation(np.linspace(0.1, 1, 1000, dtype=np.float32)).reshape(500, 2)
    evidence = replace(evidence, ease=ease)
    base, limits = budgeted_limits(evidence)
    for p, found in zip(base, limits, strict=True):
        shares = np.exp(np.log(p) * np.arange(1, 4))
        shares /= shares.sum()
        filtered = np.zeros(500)
        for k in range(2):
            expected, count = 2.0, 0
            wanted = int(np.floor(500 * shares[k]))
            for place in np.argsort(-ease[:, k]):
                if filtered[place] == 0:
                    count += 1
                    if count == wanted:
                        expected = ease[place, k]
                        break
            filtered += ease[:, k] >= expected
            assert found[k] == np.float32(expected)


@given(name=st.sampled_from(("max-softmax", "entropy")), seed=st.integers(0, 500), factor=st.floats(0.05, 8))
@settings(max_examples=60, deadline=None)
def test_shifting_moves_every_exit_in_one_direction(name, seed, factor):
    _, _, evidence = evidence_for(name, 80, seed)
    limits = search(evidence)[::37]
    moved = shift(evidence, limits, factor)
    assert (moved <= limits).all() if factor > 1 else (moved >= limits).all()
    reach = [(evidence.ease[:, k] >= limits[:, k, None]).mean(axis=1) for k in range(2)]
    after = [(evidence.ease[:, k] >= moved[:, k, None]).mean(axis=1) for k in range(2)]
    for k in range(2):
        assert (after[k][reach[k] == 0] == 0).all()  # a closed exit stays closed
        open_ = (reach[k] > 0) & (reach[k] < 1)
        odds = factor * reach[k][open_] / (1 - reach[k][open_])
        if factor > 1:  # at least so many as the odds ask for; ties bring more
            assert (after[k][open_] >= odds / (1 + odds) - 1e-9).all()


def test_what_does_not_fit_is_refused():
    logits, labels, _ = evidence_for("max-softmax", 10, 0)
    with pytest.raises(ConfigError, match="2 temperatures for 3 exits"):
        gather("entropy", logits, labels, (1.0, 1.0), MS[:3], MACS[:3])
    with pytest.raises(DataError, match="empty"):
        gather("entropy", logits[:0], labels[:0], (1.0,) * 3, MS[:3], MACS[:3])
    logits[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        gather("entropy", logits, labels, (1.0,) * 3, MS[:3], MACS[:3])
