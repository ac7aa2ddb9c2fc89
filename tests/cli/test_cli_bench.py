"""``msd-edge bench`` as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.bench_data import make_dataset
from support.bundles import average_exits, make_bundle
from support.light import hide_packages

from msd_edge.benchmarks import environment
from msd_edge.benchmarks.environment import Cores
from msd_edge.benchmarks.results_io import read_raw, read_results
from msd_edge.bundle.reader import read_bundle
from msd_edge.bundle.writer import replace_calibration
from msd_edge.cli.app import run
from msd_edge.data.select import select_images
from msd_edge.exits.metrics import ece
from msd_edge.runtime.cascade import CascadeRunner

QUICK = ["--seconds", "0", "--images", "12"]
TESTS = Path(__file__).parents[1]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder; the data behind every bundle is the tiny set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("msd_edge.benchmarks.data.bundle_dataset", lambda bundle, data=None: make_dataset(24))
    return tmp_path


def test_the_newest_bundle_is_measured_told_and_written(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_bundle(place / "bundles/old", variants=("tflite-int8",))
    os.utime(place / "bundles/old/manifest.json", (1, 1))
    make_bundle(place / "bundles/new 模型", variants=("tflite-float32", "tflite-int8"))
    assert run(["bench", *QUICK]) == 0
    out, err = capfd.readouterr()
    assert "bundle   bundles/new 模型 (newest of 2 in bundles/)\n" in out
    assert "1 thread" in out
    assert "12 of 24 test images" in out
    for words in ("tflite-float32 · litert", "tflite-int8 · litert", "equal bit for bit", "lossless", "fast"):
        assert words in out
    assert out.splitlines()[-1].split() == ["next", "msd-edge", "report"]
    assert err == ""
    path = place / "results/new 模型-cpu.json"
    results = read_results(path)
    assert [variant.name for variant in results.variants] == ["tflite-float32", "tflite-int8"]
    assert len(read_raw(path, results).images) == 12
    assert sorted(file.name for file in path.parent.iterdir()) == ["new 模型-cpu.json", "new 模型-cpu.raw.json"]

    before = path.read_bytes()
    assert run(["bench", *QUICK]) == 2
    assert "is there already; --overwrite replaces it." in capfd.readouterr().err
    assert path.read_bytes() == before

    assert run(["bench", "--variant", "tflite-int8", *QUICK, "--overwrite", "--json"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    printed = json.loads(out)
    assert printed == json.loads(path.read_text())
    assert [variant["precision"] for variant in printed["variants"]] == ["int8"]


def test_without_a_runtime_for_some_variants_the_others_are_measured(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bundle(place / "b", variants=("tflite-int8", "onnx-int8"))
    hide_packages(monkeypatch, "onnxruntime")
    note = "left out: onnx-int8 (no runtime for onnx files is installed: pip install 'onnxruntime<1.29')."
    assert run(["bench", "b", *QUICK]) == 0
    out, err = capfd.readouterr()
    assert "variants tflite-int8\n" in out
    assert out.count(f"note     {note}\n") == 1
    assert err == ""
    results = read_results(place / "results/b-cpu.json")
    assert [variant.name for variant in results.variants] == ["tflite-int8"]
    assert note in results.notes
    assert run(["bench", "b", "--variant", "onnx-int8", "--dry-run"]) == 1
    said = "no runtime for onnx files is installed: pip install 'onnxruntime<1.29'."
    assert capfd.readouterr().err == f"msd-edge: {said}\n"
    hide_packages(monkeypatch, "onnxruntime", "ai_edge_litert", "tflite_runtime", "tensorflow")
    assert run(["bench", "b", "--dry-run"]) == 1
    assert "pip install ai-edge-litert or pip install 'onnxruntime<1.29'." in capfd.readouterr().err


def test_digits_without_scikit_learn_say_what_to_install(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bundle(tmp_path / "b", variants=("tflite-int8",))
    monkeypatch.chdir(tmp_path)
    hide_packages(monkeypatch, "sklearn")
    for verb in ("bench", "calibrate"):
        assert run([verb, "b"]) == 2
        said = capfd.readouterr().err
        assert said == "msd-edge: digits ships with scikit-learn, which is missing: pip install scikit-learn.\n"


def test_averaged_exits_are_measured_and_reported(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plain = read_bundle(make_bundle(place / "b", variants=("onnx-float32", "onnx-int8")))
    averaged = read_bundle(average_exits(plain.path))
    bundle = replace_calibration(averaged, {"onnx-int8": plain.variant("onnx-int8").calibration})
    assert run(["bench", "b", *QUICK]) == 0
    bench, other = read_results(place / "results/b-cpu.json").variants
    assert {point.rule for point in other.cascade} == {"max-softmax"}
    with CascadeRunner(bundle, variant="onnx-float32", point="fast") as cascade:
        images = make_dataset(24).test.read(select_images(make_dataset(24).test.labels, 12))
        labels = make_dataset(24).test.labels[select_images(make_dataset(24).test.labels, 12)]
        answers = [cascade.predict(image) for image in images]
        logits = np.stack([cascade.logits(image) for image in images])
    (fast,) = (point for point in bench.cascade if point.point == "fast")
    assert fast.rule == "averaged"
    assert fast.correct == sum(answer.index == label for answer, label in zip(answers, labels, strict=True))
    # An exit's accuracy is its own, its confidence that of what an image is answered by there.
    assert bench.exits[2].correct == (logits[:, 2].argmax(-1) == labels).sum()
    assert bench.exits[2].ece == pytest.approx(ece(logits.mean(axis=1), labels, 1.0), abs=1e-6)
    capfd.readouterr()
    assert run(["report", "--bundle", "b"]) == 0
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "calibrate b --rule averaged --variant onnx-float32\n" in page
    assert "calibrate b --rule max-softmax --variant onnx-int8\n" in page
    assert "1.00</td>" in page
    assert "0.333 / 0.333 / 0.333" in page


def test_points_with_the_same_setting_share_a_row_and_a_report(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_bundle(place / "one", variants=("tflite-int8",), exits=1)
    assert run(["bench", "one", *QUICK]) == 0
    out, _ = capfd.readouterr()
    heads = [line.split("  ") for line in out.splitlines() if line.startswith(("exit ", "point "))]
    assert [word.strip() for word in heads[0] if word][2] == "chain MACs"
    assert [word.strip() for word in heads[1] if word][1:3] == ["accuracy", "expected"]
    assert "promised" not in out
    assert sum(line.startswith(("lossless, fast ", "lossless ", "fast ")) for line in out.splitlines()) == 1
    assert "\nlossless, fast  " in out
    assert [point.point for point in read_results(place / "results/one-cpu.json").variants[0].cascade] == [
        "lossless",
        "fast",
    ]
    assert run(["report", "--markdown", "r.md"]) == 0
    assert "| fast (measured as lossless) |" in (place / "r.md").read_text(encoding="utf-8")
    assert "= <bdi>lossless</bdi>" in (place / "report.html").read_text(encoding="utf-8")


def test_a_dry_run_checks_and_writes_nothing(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_bundle(place / "b", variants=("tflite-int8",))
    assert run(["bench", "b", "--dry-run", "--images", "7"]) == 0
    assert "7 of 24 test images" in capfd.readouterr().out
    (place / "c.toml").write_text('images = 5\nvariant = ["tflite-int8"]\n')
    assert run(["bench", "b", "--dry-run", "--json", "--config", "c.toml"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["variants"] == ["tflite-int8"]
    assert told["images"] == 5
    assert told["out"] == "results/b-cpu.json"
    assert not (place / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["b", "--sustain", "1"], 2, "--device cpu: --apk, --paced, --sustain"),
        (["b", "--variant", "tflite-int9"], 2, "no variant 'tflite-int9'"),
        (["b", "--runtime", "onnxruntime"], 2, "does not run tflite files"),
        (["b", "--runtime", "tflite-runtime"], 1, "the runtime tflite-runtime is not installed"),
        (["b", "--threads", "0"], 2, "--threads"),
        (["b", "--out", "x.txt"], 2, "a file that ends in .json"),
        (["nowhere"], 2, "there is no such bundle"),
        ([], 2, "there is no bundle here"),
        (["bare"], 2, "tflite-int8 has no operating points; run `msd-edge calibrate bare`"),
    ],
)
def test_what_cannot_be_measured_is_told_in_a_sentence(
    place: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    make_bundle(place / "b", variants=("tflite-int8",))
    make_bundle(place / "bare", variants=("tflite-int8",), calibrated=False)
    assert run(["bench", *arguments]) == code
    out, err = capfd.readouterr()
    assert message in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert not (place / "results").exists()


def test_more_threads_than_cores_are_refused(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bundle(place / "b", variants=("tflite-int8",))
    monkeypatch.setattr(environment, "read_cores", lambda: Cores(8, 1, None))
    monkeypatch.setattr("msd_edge.benchmarks.data.bundle_dataset", lambda bundle, data=None: pytest.fail("loaded"))
    assert run(["bench", "b", "--threads", "2"]) == 2
    assert "this process may use 1 of 8 cores (affinity allows 1); ask for at most 1." in capfd.readouterr().err


def test_a_variant_that_fails_leaves_no_results_of_the_others(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = make_bundle(place / "b", variants=("tflite-float32", "tflite-int8"))
    victim = folder / "tflite-int8/segment-2.tflite"
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    assert run(["bench", "b", *QUICK]) == 2
    assert "segment-2.tflite" in capfd.readouterr().err
    assert not (place / "results").exists()


def test_an_interrupt_stops_everything_and_leaves_nothing(place: Path) -> None:
    make_bundle(place / "b", variants=("tflite-int8",))
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(TESTS)!r})\n"
        "import msd_edge.benchmarks.data as data\n"
        "from support.bench_data import make_dataset\n"
        "data.bundle_dataset = lambda bundle, where=None: make_dataset(24)\n"
        "from msd_edge.cli.app import run\n"
        "sys.exit(run(['bench', 'b', '--seconds', '3600']))\n"
    )
    scratch = place / "scratch"
    scratch.mkdir()
    bench = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    worker = wait_for_child(bench.pid)
    bench.send_signal(signal.SIGINT)
    _, err = bench.communicate(timeout=60)
    assert bench.returncode == 130
    assert "Traceback" not in err
    assert not Path(f"/proc/{worker}").exists()
    assert list(scratch.iterdir()) == []
    assert not (place / "results").exists()


def wait_for_child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if not children.exists():
        pytest.skip("this kernel does not tell a process's children")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = children.read_text().split()
        if found:
            return int(found[0])
        time.sleep(0.05)
    raise AssertionError("no worker was started")
