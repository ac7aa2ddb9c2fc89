"""Reading and proving what ``benchmark_model`` gives."""

import struct
from pathlib import Path

import numpy as np
import pytest
from support.bench_data import make_alone

from msd_edge.benchmarks.devices.shell_model import check_binary, fits, parse_timings, prepare_cases
from msd_edge.bundle.reader import read_bundle
from msd_edge.errors import ConfigError, DeviceError, DeviceRunError

PRINTED = """INFO: count=10 first=900 curr=300 min=290 max=900 avg=350 std=1
INFO: Running benchmark for at least 50 iterations and at least 1 seconds
INFO: count=3210 first=301 curr=310 min=295 max=1200 avg=311.482 std=31 p5=300 median=309 p95=320

INFO: Inference timings in us: Init: 1234, First inference: 900, Warmup (avg): 350, Inference (avg): 311.482
INFO: Memory footprint delta from the start of the tool (MB): init=1.2 overall=3.4
"""
SHA256 = "0" * 64


def test_figures_are_read_in_milliseconds() -> None:
    found = parse_timings(PRINTED, "tflite-int8", "segment-1", SHA256, 2)
    assert (found.init, found.first) == (1.234, 0.9)
    assert found.mean == pytest.approx(0.311482)
    assert (found.count, found.minimum, found.maximum, found.median, found.p95) == (3210, 0.295, 1.2, 0.309, 0.32)
    assert found.typical == 0.309


def test_an_older_binary_tells_no_median() -> None:
    found = parse_timings(PRINTED.replace(" p5=300 median=309 p95=320", ""), "v", "f", SHA256, 1)
    assert found.median is None
    assert found.typical == found.mean


@pytest.mark.parametrize("said", ["", "ERROR: Failed to load", PRINTED[:200]])
def test_no_line_of_times_is_a_failure(said: str) -> None:
    with pytest.raises(DeviceRunError, match="ended without its line of times"):
        parse_timings(said, "v", "segment-1", SHA256, 1)


def test_outputs_may_come_in_any_order_and_must_be_all_there() -> None:
    a, b = np.arange(4, dtype=np.int8), np.arange(100, 112, dtype=np.int8).reshape(3, 4)
    assert fits(a.tobytes() + b.tobytes(), (a, b))
    assert fits(b.tobytes() + a.tobytes(), (a, b))
    assert fits((b - 4).tobytes() + a.tobytes(), (a, b))
    assert not fits((b - 5).tobytes() + a.tobytes(), (a, b))
    assert not fits(b.tobytes(), (a, b))
    assert not fits(b"", (a,))
    logits = np.array([1.0, 2.0], np.float32)
    assert fits((logits + np.float32(5e-4)).tobytes(), (logits,))
    assert not fits((logits + np.float32(5e-3)).tobytes(), (logits,))
    assert not fits(np.array([1.0, np.nan], np.float32).tobytes(), (logits,))


def test_a_binary_for_another_processor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bm"
    path.write_bytes(b"\x7fELF" + b"\2\1\1" + bytes(9) + struct.pack("<HH", 3, 62))
    check_binary(path, "x86_64")
    with pytest.raises(DeviceError, match="this binary is for x86_64, and the device is arm64-v8a"):
        check_binary(path, "arm64-v8a")
    with pytest.raises(ConfigError, match="cannot read this file"):
        check_binary(tmp_path / "none", "arm64-v8a")


def test_every_file_has_inputs_and_outputs_of_real_images(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    cases = prepare_cases(bundle, bundle.variant("tflite-int8"))
    assert [case.name for case in cases] == ["segment-1", "segment-2", "segment-3"]
    assert all(len(case.inputs) == len(case.outputs) == 2 for case in cases)
    np.testing.assert_array_equal(cases[0].outputs[0][1], cases[1].inputs[0][0])
    alone = make_alone(tmp_path / "one", "tflite-float32")
    assert [case.name for case in prepare_cases(alone, alone.variant())] == ["segment-1", "exit-1/alone"]
