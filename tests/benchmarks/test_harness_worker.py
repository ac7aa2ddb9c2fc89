"""What the parent does when its worker dies, hangs, babbles or has to stop."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from msd_edge.benchmarks.devices import find_device
from msd_edge.benchmarks.devices.cpu import CpuDevice
from msd_edge.benchmarks.job import Job, Step
from msd_edge.errors import AdbError, DeviceRunError, ParityError


def make_job(tmp_path: Path) -> Job:
    return Job(
        bundle="none",
        manifest_sha256="",
        variant="tflite-int8",
        runtime=None,
        threads=1,
        images="none",
        labels=(0,),
        seconds=0,
        warmup=1,
        block=1,
        report=str(tmp_path / "report.json"),
    )


def device(program: str, silence: float = 60) -> CpuDevice:
    return CpuDevice(command=(sys.executable, "-S", "-c", program), silence=silence)


def run(tmp_path: Path, program: str, silence: float = 60) -> list[Step]:
    steps: list[Step] = []
    device(program, silence).run(make_job(tmp_path), steps.append)
    return steps


def wait_until_gone(pid: int) -> bool:
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_a_killed_worker_is_named_with_the_signal(tmp_path: Path) -> None:
    with pytest.raises(DeviceRunError, match=r"^tflite-int8: the worker was stopped by SIGKILL \(out of memory\?\)\.$"):
        run(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")


def test_a_crashed_worker_gives_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(
        DeviceRunError, match=r"failed with exit code 1; its last line: ValueError: no such operator\.$"
    ):
        run(tmp_path, "print('noise'); raise ValueError('no such operator')")


def test_a_worker_that_dies_before_it_reads_its_job(tmp_path: Path) -> None:
    with pytest.raises(DeviceRunError, match="failed with exit code 7"):
        run(tmp_path, "import os; os.close(0); os._exit(7)")


def test_a_silent_worker_is_stopped(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(DeviceRunError, match="no sign of life for 1 s"):
        run(tmp_path, program, silence=1)
    assert wait_until_gone(int(pid.read_text()))


def test_a_worker_that_ends_without_a_report(tmp_path: Path) -> None:
    with pytest.raises(DeviceRunError, match="ended well but its report cannot be read"):
        run(tmp_path, "pass")
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(DeviceRunError, match="ended well but its report cannot be read"):
        run(tmp_path, "pass")


def test_errors_arrive_by_class_and_unknown_classes_as_the_devices(tmp_path: Path) -> None:
    step = json.dumps({"error": "ParityError", "message": "it differs."})
    with pytest.raises(ParityError, match=r"^it differs\.$"):
        run(tmp_path, f"print({step!r})")
    step = json.dumps({"error": "os", "message": "odd."})
    with pytest.raises(DeviceRunError, match=r"^odd\.$"):
        run(tmp_path, f"print({step!r})")


def test_lines_that_are_no_steps_are_passed_over(tmp_path: Path) -> None:
    steps: list[Step] = []
    program = "print('INFO: hello'); print('{\"done\": 3, \"total\": 4}'); print('[]'); raise SystemExit(5)"
    with pytest.raises(DeviceRunError, match="exit code 5"):
        device(program).run(make_job(tmp_path), steps.append)
    assert [(step.done, step.total) for step in steps] == [(3, 4)]


def test_an_interrupt_stops_the_worker_and_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    # Both ignore the polite request; the child belongs to the worker's process group.
    program = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        'print(\'{"text": "ready"}\', flush=True)\n'
        "time.sleep(60)\n"
    )

    def interrupt(step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        device(program).run(make_job(tmp_path), interrupt)
    worker, child = (int(pid) for pid in pids.read_text().split())
    assert wait_until_gone(worker)
    assert wait_until_gone(child)
    assert not (tmp_path / "report.json").exists()


def test_another_name_than_cpu_is_a_phone_and_needs_adb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_device("cpu").name == "cpu"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    monkeypatch.delenv("ANDROID_SDK_ROOT", raising=False)
    for name in ("pixel", "3A0123"):
        with pytest.raises(AdbError, match="adb is not installed: install Android's platform-tools") as error:
            find_device(name)
        assert error.value.exit_code == 3


def test_the_worker_refuses_what_is_no_job(tmp_path: Path) -> None:
    command = (
        sys.executable,
        "-P",
        "-c",
        "import sys; from msd_edge.benchmarks import worker; sys.exit(worker.main())",
    )
    with pytest.raises(Exception, match="there is no such bundle"):
        CpuDevice(command=command).run(make_job(tmp_path), lambda step: None)


def test_signals_have_names() -> None:
    from msd_edge.benchmarks.devices.cpu import _explain_exit

    assert _explain_exit(-signal.SIGSEGV) == "was stopped by SIGSEGV"
    assert _explain_exit(-200) == "was stopped by 200"
