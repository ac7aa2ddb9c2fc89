"""A bench over the real adb daemon where the demo app's own classes, on a JVM, play the app."""

import subprocess
from pathlib import Path

import pytest
from support.adb_daemon import REPOSITORY, SERIAL, PhoneOnLoopback, make_apk
from support.bench_data import make_alone, make_dataset
from support.bundles import make_bundle

from msd_edge.benchmarks.results_io import read_raw, read_results
from msd_edge.cli.app import run

STAND_IN = REPOSITORY / "android_demo/maven/stand-in"


@pytest.mark.slow
def test_the_apps_own_classes_answer_as_the_protocol_says(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not STAND_IN.is_file():
        pytest.skip("android_demo/maven/stand-in is not there")
    tried = subprocess.run((str(STAND_IN), "x", "y", "z"), capture_output=True, text=True, check=False)
    if tried.returncode == 127:
        pytest.skip(tried.stderr.strip())
    phone = PhoneOnLoopback(tmp_path_factory.mktemp("jvm"), mib=96, player=str(STAND_IN))
    try:
        monkeypatch.chdir(tmp_path)
        for name, value in phone.environment.items():
            if name != "HOME":
                monkeypatch.setenv(name, value)
        monkeypatch.setattr("msd_edge.benchmarks.data.bundle_dataset", lambda bundle, data=None: make_dataset(24))
        libraries = ("libtensorflowlite_jni.so", "libonnxruntime.so")
        phone.install_app(make_apk(tmp_path / "app.apk", libraries=libraries))
        make_bundle(tmp_path / "b", variants=("tflite-float32", "tflite-int8", "onnx-float32", "onnx-int8"))
        make_alone(tmp_path / "one", "tflite-int8")
        quick = ["--device", SERIAL, "--seconds", "0.2", "--paced", "200", "--sustain", "0.02"]
        assert run(["bench", "b", *quick]) == 0
        path = Path("results/b-Pixel-8.json")
        results = read_results(path)
        assert [variant.name for variant in results.variants] == [
            "tflite-float32",
            "tflite-int8",
            "onnx-float32",
            "onnx-int8",
        ]
        assert results.circumstances is not None
        assert results.circumstances.played_by
        assert "JVM" in results.circumstances.played_by
        answers = read_raw(path, results).answers
        for variant in results.variants:
            assert variant.golden.top1_agreement == 1
            assert variant.agreement is not None
            assert variant.agreement.top1_agreement == 1
            if variant.precision == "int8":
                assert variant.agreement.bit_equal
            assert variant.runtime_threads == 1
            assert variant.peak_memory > 0
            assert all(point.simulation_agreement == 1 for point in variant.cascade)
            assert all(len(said.exits) == 24 for said in answers[variant.name].values())
            assert {each.contender for each in variant.paced} == {"point-lossless", "point-fast", "exit-3"}
            assert variant.sustained is not None
        assert run(["bench", "one", *quick, "--images", "12"]) == 0
        (alone,) = read_results(Path("results/one-Pixel-8.json")).variants
        assert alone.exits[0].alone is not None
        assert phone.left_behind() == []

        # What the app refuses is told in its own words, and is no success.
        (tmp_path / "b/golden/tflite-int8.int8").rename(tmp_path / "kept")
        assert run(["bench", "b", *quick, "--variant", "tflite-int8", "--overwrite"]) != 0
    finally:
        phone.stop()
