"""Calibration of a real tiny bundle: fitted on what its files give, whole or nothing, the test split never read."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.bundles import make_bundle
from support.tinynet import make_images, make_pieces, run

from msd_edge.benchmarks import calibrate as module
from msd_edge.benchmarks.calibrate import (
    CalibrateOptions,
    CalibrateOutcome,
    calibrate_bundle,
    check_options,
    collect_logits,
    describe_limits,
    plan_calibration,
)
from msd_edge.benchmarks.results import Results
from msd_edge.benchmarks.segment_times import time_segments
from msd_edge.bundle.manifest import LatencySource
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.data.dataset import Dataset, MemorySet, hash_image, hash_split
from msd_edge.errors import BundleError, ConfigError, DataError
from msd_edge.exits.rules import RULES, ExitRule
from msd_edge.runtime.cascade import CascadeRunner

IMAGES = 120


class Untouched:
    """A split that must not be looked at."""

    def __getattr__(self, name):
        raise AssertionError(f"the test split was touched: {name}")

    def __len__(self):
        raise AssertionError("the test split was touched")


def make_dataset(images: int = IMAGES, seed: int = 5) -> Dataset:
    pixels = make_images(images, 3, seed=seed)
    logits = run(make_pieces(3, 4, 3), pixels)[-1].logits
    labels = (logits + np.random.default_rng(0).normal(size=logits.shape)).argmax(axis=1)
    split = MemorySet(pixels, labels, tuple(hash_image(image) for image in pixels))
    names = tuple(f"class {letter}" for letter in "abcd")
    return Dataset("tiny", names, (8, 12, 3), split, split, Untouched())  # type: ignore[arg-type]


def make(folder: Path, dataset: Dataset, variants=("onnx-float32",)) -> Bundle:
    """Return an uncalibrated bundle that was exported with the dataset's calibration split."""
    digest = hash_split(dataset.calibration)
    return read_bundle(make_bundle(folder, variants=variants, calibrated=False, calibration_sha256=digest))


def calibrate(bundle: Bundle, dataset: Dataset, options: CalibrateOptions, on_step) -> CalibrateOutcome:
    """Calibrate as the command does."""
    plan = plan_calibration(bundle, dataset, options, check_options(bundle, options))
    return calibrate_bundle(bundle, dataset, plan, options, on_step)


def quick(**more) -> CalibrateOptions:
    return CalibrateOptions(seconds=0.05, **more)


def quiet(name: str, done: int, total: int, text: str) -> None:
    assert 0 <= done <= total


@pytest.fixture
def no_timing(monkeypatch):
    source = LatencySource(device="here", threads=1, runtime="none", segment_ms=(1.0, 1.0, 1.0))
    monkeypatch.setattr(module, "time_segments", lambda *a, **k: source)


@pytest.mark.parametrize("rule", ["max-softmax", "averaged"])
def test_from_files_to_points_and_back_through_the_runner(tmp_path, rule):
    """The whole path in a folder with an awkward name: what calibration promises, the cascade does, image by image."""
    dataset = make_dataset()
    bundle = make(tmp_path / "temp evil é 模型", dataset, variants=("tflite-int8", "onnx-float32"))
    steps = []
    outcome = calibrate(bundle, dataset, quick(rule=rule), lambda *step: steps.append(step))
    assert {step[0] for step in steps} == {"tflite-int8", "onnx-float32"}
    again = read_bundle(bundle.path)
    assert again.manifest_sha256 == outcome.bundle.manifest_sha256 != bundle.manifest_sha256
    for variant in again.manifest.variants:
        fitted = variant.calibration
        assert fitted == outcome.calibrations[variant.name]
        assert (fitted.images, fitted.split_sha256) == (IMAGES, hash_split(dataset.calibration))
        assert all(ms > 0 for ms in fitted.latency.segment_ms)
        assert fitted.latency.device.startswith("cpu, ")
        labels = dataset.calibration.labels
        lossless = next(point for point in fitted.points if point.name == "lossless")
        assert lossless.accuracy >= fitted.exits[-1].accuracy
        for point in fitted.points:
            with CascadeRunner(again, variant=variant.name, point=point.name) as cascade:
                answers = [cascade.predict(image) for image in dataset.calibration.images]
            exits = np.array([answer.exit for answer in answers])
            assert point.exit_shares == pytest.approx(np.bincount(exits - 1, minlength=3) / IMAGES)
            assert point.accuracy == pytest.approx(np.mean([a.index for a in answers] == labels))
            rule = ExitRule.of(fitted, point)
            logits = collect_logits(again, variant.name, dataset.calibration, np.arange(IMAGES), 1, quiet)
            assert (rule.take(logits) + 1 == exits).all()


@pytest.mark.parametrize("rule", RULES)
def test_every_rule(tmp_path, no_timing, rule):
    dataset = make_dataset()
    outcome = calibrate(make(tmp_path / "b", dataset), dataset, quick(rule=rule, min_accuracy=0.3), quiet)
    fitted = outcome.calibrations["onnx-float32"]
    assert fitted.rule == rule
    assert [point.name for point in fitted.points if point.name == "custom"]


def test_a_subset_is_the_same_every_time_and_keeps_the_classes(tmp_path, no_timing):
    dataset = make_dataset()
    bundle = make(tmp_path / "b", dataset)
    first = plan_calibration(bundle, dataset, quick(images=40), {})
    second = plan_calibration(bundle, dataset, quick(images=40), {})
    assert first.places.tolist() == second.places.tolist()
    labels = dataset.calibration.labels
    shares = np.bincount(labels, minlength=4) / IMAGES
    assert np.abs(np.bincount(labels[first.places], minlength=4) - 40 * shares).max() < 1
    outcome = calibrate(bundle, dataset, quick(images=40), quiet)
    assert outcome.calibrations["onnx-float32"].images == 40


def test_without_images_there_is_nothing_to_fit(tmp_path):
    empty = replace(make_dataset(), calibration=MemorySet(make_images(1, 3)[:0], np.zeros(0, dtype=np.int64), ()))
    with pytest.raises(DataError, match="the calibration split is empty"):
        calibrate(make(tmp_path / "b", make_dataset()), empty, quick(), quiet)


def test_nothing_is_written_when_one_variant_fails(tmp_path, no_timing):
    dataset = make_dataset()
    bundle = make(tmp_path / "b", dataset, variants=("onnx-float32", "onnx-int8"))
    before = (bundle.path / "manifest.json").read_bytes()
    with pytest.raises(ConfigError, match=r"onnx-float32: an accuracy of 100.00 % cannot be reached: the best is"):
        calibrate(bundle, dataset, quick(min_accuracy=1.0), quiet)
    damaged = bundle.path / bundle.variant("onnx-int8").segments[1].path
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match="SHA-256 differs"):
        calibrate(bundle, dataset, quick(), quiet)
    assert (bundle.path / "manifest.json").read_bytes() == before
    assert [path.name for path in bundle.path.iterdir() if "partial" in path.name] == []


@pytest.fixture
def slow_int8(monkeypatch):
    """Segments of onnx-int8 take 3 ms each, those of others 1 ms."""

    def time_segments(bundle, name, *more, **options):
        each = 3.0 if name == "onnx-int8" else 1.0
        return LatencySource(device="here", threads=1, runtime="none", segment_ms=(each, each, each))

    monkeypatch.setattr(module, "time_segments", time_segments)


def test_a_variant_nobody_named_does_without_what_it_cannot_reach(tmp_path, slow_int8):
    dataset = make_dataset()
    bundle = make(tmp_path / "b", dataset, variants=("onnx-int8", "onnx-float32"))
    outcome = calibrate(bundle, dataset, quick(max_ms=2.5), quiet)
    names = {name: {point.name for point in found.points} for name, found in outcome.calibrations.items()}
    usual = {"full", "lossless", "balanced", "fast"}
    assert names == {"onnx-int8": usual, "onnx-float32": usual | {"custom"}}
    assert outcome.bundle.variant("onnx-int8").calibration == outcome.calibrations["onnx-int8"]
    (note,) = [note for note in outcome.notes if "custom" in note]
    assert note.startswith(
        "onnx-int8: it has no point custom: 2.5 ms cannot be reached: the fastest setting takes 3.000 ms ("
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_ms": 2.5, "variants": ("onnx-float32", "onnx-int8")}, r"b: onnx-int8: 2\.5 ms cannot be reached"),
        (
            {"max_ms": 0.5},
            r"b: onnx-int8: 0\.5 ms .* 3\.000 ms .*; onnx-float32: 0\.5 ms .* 1\.000 ms \(.* %\)\.$",
        ),
    ],
)
def test_it_fails_where_a_named_or_every_variant_cannot_reach_it(tmp_path, slow_int8, options, words):
    dataset = make_dataset()
    bundle = make(tmp_path / "b", dataset, variants=("onnx-int8", "onnx-float32"))
    with pytest.raises(ConfigError, match=words):
        calibrate(bundle, dataset, quick(**options), quiet)
    assert read_bundle(bundle.path).manifest_sha256 == bundle.manifest_sha256


def test_only_the_named_variant_is_calibrated(tmp_path, no_timing):
    dataset = make_dataset()
    bundle = make(tmp_path / "b", dataset, variants=("onnx-float32", "onnx-int8"))
    outcome = calibrate(bundle, dataset, quick(variants=("onnx-int8",)), quiet)
    assert list(outcome.calibrations) == ["onnx-int8"]
    assert outcome.bundle.variant("onnx-float32").calibration is None
    with pytest.raises(BundleError, match="did you mean onnx-int8"):
        calibrate(outcome.bundle, dataset, quick(variants=("onnx-int",)), quiet)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rule": "loss"}, "no such rule"),
        ({"min_accuracy": 1.5}, "share"),
        ({"max_ms": 0.0}, "above 0"),
        ({"images": 0}, "at least 1"),
        ({"threads": 0}, "may use 1 to"),
        ({"threads": 4096}, "may use 1 to"),
    ],
)
def test_options_are_checked_before_work(tmp_path, options, words):
    dataset = make_dataset()
    with pytest.raises(ConfigError, match=words):
        calibrate(make(tmp_path / "b", dataset), dataset, quick(**options), lambda *step: pytest.fail("work"))


def results_for(bundle: Bundle, totals=(1.0, 3.0, 2.5)) -> dict:
    """Return results as JSON, with made-up times of onnx-float32's files only."""
    segments, infos = bundle.variant("onnx-float32").segments, bundle.manifest.exits

    def timing(ms):
        return {"count": 1, "median": ms, "p90": ms, "p99": ms, "mean": ms, "minimum": ms, "maximum": ms}

    exits = [
        {
            "index": k, "correct": 1, "images": 1, "accuracy": 1.0, "macs": 1, "chain": timing(ms / 2),
            "total": timing(ms), "ece": 0.0, "reliability": [], "chain_macs": infos[k - 1].chain_macs,
            "chain_bytes": sum(segment.bytes for segment in segments[:k]),
        }
        for k, ms in enumerate(totals, 1)
    ]  # fmt: skip
    variant = {
        "target": "onnx", "precision": "float32", "runtime": "onnxruntime", "runtime_version": "1", "threads": 2,
        "golden": {"images": 1, "max_difference": 0.0, "top1_agreement": 1.0, "bit_equal": True}, "load": 1.0,
        "peak_memory": 1.0, "segments": [], "exits": exits, "cascade": [],
    }  # fmt: skip
    value = {
        "created": "2026-01-01T00:00:00+00:00", "bundle": bundle.manifest.name, "manifest_sha256": "0" * 64,
        "classes": list(bundle.manifest.classes), "data": "none", "versions": {}, "options": {}, "warmup": 1,
        "device": {"kind": "android", "name": "a phone", "processor": "its core", "features": [], "cores": 8,
                   "memory_mib": 1, "system": "none"},
        "variants": [variant],
    }  # fmt: skip
    return Results.model_validate(value).model_dump(mode="json")


def test_times_come_from_results_when_given(tmp_path, monkeypatch):
    dataset = make_dataset()
    bundle = make(tmp_path / "b", dataset, variants=("onnx-float32", "onnx-int8"))
    path = tmp_path / "phone.json"
    path.write_text(json.dumps(results_for(bundle)))
    monkeypatch.setattr(module, "time_segments", lambda *a, **k: pytest.fail("measured here"))
    outcome = calibrate(bundle, dataset, quick(variants=("onnx-float32",), latency=path), quiet)
    latency = outcome.calibrations["onnx-float32"].latency
    assert latency.segment_ms == pytest.approx((1.0, 2.0, 0.0))  # the last exit's 2.5 after 3.0 is noise
    assert (latency.device, latency.threads, latency.runtime) == ("a phone, its core", 2, "onnxruntime 1")
    with pytest.raises(ConfigError, match=r"no times of onnx-int8 \(it has onnx-float32\)"):
        calibrate(bundle, dataset, quick(latency=path), quiet)
    path.write_text(json.dumps(results_for(bundle, totals=(1.0, 2.0))))
    with pytest.raises(ConfigError, match="2 exits there, 3 in"):
        calibrate(bundle, dataset, quick(variants=("onnx-float32",), latency=path), quiet)
    path.write_text(json.dumps(results_for(bundle) | {"bundle": "another"}))
    with pytest.raises(ConfigError, match="results are of the bundle another"):
        calibrate(bundle, dataset, quick(variants=("onnx-float32",), latency=path), quiet)
    with pytest.raises(ConfigError, match="no such results file"):
        calibrate(bundle, dataset, quick(latency=tmp_path / "none.json"), quiet)


@pytest.mark.parametrize("figure", ["chain_bytes", "chain_macs"])
def test_times_of_other_files_are_refused(tmp_path, figure):
    """A bundle exported anew under its old name: the results are another network's."""
    bundle = make(tmp_path / "b", make_dataset())
    results = results_for(bundle)
    results["variants"][0]["exits"][1][figure] += 1
    path = tmp_path / "phone.json"
    path.write_text(json.dumps(results))
    with pytest.raises(ConfigError, match=r"these results were measured on other files \(exit 2 of onnx-float32"):
        check_options(bundle, quick(latency=path))


def test_the_timing_process_tells_its_errors(tmp_path):
    bundle = make(tmp_path / "b", make_dataset())
    (bundle.path / bundle.manifest.variants[0].segments[0].path).unlink()
    with pytest.raises(BundleError, match="export the bundle again"):
        time_segments(bundle, "onnx-float32", "entropy", threads=1, seconds=0.01)


def test_logits_that_cannot_be_sure_are_noted(tmp_path, no_timing):
    """B11: the file's int8 logits span so little that no confidence beyond a few percent ever comes out."""
    dataset = make_dataset()
    bundle = make(tmp_path / "b", dataset, variants=("tflite-int8",))
    outcome = calibrate(bundle, dataset, quick(), quiet)
    variant = outcome.bundle.variant("tflite-int8")
    narrow = variant.segments[0].logits.model_copy(update={"scale": 0.004})
    first = variant.segments[0].model_copy(update={"logits": narrow})
    changed = variant.model_copy(update={"segments": (first, *variant.segments[1:])})
    calibration = variant.calibration
    eager = calibration.points[-1].model_copy(update={"name": "eager", "thresholds": (0.99, 2.0)})
    notes = describe_limits(changed, calibration.model_copy(update={"points": (eager,)}))
    assert any("exit 1 can at most say" in note for note in notes)
    assert any("point eager: no image can reach the threshold of exit 1" in note for note in notes)
    assert not any("threshold" in note for note in outcome.notes)
