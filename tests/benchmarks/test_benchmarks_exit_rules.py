"""Exit rules side by side: the product's own points, a bound that bounds."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.bench_data import make_dataset
from support.bundles import make_bundle
from support.simulated_logits import simulate

from msd_edge.benchmarks.exit_rules import (
    HINDSIGHT,
    POINTS,
    Outputs,
    RuleFigures,
    collect_outputs,
    compare_rules,
    draw_rules,
    main,
)
from msd_edge.bundle.manifest import LatencySource
from msd_edge.bundle.reader import read_bundle
from msd_edge.data.select import select_images
from msd_edge.errors import BundleError, ConfigError
from msd_edge.exits.fit import fit_calibration
from msd_edge.exits.rules import RULES, ExitRule
from msd_edge.runtime.cascade import CascadeRunner

MACS = (10, 20, 30)


def simulated(seed: int) -> Outputs:
    """Outputs of three exits; milliseconds of 1, 2 and 1."""
    fitting, fitting_labels = simulate(1500, seed)
    test, test_labels = simulate(1500, seed + 1)
    latency = LatencySource(device="d", threads=1, runtime="r", segment_ms=(1.0, 2.0, 1.0))
    calibration = fit_calibration(
        "max-softmax", fitting, fitting_labels, latency=latency, chain_macs=MACS, split_sha256="0" * 64
    )
    return Outputs("net", "tflite-int8", calibration, MACS, fitting, fitting_labels, test, test_labels)


def test_the_products_rule_has_the_points_that_calibrate_writes() -> None:
    outputs = simulated(1)
    found = {one.point: one for one in compare_rules(outputs) if one.rule == "max-softmax"}
    temperatures = tuple(exit_.temperature for exit_ in outputs.calibration.exits)
    assert found.keys() == set(POINTS)
    for point in outputs.calibration.points:
        if point.name not in found:
            continue
        rule = ExitRule("max-softmax", point.thresholds, temperatures)
        right, spent = 0, 0.0
        for image, label in zip(outputs.test, outputs.test_labels, strict=True):
            for exit_, cost in enumerate((1.0, 3.0, 4.0)):
                leaves, probabilities = rule.decide(exit_, image[: exit_ + 1])
                if leaves:
                    right += int(probabilities.argmax() == label)
                    spent += cost
                    break
        one = found[point.name]
        assert one.accuracy == pytest.approx(right / len(outputs.test))
        assert one.milliseconds == pytest.approx(spent / len(outputs.test))
        assert one.speed_up == pytest.approx(4 / one.milliseconds)
        assert sum(one.shares) == pytest.approx(1)
        assert one.gained - one.lost == round((one.accuracy - one.last) * len(outputs.test))


@pytest.mark.parametrize("seed", [2, 4])
def test_nothing_beats_hindsight(seed: int) -> None:
    figures = list(compare_rules(simulated(seed)))
    (bound,) = (one for one in figures if one.rule == HINDSIGHT)
    chosen = [one for one in figures if one.rule != "averaged"]  # a mean may be right where no exit is
    assert {one.rule for one in figures} == {*RULES, HINDSIGHT}
    assert all(one.accuracy <= bound.accuracy for one in chosen)
    assert bound.accuracy > bound.last


def test_a_bundle_gives_what_its_cascade_does(tiny_bundle: Path) -> None:
    bundle, dataset = read_bundle(tiny_bundle), make_dataset(24)
    told: list[str] = []
    outputs = collect_outputs(bundle, "onnx-int8", dataset, None, lambda *words: told.append(words[3]))
    assert told
    places = select_images(dataset.test.labels, 24)
    with CascadeRunner(bundle, variant="onnx-int8") as cascade:
        for logits, label, place in zip(outputs.test, outputs.test_labels, places, strict=True):
            assert np.array_equal(logits, cascade.logits(dataset.test.images[place]))
            assert label == dataset.test.labels[place]
    lines = draw_rules(list(compare_rules(outputs))).splitlines()
    assert len(lines) == 2 + 1 + len(RULES) + 1
    assert len({line.count("|") for line in lines}) == 1


def test_a_bundle_without_calibration_is_refused(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=("onnx-int8",), calibrated=False))
    with pytest.raises(BundleError, match="is not calibrated, so that nothing says what its segments take; run `msd"):
        collect_outputs(bundle, "onnx-int8", make_dataset(8), None, lambda *_: None)


def test_bundles_of_one_name_are_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tiny_bundle, tmp_path / "other"))
    with pytest.raises(ConfigError, match="tiny: two bundles have this name"):
        main([tiny_bundle, other])


def test_a_table_names_every_point_in_its_column_with_its_chance() -> None:
    figures = [
        RuleFigures("b", "onnx-int8", "max-softmax", point, 0.9, accuracy, gained, lost, (1.0,), 2.0, 1.5)
        for point, accuracy, gained, lost in zip(reversed(POINTS), (0.7, 0.8, 0.88), (0, 3, 2), (20, 8, 2), strict=True)
    ]
    figures.append(RuleFigures("b", "onnx-int8", HINDSIGHT, "", 0.9, 0.95, 5, 0, (1.0,), 1.0, 3.0))
    lines = draw_rules(figures).splitlines()
    assert lines[2] == "| b | every image to the last exit | 90.00 % at 3.000 ms | | |"
    assert lines[3] == (
        "| b | max-softmax | 88.00 % (-2.00, p 1.00) at 2.000 ms | 80.00 % (-10.00, p 0.23) at 2.000 ms "
        "| 70.00 % (-20.00, p < 0.01) at 2.000 ms |"
    )
    assert lines[4] == "| b | hindsight | 95.00 % (+5.00, p 0.06) at 1.000 ms |  |  |"
