"""The script that prints promised ratios: its arithmetic, and its clock on real files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.bundles import make_bundle
from support.tinynet import make_images

from msd_edge.benchmarks import ratios
from msd_edge.benchmarks.ratios import Comparison, Setting, compare_chain, time_file
from msd_edge.bundle.reader import read_bundle
from msd_edge.runtime.chain import Chain
from msd_edge.runtime.open import open_session


def compare(ours: tuple[float, ...], theirs: tuple[float, ...], **more: object) -> Comparison:
    values: dict[str, object] = {"unit": "ms", "kind": "ratio", "goal": 0.03, "both_ways": True, **more}
    return Comparison("x", ours, theirs, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ours", "theirs", "more", "holds"),
    [
        ((1.02, 1.0, 9.0), (1.0, 1.0, 1.0), {}, True),  # the median, not the disturbed round
        ((1.04, 1.04, 1.0), (1.0, 1.0, 1.0), {}, False),
        ((0.9, 0.9), (1.0, 1.0), {}, False),  # faster than the tool: one of the two clocks is wrong
        ((1.04,), (1.0,), {"goal": 1.05, "both_ways": False}, True),
        ((0.5,), (1.0,), {"goal": 1.05, "both_ways": False}, True),
        ((1.3,), (1.1,), {"kind": "difference", "goal": 0.3, "both_ways": False}, True),
        ((1.5,), (1.1,), {"kind": "difference", "goal": 0.3, "both_ways": False}, False),
    ],
)
def test_goals_are_met_by_the_median(
    ours: tuple[float, ...], theirs: tuple[float, ...], more: dict[str, object], holds: bool
) -> None:
    found = compare(ours, theirs, **more)
    assert found.holds is holds
    assert found.cells()[-1] == ("yes" if holds else "NO")


@pytest.mark.parametrize("variant", ["tflite-int8", "onnx-float32"])
def test_a_file_is_timed_as_the_bench_times_it(tmp_path: Path, variant: str) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=(variant,)))
    entry = bundle.manifest.variants[0].segments[0]
    found = time_file(str(bundle.path / entry.path), bundle.manifest.variants[0].target, threads=1, runs=10)
    assert found["median"] > 0
    assert found["mean"] > 0


@pytest.mark.parametrize("name", ["tflite-int8", "onnx-float32"])
def test_chain_and_one_file_compute_the_same_exits_in_turns(tmp_path: Path, name: str) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=(name,)))
    (found,) = compare_chain(Setting(bundle, threads=1, rounds=3, runs=10))
    assert len(found.ours) == len(found.theirs) == 3
    assert found.name == f"{name}: 3 segments / the same exits in one file"
    variant = bundle.manifest.variants[0]
    whole = ratios._one_piece(variant.target, [bundle.read(segment) for segment in variant.segments])
    session = open_session(whole, variant.target, threads=1)
    image = make_images(1, 3, seed=5)[0]
    with Chain(bundle) as chain:
        expected = chain.raw_logits(image)
        (value,) = chain.enter(image).values()
        outputs = session.run(dict.fromkeys(session.inputs, value))
    logits = [outputs[name] for name in sorted(outputs) if "logits" in name]
    assert len(logits) == 3
    for row in expected:
        assert any(np.allclose(row, found[0], atol=1e-5) for found in logits)


def test_a_copy_with_threads_computes_the_same(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=("onnx-int8",)))
    data = bundle.read(bundle.manifest.variants[0].segments[0])
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(ratios._with_threads(data, 1))
    assert time_file(str(copy), "onnx", threads=1, runs=10)["median"] > 0


@pytest.mark.slow
def test_the_tools_of_the_runtimes_can_be_called(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", variants=("tflite-float32", "onnx-float32"))
    command = [sys.executable, "-m", "msd_edge.benchmarks.ratios", str(bundle), "--rounds", "1", "--runs", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    for words in ("litert-benchmark", "onnxruntime_test", "bare typer", "goal"):
        assert words in done.stdout


def test_a_bundle_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "msd_edge.benchmarks.ratios", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no such bundle" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_comparison_is_told_before_work_starts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "msd_edge.benchmarks.ratios", str(tmp_path / "none"), "--only", "chains"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--only chains: there is no such comparison; take one of litert-benchmark" in " ".join(done.stderr.split())
