"""``devices``, ``deploy`` and ``bench --device`` against a real adb daemon; a stand-in plays the app.

The daemon comes from ``scripts/adbd.sh``. Where it cannot be had the tests are skipped with the reason.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.adb_daemon import OTHER, SERIAL, PhoneOnLoopback, make_apk
from support.bench_data import make_dataset
from support.bundles import make_bundle
from support.phone_fixture import start

from msd_edge.benchmarks.results_io import read_raw, read_results
from msd_edge.cli.app import run
from msd_edge.errors import ConfigError
from msd_edge.locks import hold

QUICK = ["--seconds", "0", "--images", "12"]
INT8 = ["--variant", "tflite-int8", *QUICK]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PhoneOnLoopback]:
    phone = PhoneOnLoopback(tmp_path_factory.mktemp("phone"), mib=96)
    yield phone
    phone.stop()


@pytest.fixture
def phone(daemon: PhoneOnLoopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PhoneOnLoopback:
    """A new phone with the app on it; the work is in an empty folder with a bundle ``b``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    for name, value in daemon.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("msd_edge.benchmarks.data.bundle_dataset", lambda bundle, data=None: make_dataset(24))
    daemon.connect()
    daemon.reset()
    daemon.install_app(make_apk(tmp_path / "app.apk"))
    make_bundle(tmp_path / "b", variants=("tflite-float32", "tflite-int8"))
    return daemon


def fails(capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str) -> None:
    """Run a command line that has to fail with one sentence."""
    capfd.readouterr()
    found = run(arguments)
    err = capfd.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert found == code
    assert not list(Path("results").glob("*.json"))


def test_devices_are_listed(phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["devices"]) == 0
    out = capfd.readouterr().out
    assert out.splitlines()[2].split() == [SERIAL, "Pixel", "8", "shiba", "device", "arm64-v8a", "15", "(API", "35)"]
    assert run(["devices", "--json"]) == 0
    (told,) = json.loads(capfd.readouterr().out)
    assert (told["serial"], told["model"], told["usable"], told["advice"]) == (SERIAL, "Pixel 8", True, "")


def test_a_bench_brings_results_of_the_same_kind_as_the_cpus(
    phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "b", "--device", "pixel", *QUICK, "--paced", "200", "--sustain", "0.01"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    for words in (
        "Pixel 8 · Google Tensor G3",
        f"serial {SERIAL} · battery 81 %, not charging · 28 °C · thermal: none",
        "golden images equal bit for bit",
        "logits of 12 images beside litert",
        "at 200 frames/s",
        "point-lossless, minute",
        "No phone was measured: the app was played by a stand-in in Python.",
    ):
        assert words in out
    path = Path("results/b-Pixel-8.json")
    results = read_results(path)
    raw = read_raw(path, results)
    assert [variant.name for variant in results.variants] == ["tflite-float32", "tflite-int8"]
    assert results.device.kind == "android"
    assert results.device.system == "Android 15 (API 35, build AP4A.250205.002) · arm64-v8a"
    about = results.circumstances
    assert about is not None
    assert (about.way, about.burst, about.played_by) == ("app", False, "a stand-in in Python")
    assert (about.before.battery_percent, about.after.thermal) == (81, 0)
    assert about.log == "b-Pixel-8.log"
    log = Path("results/b-Pixel-8.log").read_text()
    assert "INSTRUMENTATION_CODE: -1" in log
    assert "a line of the log" in log
    for variant in results.variants:
        assert variant.agreement is not None
        assert variant.agreement.bit_equal
        assert {each.contender for each in variant.paced} == {"point-lossless", "point-fast", "exit-3"}
        assert variant.sustained is not None
        assert variant.sustained.minutes[0].thermal == 2
        assert variant.sustained.minutes[0].total.raw in raw.times
        for point in variant.cascade:
            assert point.images == 12
            assert point.simulation_agreement == 1
            assert raw.answers[variant.name][point.point].exits
            assert len(raw.times[str(point.total.raw)]) >= 12
    assert results.versions["org.msdedge.demo"] == "0.0-stand-in (1)"
    assert phone.left_behind() == []

    # The phone's milliseconds steer calibration, and a report shows it beside the CPU.
    assert run(["bench", "b", *INT8]) == 0
    assert run(["report", "results/b-Pixel-8.json", "results/b-cpu.json", "--out", "r.html"]) == 0
    page = Path("r.html").read_text()
    assert "Pixel 8" in page
    assert "No phone was measured" in page


def test_a_phone_measures_points_with_the_same_setting_once(phone: PhoneOnLoopback) -> None:
    make_bundle(Path("one"), variants=("tflite-int8",), exits=1)
    arguments = ["bench", "one", "--device", "pixel", *QUICK, "--paced", "200", "--sustain", "0.01"]
    assert run(arguments) == 0
    path = Path("results/one-Pixel-8.json")
    (variant,) = read_results(path).variants
    assert [point.point for point in variant.cascade] == ["lossless", "fast"]
    assert {point.total.raw for point in variant.cascade} == {"tflite-int8/point-lossless/total"}
    assert {each.contender for each in variant.paced} == {"point-lossless", "exit-1"}
    assert variant.sustained is not None
    assert variant.sustained.contender == "point-lossless"
    assert set(read_raw(path, read_results(path)).answers["tflite-int8"]) == {"lossless", "fast"}


def test_the_phones_milliseconds_are_taken_by_calibrate(
    phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str]
) -> None:
    from msd_edge.benchmarks.calibrate import latency_from
    from msd_edge.bundle.reader import read_bundle

    assert run(["bench", "b", "--device", SERIAL, *INT8]) == 0
    path = Path("results/b-Pixel-8.json")
    bundle = read_bundle("b")
    found = latency_from(read_results(path), path, bundle, bundle.variant("tflite-int8"))
    assert found.device.startswith("Pixel 8, Google Tensor G3")
    assert len(found.segment_ms) == 3


def test_a_dry_run_leaves_the_phone_alone(phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str]) -> None:
    phone.reset()
    assert run(["bench", "b", "--device", "pixel", "--apk", "app.apk", "--dry-run"]) == 0
    assert "Pixel 8" in capfd.readouterr().out
    assert phone.left_behind() == []
    assert not (phone.root / "data/app/org.msdedge.demo").exists()


def test_deploy_brings_a_bundle_and_replaces_it_whole(
    phone: PhoneOnLoopback, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_bundle(tmp_path / "my bündle $x", variants=("tflite-int8",))
    assert run(["deploy", "my bündle $x", "--device", "pixel"]) == 0
    said = capfd.readouterr().out
    assert "my-b-ndle-x, all files compared" in said
    assert said.splitlines()[-1] == "next     msd-edge bench 'my bündle $x' --device pixel"
    there = phone.app_files / "bundles/my-b-ndle-x"
    assert sorted(_files(there)) == sorted(_files(tmp_path / "my bündle $x"))
    assert all((there / name).read_bytes() == (tmp_path / "my bündle $x" / name).read_bytes() for name in _files(there))

    assert run(["deploy", "b", "--device", "pixel", "--name", "my-b-ndle-x", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["name"] == "my-b-ndle-x"
    assert sorted(_files(there)) == sorted(_files(tmp_path / "b"))
    assert [path.name for path in (phone.app_files / "bundles").iterdir()] == ["my-b-ndle-x"]
    assert not phone.store.exists()
    fails(capfd, ["deploy", "b", "--name", "../x"], 2, "use letters, digits")
    fails(capfd, ["deploy", "b", "--device", "cpu"], 2, "bundles are deployed to the app on a phone")


def _files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def test_the_app_is_installed_once(phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    phone.reset()
    fails(capfd, ["deploy", "b", "--device", "pixel"], 3, "is not installed; build it in android_demo/")
    assert run(["deploy", "b", "--device", "pixel", "--apk", "app.apk"]) == 0
    assert "(installed now)" in capfd.readouterr().out
    assert run(["deploy", "b", "--device", "pixel", "--apk", "app.apk"]) == 0
    assert "(installed now)" not in capfd.readouterr().out
    make_apk(tmp_path / "newer.apk", libraries=("libtensorflowlite_jni.so", "libonnxruntime.so"))
    assert run(["deploy", "b", "--device", "pixel", "--apk", "newer.apk"]) == 0
    assert "(installed now)" in capfd.readouterr().out
    assert (phone.root / "data/app/org.msdedge.demo/base.apk").read_bytes() == Path("newer.apk").read_bytes()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "Failure [INSTALL_FAILED_UPDATE_INCOMPATIBLE: signatures do not match]",
            "uninstall org.msdedge.demo` removes it",
        ),
        ("Failure [INSTALL_FAILED_INSUFFICIENT_STORAGE]", "free some space on the device"),
        ("Failure [INSTALL_FAILED_USER_RESTRICTED: Install canceled by user]", "allow installing by USB"),
    ],
)
def test_an_app_that_cannot_be_installed_is_told(
    phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str], said: str, message: str
) -> None:
    phone.reset()
    (phone.state / "install-fails").write_text(f"{said}\n")
    fails(capfd, ["bench", "b", "--device", "pixel", "--apk", "app.apk", *INT8], 3, message)


def test_what_the_phone_cannot_run_is_refused_before_work(
    phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bench = ["bench", "b", "--device", "pixel", *INT8]
    make_apk(tmp_path / "x86.apk", abis=("x86_64",))
    fails(capfd, [*bench, "--apk", "x86.apk"], 3, "x86.apk has libraries for x86_64, and the device is arm64-v8a")
    fails(capfd, [*bench, "--apk", "none.apk"], 2, "there is no such APK")
    (tmp_path / "text.apk").write_text("text")
    fails(capfd, [*bench, "--apk", "text.apk"], 2, "this is no APK")
    make_bundle(tmp_path / "o", variants=("onnx-int8", "tflite-int8"))
    fails(
        capfd, ["bench", "o", "--device", "pixel", "--variant", "onnx-int8"], 1, "the app has no runtime for onnx-int8"
    )
    fails(capfd, [*bench, "--threads", "4096"], 2, "cores")
    fails(capfd, ["bench", "b", "--paced", "30"], 2, "are for phones")
    fails(capfd, [*bench, "--delegate", "npu"], 2, "no such choice")
    phone.set_properties({"ro.build.version.sdk": "26", "ro.build.version.release": "8.0"})
    fails(capfd, bench, 3, "Android 8.0 (API 26, build AP4A.250205.002) is too old")
    phone.set_properties({})
    (phone.state / "battery").write_text("  AC powered: false\n  level: 7\n  temperature: 300\n")
    fails(capfd, bench, 3, "the battery is at 7 %")
    (phone.state / "battery").write_text("no battery here\n")
    (phone.state / "thermalservice").write_text("Thermal Status: 4\n")
    fails(capfd, bench, 3, "the phone is hot (thermal status critical)")
    (phone.state / "release").touch()
    (phone.state / "thermalservice").write_text("")
    fails(capfd, bench, 3, "package not debuggable")
    assert phone.left_behind() == []


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("crash", 3, "the app ended before it was done: java.lang.OutOfMemoryError"),
        ("die", 3, "the connection broke while measuring"),
        ("stale", 3, "is that of another measurement"),
        ("wrong-nonce", 3, "answered for another measurement"),
        ("no-end", 3, "the app ended before it was done"),
        ("truncated", 3, "arrived cut off or changed"),
        ("few-times", 3, "times of point-lossless/preprocess, and at least 12 were to be taken"),
        ("parity", 1, "does not compute what it computed at export"),
        ("parity-hidden", 1, "does not compute what it computed at export"),
    ],
)
def test_no_fault_of_the_app_is_ever_a_success(
    phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str], fault: str, code: int, message: str
) -> None:
    phone.set_fault(fault)
    fails(capfd, ["bench", "b", "--device", "pixel", *INT8], code, message)
    assert phone.left_behind() == []


def test_an_app_without_the_instrumentation_is_told(phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str]) -> None:
    am = (phone.standins / "am").read_text()
    try:
        phone.put("am", '#!/bin/sh\n[ "$1" = instrument ] && echo "INSTRUMENTATION_FAILED: org.msdedge.demo/.X"\n')
        fails(capfd, ["bench", "b", "--device", "pixel", *INT8], 3, "install this release's app with --apk")
        phone.put("am", '#!/bin/sh\n[ "$1" = instrument ] && exit 0\n')
        fails(capfd, ["bench", "b", "--device", "pixel", *INT8], 3, "the connection broke while measuring")
    finally:
        phone.put("am", am)


def test_two_devices_are_told_apart(
    phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    phone.connect(OTHER)
    try:
        fails(capfd, ["bench", "b", "--device", "pixel"], 3, f"{SERIAL} (Pixel 8), {OTHER} (Pixel 8). Name one")
        fails(capfd, ["deploy", "b"], 3, "two devices match 'android'")
        monkeypatch.setenv("ANDROID_SERIAL", OTHER)
        assert run(["deploy", "b", "--device", "pixel"]) == 0
        assert OTHER in capfd.readouterr().out
    finally:
        phone.adb("disconnect", OTHER)


def test_a_device_that_does_not_allow_this_computer_is_told(
    phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The daemon here asks nobody; the client's own words come from a stand-in for it."""
    fake = tmp_path / "bin/adb"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "List of devices attached"\necho "R58N  unauthorized usb:1-4 transport_id:3"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    fails(capfd, ["bench", "b", "--device", "pixel"], 3, "R58N is unauthorized: unlock it and allow USB debugging")
    assert run(["devices"]) == 0
    assert "note     R58N is unauthorized: unlock it" in capfd.readouterr().out


def test_a_full_phone_is_told_and_tidied(phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str]) -> None:
    phone.adb("-s", SERIAL, "shell", "head -c 60m /dev/zero > /data/ballast")
    try:
        fails(capfd, ["bench", "b", "--device", "pixel", *INT8], 3, "MiB are free on the device, and 64 are needed")
        phone.adb("-s", SERIAL, "shell", "cat /dev/zero > /data/ballast2; truncate -s -4K /data/ballast2", check=False)
        fails(capfd, ["deploy", "b", "--device", "pixel"], 3, "No space left on device; free some space on the device")
        assert phone.left_behind() == []
    finally:
        phone.adb("-s", SERIAL, "shell", "rm -f /data/ballast*")


def write_benchmark_model(path: Path, *, spoil: bool = False) -> Path:
    """Write a program that plays the official binary."""
    player = Path(__file__).parents[1] / "support/stand_in_benchmark_model.py"
    spoilt = "s/.tobytes() for info/[..., ::-1].tobytes() for info/" if spoil else ""
    code = f"sed '{spoilt}' '{player}' | '{sys.executable}' - \"$@\""
    path.write_text(f"#!/bin/sh\n{code}\n")
    return path


def test_a_phone_without_the_app_is_timed_from_its_shell(
    phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    binary = write_benchmark_model(tmp_path / "benchmark_model")
    bench = ["bench", "b", "--device", "pixel", "--benchmark-model", str(binary), "--seconds", "0"]
    with hold(Path("results/b-Pixel-8-shell.json"), work="is benching into these results"):
        fails(capfd, [*bench, *INT8], 2, f"process {os.getpid()} on ")
    assert run([*bench, "--variant", "tflite-int8"]) == 0
    out = capfd.readouterr().out
    assert "Timed from the shell, file by file: no accuracy, no cascade." in out
    path = Path("results/b-Pixel-8-shell.json")
    assert out.splitlines()[-1] == f"next     msd-edge calibrate b --latency {path}"
    results = read_results(path)
    assert [(each.variant, each.file) for each in results.shell] == [("tflite-int8", f"segment-{k}") for k in (1, 2, 3)]
    assert results.circumstances is not None
    assert (results.circumstances.way, results.circumstances.log) == ("shell", "b-Pixel-8-shell.log")
    assert "benchmark_model" in results.versions
    assert not phone.store.exists()

    from msd_edge.benchmarks.calibrate import latency_from
    from msd_edge.bundle.reader import read_bundle

    bundle = read_bundle("b")
    found = latency_from(results, path, bundle, bundle.variant("tflite-int8"))
    assert found.segment_ms == tuple(each.typical for each in results.shell)
    assert "(shell, segments alone)" in found.device
    with pytest.raises(ConfigError, match="there are no times of tflite-float32"):
        latency_from(results, path, bundle, bundle.variant("tflite-float32"))


def test_a_benchmark_model_that_cannot_be_trusted_reports_nothing(
    phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    binary = write_benchmark_model(tmp_path / "benchmark_model", spoil=True)
    bench = ["bench", "b", "--device", "pixel", "--benchmark-model", str(binary), *INT8]
    fails(capfd, bench, 1, "does not give there what it gives here; nothing was measured")
    binary.write_text("#!/bin/sh\necho 'INFO: Unconsumed cmdline flags: --output_filepath=x'\n")
    fails(capfd, bench, 3, "this benchmark_model is too old")
    binary.write_text("#!/bin/sh\nexit 0\n")
    fails(capfd, bench, 3, "looking for the outputs that benchmark_model should have written failed")
    binary.write_bytes(b"\x7fELF\2\1\1" + bytes(9) + b"\3\0\x3e\0")
    fails(capfd, bench, 3, "this binary is for x86_64, and the device is arm64-v8a")
    binary.write_bytes(b"\x7fELF\2\1\1" + bytes(9) + b"\3\0\xb7\0" + bytes(44))
    fails(capfd, bench, 3, "the program is for another processor: take the one for the device's ABI")
    fails(capfd, [*bench, "--sustain", "1"], 2, "--benchmark-model goes without the app")
    fails(capfd, [*bench, "--device", "cpu"], 2, "--benchmark-model is for phones")
    assert phone.left_behind() == []


_CUT = """#!/bin/sh
count=$(($(cat '{folder}/count') + 1))
echo $count > '{folder}/count'
echo "$count $*" | tr '\\n' ' ' >> '{folder}/calls'
echo >> '{folder}/calls'
if [ $count -eq {moment} ]; then
  ( sleep {delay}; kill -9 $(cat '{state}/adbd.pid') ) > /dev/null 2>&1 &
  [ {delay} = 0 ] && sleep 0.1
fi
exec '{adb}' "$@"
"""


def cut_at(phone: PhoneOnLoopback, folder: Path, moment: int, delay: str) -> None:
    """Make the phone go away at the call of adb with that number, before it or ``delay`` seconds into it."""
    folder.mkdir(exist_ok=True)
    (folder / "count").write_text("0")
    (folder / "calls").write_text("")
    program = folder / "adb"
    values = {"moment": moment, "delay": delay, "state": phone.state, "adb": phone.programs / "bin/adb"}
    program.write_text(_CUT.format(folder=folder, **values))
    program.chmod(0o755)


@pytest.mark.slow
def test_a_phone_that_goes_away_at_twenty_moments_is_never_a_success(
    phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Bench whole once; then lose the phone at nineteen moments spread over the same bench, and in the measurement."""
    bench = ["bench", "b", "--device", SERIAL, *INT8]
    folder = tmp_path / "cut"
    cut_at(phone, folder, 0, "0")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    assert run(bench) == 0
    calls = (folder / "calls").read_text().splitlines()
    # After the answer is here, what is missing is tidying up only.
    last = max(place for place, call in enumerate(calls, 1) if "logits.bin" in call and "exec-out" in call)
    measuring = next(place for place, call in enumerate(calls, 1) if "am instrument" in call)
    spread = [1 + round(number * (last - 1) / 18) for number in range(19)]
    cuts = [(moment, "0" if number % 2 == 0 else "0.03") for number, moment in enumerate(spread)]
    # Soon enough that no machine is done by then: the stand-in has yet to import numpy and a runtime.
    for moment, delay in [*cuts, (measuring, "0.1")]:
        for path in Path("results").iterdir():
            path.unlink()
        cut_at(phone, folder, moment, delay)
        capfd.readouterr()
        code = run(bench)
        err = capfd.readouterr().err
        told = f"call {moment} of {last}, {delay} s into it ({calls[moment - 1][:150]}): {err}"
        assert int((folder / "count").read_text()) >= moment, told
        if code == 0:  # the call was done before the phone went away, and tidying up met the phone's end
            assert delay != "0", told
            assert moment >= last - 1, told
            assert read_results(Path("results/b-Pixel-8.json")).variants[0].golden.bit_equal, told
        else:
            assert code == 3, told
            assert len(err.splitlines()) == 1, told
            assert any(hint in err for hint in ("run it again", "plug", "check the cable", "restart it")), told
            assert not list(Path("results").glob("*.json")), told
        cut_at(phone, folder, 0, "0")
        phone.revive()
        # What is kept for the next transfer would change the number of calls.
        phone.adb("-s", SERIAL, "shell", "rm -rf /data/local/tmp/msd-edge")
    assert run([*bench, "--overwrite"]) == 0
    assert phone.left_behind() == []


def test_a_transfer_that_broke_goes_on_where_it_stopped(
    phone: PhoneOnLoopback, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "cut"
    cut_at(phone, folder, 0, "0")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    deploy = ["deploy", "b", "--device", SERIAL]
    assert run(deploy) == 0
    calls = (folder / "calls").read_text().splitlines()
    pushes = [place for place, call in enumerate(calls, 1) if f"-s {SERIAL} push" in call]
    cut_at(phone, folder, pushes[-2], "0")
    assert run(deploy) == 3
    phone.revive()
    cut_at(phone, folder, 0, "0")
    assert run(deploy) == 0
    again = [call for call in (folder / "calls").read_text().splitlines() if f"-s {SERIAL} push" in call]
    assert len(again) <= 2
    assert sorted(_files(phone.app_files / "bundles/b")) == sorted(_files(tmp_path / "b"))
    assert not phone.store.exists()


def test_an_interrupt_stops_the_phone_too_and_leaves_nothing(phone: PhoneOnLoopback, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path / "scratch")}
    (tmp_path / "scratch").mkdir()
    bench = start(["bench", "b", "--device", "pixel", "--seconds", "3600"], tmp_path, environment)
    pid = _await_app(phone, bench)
    bench.send_signal(signal.SIGINT)
    _, err = bench.communicate(timeout=60)
    assert bench.returncode == 130, err
    assert "Traceback" not in err
    assert not Path(f"/proc/{pid}").exists() or _state(pid) == "Z"
    assert phone.left_behind() == []
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not list(Path("results").glob("*.json"))


def _await_app(phone: PhoneOnLoopback, bench: "subprocess.Popen[str]") -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert bench.poll() is None, bench.communicate()
        pid = phone.state / "app.pid"
        if pid.is_file() and pid.read_text().strip() and list(phone.app_files.glob("bench/*/golden.bin")):
            return int(pid.read_text())
        time.sleep(0.05)
    raise AssertionError("the app was not started")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
