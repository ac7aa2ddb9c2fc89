"""From logits to a calibration that a manifest takes, and what int8 logits can express."""

import numpy as np
import pytest
from support.simulated_logits import simulate

from msd_edge.bundle.manifest import Calibration, LatencySource, TensorSpec
from msd_edge.errors import ConfigError, DataError
from msd_edge.exits.fit import fit_calibration
from msd_edge.exits.front import OutOfReach
from msd_edge.exits.limits import sharpest, unreachable
from msd_edge.exits.rules import RULES, ExitRule, score

LATENCY = LatencySource(device="here", threads=1, runtime="none", segment_ms=(1.0, 0.5, 0.5))
SPLIT = "ab" * 32


def fit(rule="max-softmax", images=400, seed=0, **wishes):
    logits, labels = simulate(images, seed)
    found = fit_calibration(
        rule, logits, labels, latency=LATENCY, chain_macs=(10, 20, 30), split_sha256=SPLIT, **wishes
    )
    return logits, labels, found


@pytest.mark.parametrize("rule", RULES)
def test_the_promise_of_each_point_is_what_its_rule_does_on_the_split(rule):
    logits, labels, found = fit(rule)
    assert (found.images, found.split_sha256, found.latency) == (400, SPLIT, LATENCY)
    right = ExitRule.of(found, found.points[0]).name_classes(logits) == labels[:, None]
    alone = logits.argmax(axis=2) == labels[:, None]
    for point in (*found.points, *found.front, *found.budgeted):
        taken = ExitRule.of(found, point).take(logits)
        assert point.accuracy == pytest.approx(right[np.arange(400), taken].mean())
        assert point.expected_ms == pytest.approx(np.cumsum(LATENCY.segment_ms)[taken].mean())
        assert point.expected_macs == pytest.approx(np.array([10, 20, 30])[taken].mean())
        assert point.exit_shares == pytest.approx(np.bincount(taken, minlength=3) / 400)
    assert len(found.budgeted) == (0 if rule == "patience" else 40)
    for place, part in enumerate(found.exits):
        assert part.exit == place + 1
        assert part.nll_after <= part.nll_before
        assert part.accuracy == alone[:, place].mean()


def test_it_survives_json():
    _, _, found = fit(images=60)
    assert Calibration.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("images", [1, 2, 7])
@pytest.mark.parametrize("rule", RULES)
def test_a_handful_of_images_is_enough_to_run(rule, images):
    _, _, found = fit(rule, images=images)
    assert {point.name for point in found.points} == {"full", "lossless", "balanced", "fast"}


def test_a_wish_adds_a_point():
    _, _, found = fit(min_accuracy=0.7)
    assert next(point for point in found.points if point.name == "custom").accuracy >= 0.7


def test_a_wish_out_of_reach_is_raised_or_noted():
    with pytest.raises(OutOfReach, match=r"0\.01 ms cannot be reached: the fastest setting takes"):
        fit(max_ms=0.01)
    unmet = []
    _, _, found = fit(max_ms=0.01, unmet=unmet)
    assert [sentence[:26] for sentence in unmet] == ["0.01 ms cannot be reached:"]
    assert found == fit()[2]


def test_what_does_not_fit_is_refused():
    logits, labels = simulate(20, 0)
    how = {"chain_macs": (1, 2, 3), "split_sha256": SPLIT}
    with pytest.raises(DataError, match="do not fit 19 labels"):
        fit_calibration("entropy", logits, labels[:19], latency=LATENCY, **how)
    with pytest.raises(DataError, match="the exits know 10 classes"):
        fit_calibration("entropy", logits, labels + 5, latency=LATENCY, **how)
    with pytest.raises(DataError, match="empty"):
        fit_calibration("entropy", logits[:0], labels[:0], latency=LATENCY, **how)
    short = LATENCY.model_copy(update={"segment_ms": (1.0, 1.0)})
    with pytest.raises(ConfigError, match="2 segment times for 3 exits"):
        fit_calibration("entropy", logits, labels, latency=short, **how)


def spec(dtype, scale):
    zero = None if scale is None else 0
    return TensorSpec(name="logits", shape=(1, 10), layout="NC", dtype=dtype, scale=scale, zero_point=zero)


def test_int8_logits_cannot_be_surer_than_their_range():
    """B11: a threshold beyond what 8-bit logits can express is reported, not waited for."""
    narrow, wide, plain = spec("int8", 0.02), spec("int8", 0.2), spec("float32", None)
    surest = ExitRule("max-softmax", (0.5,), (1.0, 1.0))
    best = sharpest(surest, 1, [wide, narrow])
    assert best == pytest.approx(1 / (1 + 9 * np.exp(-5.1)), rel=1e-5)
    assert sharpest(surest, 0, [plain]) is None
    assert sharpest(ExitRule("patience", (1.0,), (1.0, 1.0)), 0, [narrow]) is None
    ones = (1.0,) * 3
    assert unreachable(ExitRule("max-softmax", (0.999, 0.999), ones), [narrow, wide, wide]) == (1,)
    assert unreachable(ExitRule("max-softmax", (0.999, 0.999), ones), [plain, narrow, wide]) == (2,)
    assert unreachable(ExitRule("max-softmax", (best, 2.0), ones), [narrow, narrow, wide]) == ()  # 2.0 means never
    assert unreachable(ExitRule("entropy", (0.001, -1.0), ones), [narrow, narrow, wide]) == (1,)
    assert unreachable(ExitRule("entropy", (0.5, 0.5), ones), [narrow, narrow, wide]) == ()
    # Of a narrow and a wide exit the mean is taken: (5.1 + 51) / 2.
    mean = ((1.0,), (0.5, 0.5), (1 / 3,) * 3)
    assert unreachable(ExitRule("averaged", (0.999, 0.999), ones, mean), [narrow, wide, wide]) == (1,)
    assert unreachable(ExitRule("averaged", (0.5, 0.999), ones, mean), [narrow, narrow, wide]) == (2,)
    assert sharpest(ExitRule("averaged", (0.5,), (1.0, 1.0), mean[:2]), 1, [narrow, wide]) == pytest.approx(1)
    assert sharpest(ExitRule("averaged", (0.5,), (1.0, 1.0), mean[:2]), 1, [plain, wide]) is None


@pytest.mark.parametrize("rule", ["max-softmax", "entropy", "averaged"])
def test_no_int8_logits_beat_the_sharpest(rule):
    rng = np.random.default_rng(0)
    logits = list(rng.integers(-128, 128, (2, 2000, 10)).astype(np.float32) * np.float32(0.05))
    found = ExitRule(rule, (0.5,), (0.9, 1.5), ((1.1,), (0.4, 0.8)) if rule == "averaged" else ())
    for exit in (0, 1):
        values = score(rule, *found.basis(exit, logits))
        best = sharpest(found, exit, [spec("int8", 0.05)] * 2)
        assert (values >= best).all() if rule == "entropy" else (values <= best).all()
