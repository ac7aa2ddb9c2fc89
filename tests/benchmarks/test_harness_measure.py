"""Measuring one variant, in this process."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bench_data import make_alone, make_dataset
from support.bundles import make_bundle

from msd_edge.benchmarks.job import Job, Report
from msd_edge.benchmarks.measure import force_exit, measure
from msd_edge.bundle.golden import read_golden, write_golden
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.errors import BundleError, ParityError
from msd_edge.runtime.cascade import CascadeRunner
from msd_edge.runtime.golden_check import check_golden

DATA = make_dataset(24)
IMAGES = DATA.test.read(np.arange(24))


def run(bundle: Bundle, variant: str, *, seconds: float = 0) -> Report:
    job = Job(
        bundle=str(bundle.path),
        manifest_sha256=bundle.manifest_sha256,
        variant=variant,
        runtime=None,
        threads=1,
        images="",
        labels=tuple(DATA.test.labels.tolist()),
        seconds=seconds,
        warmup=1,
        block=8,
        report="",
    )
    return measure(bundle, job, IMAGES, lambda step: None)


@pytest.mark.parametrize("variant", ["tflite-int8", "onnx-int8"])
def test_stand_alone_exits_are_measured_beside_the_chain(tmp_path: Path, variant: str) -> None:
    bundle = make_alone(tmp_path / "one", variant)
    report = run(bundle, variant)
    (only,) = report.variant.exits
    assert only.alone is not None
    assert only.alone_total is not None
    assert only.alone_first
    assert only.alone_init
    assert only.alone.raw in report.raw
    assert all(a < b for a, b in zip(report.raw[only.alone.raw], report.raw[only.alone_total.raw or ""], strict=True))
    assert only.alone_bytes == bundle.manifest.variants[0].exits[0].bytes
    assert report.variant.cascade[0].speedup is not None


def test_forced_exits_run_no_segment_beyond(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=("tflite-int8",)))
    with CascadeRunner(bundle) as runner:
        for index in (1, 2, 3):
            runner.rule = force_exit(index, (1.0, 1.0, 1.0))
            answers = [runner.predict(image) for image in IMAGES]
            assert {answer.exit for answer in answers} == {index}
            assert {len(answer.segment_ms) for answer in answers} == {index}


def test_a_variant_that_is_not_calibrated_is_sent_to_calibrate_its_bundle(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "two words", variants=("tflite-int8",), calibrated=False))
    with pytest.raises(BundleError, match="tflite-int8 has no operating points") as raised:
        run(bundle, "tflite-int8")
    (told,) = re.findall("`(.*?)`", str(raised.value))
    assert shlex.split(told) == ["msd-edge", "calibrate", str(tmp_path / "two words")]


def test_more_time_gives_more_rounds_and_the_first_answers_stay(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=("tflite-float32",)))
    report = run(bundle, "tflite-float32", seconds=0.3)
    fast = report.variant.cascade[1]
    assert fast.images == sum(fast.exit_counts) == len(report.answers["fast"].exits) == 24
    assert fast.total.count > 24
    assert report.variant.segments[0].warm.count > 8
    assert report.variant.cpu_per_wall


def test_files_that_compute_something_else_give_no_figures(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=("tflite-float32",)))
    truth = read_golden(bundle).outputs
    run(replace_golden(bundle, truth + np.float32(1e-5)), "tflite-float32")
    with pytest.raises(ParityError, match=r"tflite-float32 on litert .* does not compute .* nothing was measured"):
        run(replace_golden(bundle, truth + np.float32(0.01)), "tflite-float32")
    with pytest.raises(ParityError, match="golden samples get the same class"):
        run(replace_golden(bundle, truth[:, :, ::-1]), "tflite-float32")


def test_integers_may_differ_by_a_few_steps(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=("tflite-int8",)))
    truth = read_golden(bundle).outputs.astype(np.int16)
    near = np.clip(truth - 3, -128, 127).astype(np.int8)
    if (near.argmax(axis=2) == truth.argmax(axis=2)).all():
        assert run(replace_golden(bundle, near), "tflite-int8").variant.golden.max_difference == 3
    far = np.clip(truth - 20, -128, 127).astype(np.int8)
    with pytest.raises(ParityError, match="by up to 20 steps"):
        run(replace_golden(bundle, far), "tflite-int8")


def replace_golden(bundle: Bundle, outputs: np.ndarray) -> Bundle:
    bundle = read_bundle(bundle.path)
    images, name = read_golden(bundle).images, bundle.manifest.variants[0].name
    for path in (bundle.path / "golden").iterdir():
        path.unlink()
    golden = write_golden(bundle.path, images, bundle.manifest.golden.labels, {name: outputs})
    changed = bundle.manifest.model_copy(update={"golden": golden})
    (bundle.path / "manifest.json").write_text(changed.model_dump_json())
    return read_bundle(bundle.path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=("tflite-int8",)))
    victim = bundle.path / bundle.manifest.variants[0].segments[1].path
    victim.write_bytes(bytes([victim.read_bytes()[0] ^ 1]) + victim.read_bytes()[1:])
    with pytest.raises(BundleError, match=r"segment-2.*SHA-256"):
        run(bundle, "tflite-int8")


@pytest.fixture
def seen_options(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    import onnxruntime

    seen: list[tuple[Any, ...]] = []
    real = onnxruntime.InferenceSession

    def note(data: bytes, options: Any, **keywords: Any) -> Any:
        seen.append(
            (
                options.intra_op_num_threads,
                options.inter_op_num_threads,
                options.graph_optimization_level,
                options.execution_mode,
                str(keywords),
            )
        )
        return real(data, options, **keywords)

    monkeypatch.setattr(onnxruntime, "InferenceSession", note)
    return seen


def test_proof_and_bench_use_the_same_session_options(tmp_path: Path, seen_options: list[tuple[Any, ...]]) -> None:
    bundle = make_alone(tmp_path / "one", "onnx-int8")
    seen_options.clear()
    check_golden(bundle)
    for_proof = set(seen_options)
    seen_options.clear()
    run(bundle, "onnx-int8")
    assert set(seen_options) == for_proof
    assert len(for_proof) == 1
    assert next(iter(for_proof))[:2] == (1, 1)  # both of the runtime's knobs


def with_points(bundle: Bundle, **thresholds: tuple[float, ...]) -> Bundle:
    """Return a bundle with these operating points instead of its own."""
    (found,) = bundle.manifest.variants
    calibration = found.calibration
    assert calibration is not None
    base = calibration.points[0]
    points = [base.model_copy(update={"name": name, "thresholds": values}) for name, values in thresholds.items()]
    changed = found.model_copy(update={"calibration": calibration.model_copy(update={"points": tuple(points)})})
    manifest = bundle.manifest.model_copy(update={"variants": (changed,)})
    (bundle.path / "manifest.json").write_text(manifest.model_dump_json())
    return read_bundle(bundle.path)


def test_points_with_the_same_setting_are_measured_once_and_shown_under_every_name(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=("tflite-int8",)))
    calibration = bundle.manifest.variants[0].calibration
    assert calibration is not None
    never, half = (point.thresholds for point in calibration.points)
    report = run(with_points(bundle, full=never, lossless=half, balanced=half, fast=never), "tflite-int8", seconds=0.2)
    measured = {name.split("/")[1] for name in report.raw if "/point-" in name}
    assert measured == {"point-full", "point-lossless"}
    full, lossless, balanced, fast = report.variant.cascade
    assert [point.point for point in report.variant.cascade] == ["full", "lossless", "balanced", "fast"]
    assert balanced == lossless.model_copy(update={"point": "balanced"})
    assert fast == full.model_copy(update={"point": "fast"})
    assert lossless.exit_counts != full.exit_counts
    assert str(fast.total.raw) in report.raw
    assert list(report.answers) == ["full", "lossless", "balanced", "fast"]
    assert report.answers["fast"] == report.answers["full"] != report.answers["balanced"]


def test_a_bundle_with_one_exit_has_one_point_to_measure(tmp_path: Path) -> None:
    bundle = make_alone(tmp_path / "one", "tflite-int8")
    names = ("full", "lossless", "balanced", "fast")
    report = run(with_points(bundle, **dict.fromkeys(names, ())), "tflite-int8")
    assert {name for name in report.raw if name.startswith("tflite-int8/point-") and name.endswith("total")} == {
        "tflite-int8/point-full/total"
    }
    assert [point.point for point in report.variant.cascade] == list(names)
    assert {point.total.count for point in report.variant.cascade} == {24}
