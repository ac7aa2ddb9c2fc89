"""The whole path as a user walks it: real digits, real subprocesses, one core, a difficult folder name, piped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    where = tmp_path_factory.mktemp("walk") / "temp evil é 模型"
    where.mkdir()
    core = str(min(os.sched_getaffinity(0)))

    def step(*arguments: str) -> str:
        command = ["taskset", "-c", core, sys.executable, "-m", "msd_edge", *arguments]
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        assert "\x1b" not in done.stdout + done.stderr
        assert "\r" not in done.stdout + done.stderr
        return done.stdout

    said = {"train": step("train", "--arch", "resnet8", "--exits", "3", "--epochs", "4", "--batch-size", "32")}
    said["export"] = step("export", "--int8", "--float16", "--target", "tflite", "--target", "onnx")
    said["calibrate"] = step("calibrate", "--max-ms", "50")
    said["bench"] = step("bench", "--seconds", "1", "--images", "120")
    said["report"] = step("report", "--markdown", "report.md", "--csv", "report.csv")
    return where, said


def test_every_step_says_what_comes_next(walked: tuple[Path, dict[str, str]]) -> None:
    _, said = walked
    for verb, following in (("train", "export"), ("export", "calibrate"), ("calibrate", "bench"), ("bench", "report")):
        assert said[verb].splitlines()[-1].startswith(f"next     msd-edge {following}")


def test_every_variant_is_there_and_int8_is_smaller(walked: tuple[Path, dict[str, str]]) -> None:
    where, _ = walked
    manifest = json.loads((where / "bundles/resnet8-digits/manifest.json").read_text())
    sizes = {f"{v['target']}-{v['precision']}": sum(s["bytes"] for s in v["segments"]) for v in manifest["variants"]}
    assert set(sizes) == {"tflite-float32", "tflite-float16", "tflite-int8", "onnx-float32", "onnx-int8"}
    assert sizes["tflite-int8"] < sizes["tflite-float16"] < sizes["tflite-float32"]
    assert sizes["onnx-int8"] < sizes["onnx-float32"]
    for variant in manifest["variants"]:
        assert all(p["name"] for p in variant["calibration"]["points"])
        if variant["target"] == "tflite":
            assert variant["multi_signature"]["bytes"] < 1.2 * variant["exits"][-1]["bytes"] + sum(
                e["bytes"] for e in variant["exits"][:-1]
            )


def test_results_cover_every_variant_exit_and_point(walked: tuple[Path, dict[str, str]]) -> None:
    where, _ = walked
    (path,) = (where / "results").glob("*-cpu.json")
    results = json.loads(path.read_text())
    assert len(results["variants"]) == 5
    for variant in results["variants"]:
        assert len(variant["exits"]) == 3
        assert {c["point"] for c in variant["cascade"]} >= {"full", "lossless", "balanced", "fast", "custom"}
        assert all(c["simulation_agreement"] == 1 for c in variant["cascade"])
        assert sum(variant["cascade"][0]["exit_counts"]) == 120


def test_report_stands_alone(walked: tuple[Path, dict[str, str]]) -> None:
    where, _ = walked
    page = (where / "report.html").read_text()
    assert "<h1" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (where / "report.md").read_text().startswith("#")
    assert (where / "report.csv").read_text().count("\n") > 5


def test_predict_a_picture_file(walked: tuple[Path, dict[str, str]]) -> None:
    where, _ = walked
    rng = np.random.default_rng(0)
    picture = where / "my photo.png"
    Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(picture)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "msd_edge",
            "predict",
            "bundles/resnet8-digits",
            picture.name,
            "--point",
            "full",
            "--json",
        ],
        cwd=where,
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"exit": 3' in done.stdout
