"""The bench on real files in real processes."""

import base64
import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.bench_data import make_dataset
from support.bundles import make_bundle

from msd_edge.benchmarks import environment
from msd_edge.benchmarks.devices.cpu import CpuDevice
from msd_edge.benchmarks.environment import Cores
from msd_edge.benchmarks.harness import BenchOptions, plan_bench, run_bench
from msd_edge.benchmarks.job import Step
from msd_edge.benchmarks.results import Results
from msd_edge.benchmarks.results_io import Raw
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.errors import BundleError, ConfigError, DataError, RuntimeUnavailable
from msd_edge.files import write_text
from msd_edge.runtime.chain import Chain

TFLITE = ("tflite-float32", "tflite-int8")
QUICK = BenchOptions(seconds=0, warmup=2, block=8)
DATA = make_dataset()


def run(bundle: Bundle, options: BenchOptions = QUICK, device: CpuDevice | None = None) -> tuple[Results, Raw]:
    device = device or CpuDevice()
    return run_bench(bundle, DATA, plan_bench(bundle, DATA, options, device), options, device, lambda name, step: None)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read_bundle(make_bundle(tmp_path_factory.mktemp("bench") / "temp evil é 模型", variants=TFLITE))


@pytest.fixture(scope="module")
def measured(bundle: Bundle) -> tuple[Results, Raw]:
    return run(bundle)


def full_logits(bundle: Bundle, variant: str, raw: Raw) -> np.ndarray:
    with Chain(bundle, variant=variant) as chain:
        return np.stack([chain.logits(image) for image in DATA.test.read(np.array(raw.images))])


def test_accuracies_are_those_of_the_files_on_every_test_image(bundle: Bundle, measured: tuple[Results, Raw]) -> None:
    results, raw = measured
    assert sorted(raw.images) == list(range(len(DATA.test)))
    for variant in results.variants:
        logits, labels = full_logits(bundle, variant.name, raw), np.array(raw.labels)
        for place, each in enumerate(variant.exits):
            assert each.correct == int((logits[:, place].argmax(axis=1) == labels).sum())
            assert each.accuracy == each.correct / each.images
            assert each.images == len(DATA.test) == sum(part.count for part in each.reliability)
            assert 0 <= each.ece <= 1


def test_the_cascade_leaves_where_its_outputs_say(bundle: Bundle, measured: tuple[Results, Raw]) -> None:
    results, raw = measured
    for variant in results.variants:
        lossless, fast = variant.cascade
        assert lossless.exit_counts == (0, 0, len(DATA.test))
        assert fast.exit_counts[0] > 0
        for point in variant.cascade:
            answers = raw.answers[variant.name][point.point]
            assert point.simulation_agreement == 1
            assert np.bincount(answers.exits, minlength=4)[1:].tolist() == list(point.exit_counts)
            assert point.correct == int((np.array(answers.predicted) == np.array(raw.labels)).sum())
            macs = [info.chain_macs for info in bundle.manifest.exits]
            assert point.mean_macs == pytest.approx(np.mean([macs[e - 1] for e in answers.exits]))
        assert lossless.correct == variant.exits[-1].correct
        assert fast.exit_accuracy[0] is not None
        assert lossless.exit_accuracy[0] is None


def test_every_time_is_kept_and_figures_come_from_all_of_them(measured: tuple[Results, Raw]) -> None:
    results, raw = measured
    named = 0
    for variant in results.variants:
        timings = [segment.warm for segment in variant.segments]
        for each in variant.exits:
            timings += [each.chain, each.total]
        for point in variant.cascade:
            timings += [point.preprocess, point.inference, point.decision, point.total]
            assert point.total.count == len(DATA.test)
        for timing in timings:
            assert timing.raw is not None
            times = raw.times[timing.raw]
            assert timing.count == len(times)
            assert timing.maximum == max(times)
            assert timing.minimum == min(times) > 0 or "decision" in timing.raw
            named += 1
    assert named <= len(raw.times)


def test_the_whole_contains_its_parts(measured: tuple[Results, Raw]) -> None:
    results, raw = measured
    for variant in results.variants:
        name = f"{variant.name}/point-fast"
        parts = [raw.times[f"{name}/{part}"] for part in ("preprocess", "inference", "decision")]
        assert all(sum(each) <= total for *each, total in zip(*parts, raw.times[f"{name}/total"], strict=True))


def test_what_it_ran_on_is_said(bundle: Bundle, measured: tuple[Results, Raw]) -> None:
    results, _ = measured
    assert results.device.processor == environment.read_processor().name
    assert results.device.cores == environment.read_cores().allowed
    assert results.manifest_sha256 == bundle.manifest_sha256
    assert results.options["threads"] == 1
    assert results.options["seconds"] == 0
    assert results.warmup == 2
    assert "ai-edge-litert" in results.versions
    for variant in results.variants:
        assert variant.runtime == "litert"
        assert variant.threads == 1
        assert variant.golden.bit_equal
        assert variant.golden.images == 16
        assert variant.load >= sum(segment.init for segment in variant.segments) > 0
        assert variant.peak_memory > 0
        assert all(segment.first > 0 for segment in variant.segments)
        assert variant.exits[-1].chain_bytes == sum(segment.bytes for segment in variant.segments)


def test_examples_are_the_test_images_with_the_exit_they_took(measured: tuple[Results, Raw]) -> None:
    results, raw = measured
    for variant in results.variants:
        assert {example.exit for example in variant.examples} >= {1, 3}
        for example in variant.examples:
            picture = np.array(Image.open(io.BytesIO(base64.b64decode(example.png))))
            assert np.array_equal(picture, DATA.test.read(np.array([example.index]))[0])
            assert example.label == DATA.test.labels[example.index]
            answers = raw.answers[variant.name][example.point]
            place = raw.images.index(example.index)
            assert (answers.exits[place], answers.predicted[place]) == (example.exit, example.predicted)


@pytest.mark.parametrize(("variant", "threads"), [("tflite-float32", 2), ("onnx-float32", 1), ("onnx-float32", 2)])
def test_the_runtime_has_the_threads_that_were_asked_for(tmp_path: Path, variant: str, threads: int) -> None:
    if environment.read_cores().allowed < threads:
        pytest.skip("fewer cores are allowed here")
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=(variant,)))
    results, _ = run(bundle, BenchOptions(threads=threads, images=8, seconds=0, warmup=1, block=8))
    assert results.variants[0].threads == threads
    assert results.variants[0].runtime_threads == threads
    assert results.options["threads"] == threads


def test_a_worker_has_its_thread_settings_and_no_other_framework_and_ignores_the_current_folder(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "numpy.py", "raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    program = (
        "import os, sys; assert os.environ['OMP_NUM_THREADS'] == os.environ['OPENBLAS_NUM_THREADS'] == '1'; "
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'; "
        "from msd_edge.benchmarks.worker import main; code = main(); "
        "assert not {'torch', 'tensorflow', 'onnxruntime', 'sklearn'} & set(sys.modules); sys.exit(code)"
    )
    options = BenchOptions(variants=("tflite-int8",), images=4, seconds=0, warmup=1)
    results, _ = run(bundle, options, CpuDevice(command=(sys.executable, "-P", "-c", program)))
    assert results.data == f"tiny, 4 of {len(DATA.test)} test images"
    assert [variant.name for variant in results.variants] == ["tflite-int8"]


def test_more_threads_than_cores_are_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "read_cores", lambda: Cores(8, 8, 2.5))
    with pytest.raises(ConfigError, match=r"--threads 4: this process may use 2 of 8 cores .* grants 2.5"):
        plan_bench(bundle, DATA, BenchOptions(threads=4), CpuDevice())
    monkeypatch.setattr(environment, "read_cores", lambda: Cores(2, 2, 0.5))
    assert "pauses" in plan_bench(bundle, DATA, BenchOptions(), CpuDevice()).notes[0]


def test_a_bundle_without_operating_points_is_sent_to_calibrate(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=("tflite-int8",), calibrated=False))
    with pytest.raises(BundleError, match=r"tflite-int8 has no operating points; run `msd-edge calibrate"):
        plan_bench(bundle, DATA, QUICK, CpuDevice())


def test_unknown_and_unfitting_choices_are_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="no variant 'tflite-int9'"):
        plan_bench(bundle, DATA, BenchOptions(variants=("tflite-int9",)), CpuDevice())
    with pytest.raises(ConfigError, match="onnxruntime"):
        plan_bench(bundle, DATA, BenchOptions(runtime="onnxruntime"), CpuDevice())
    with pytest.raises(ConfigError, match="no such runtime"):
        plan_bench(bundle, DATA, BenchOptions(runtime="litter"), CpuDevice())
    with pytest.raises(RuntimeUnavailable, match="tflite-runtime"):
        plan_bench(bundle, DATA, BenchOptions(runtime="tflite-runtime"), CpuDevice())


def test_a_runtime_takes_the_variants_that_it_runs(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=("tflite-int8", "onnx-int8")))
    plan = plan_bench(bundle, DATA, BenchOptions(runtime="onnxruntime"), CpuDevice())
    assert [variant.name for variant in plan.variants] == ["onnx-int8"]


def test_points_from_other_images_are_refused(tmp_path: Path) -> None:
    """C7: test images as calibration images, whoever wrote the manifest."""
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=("tflite-int8",), calibration_sha256="1" * 64))
    with pytest.raises(BundleError, match=r"tflite-int8 was calibrated on other images than the run's calibration"):
        plan_bench(bundle, DATA, QUICK, CpuDevice())


def test_without_test_images_there_is_nothing_to_measure(bundle: Bundle) -> None:
    empty = make_dataset(0)
    with pytest.raises(DataError, match="the test split is empty"):
        plan_bench(bundle, empty, QUICK, CpuDevice())


def test_errors_of_the_worker_arrive_as_they_are(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=("tflite-int8",)))
    manifest = bundle.path / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(BundleError, match="has changed since the bench began"):
        run(bundle)


def test_ctrl_c_while_a_worker_starts_stops_it(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Pressed(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[call-overload]
            started.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Pressed)
    with pytest.raises(KeyboardInterrupt):
        run(bundle)
    assert [worker.returncode for worker in started] == [-signal.SIGTERM]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_progress_is_told(bundle: Bundle) -> None:
    steps: list[tuple[str, Step]] = []
    device, options = CpuDevice(), BenchOptions(variants=("tflite-int8",), images=16, seconds=0, warmup=1, block=8)
    plan = plan_bench(bundle, DATA, options, device)
    run_bench(bundle, DATA, plan, options, device, lambda name, step: steps.append((name, step)))
    assert steps[0][1].text == "loading"
    assert steps[-1][1].done == steps[-1][1].total == 16
    assert {name for name, _ in steps} == {"tflite-int8"}


def test_a_worker_does_not_outlive_a_bench_that_was_killed() -> None:
    program = (
        "import subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-P', '-m', 'msd_edge.benchmarks.worker'])\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program]
    # The worker waits for its job on the pipe that this test holds open: only its parent's end can end it.
    bench = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert bench.stdin is not None
    assert bench.stdout is not None
    worker = Path(f"/proc/{int(bench.stdout.readline())}")
    started = time.monotonic()
    while time.monotonic() < started + 60 and b"worker" not in (worker / "cmdline").read_bytes():
        time.sleep(0.1)
    time.sleep(2)  # past its imports, so that it has seen its parent
    bench.kill()
    bench.wait()
    while time.monotonic() < started + 120 and worker.exists():
        time.sleep(0.1)
    gone = not worker.exists()
    bench.stdin.close()
    bench.stdout.close()
    assert gone
