"""``bench --device ssh:…`` against a real sshd on loopback (``scripts/adbd.sh``); this machine is the board."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.adb_daemon import SCRIPT, get_programs
from support.bench_data import make_dataset
from support.bundles import make_bundle
from support.phone_fixture import start

from msd_edge.benchmarks.results_io import read_raw, read_results
from msd_edge.cli.app import run

QUICK = ["--seconds", "0", "--images", "12"]
INT8 = ["--device", "ssh:board", "--variant", "tflite-int8", *QUICK]

_SSH = """#!/bin/sh
# The tests' own configuration, whatever the user's is.
exec {ssh} -F '{state}/config' "$@"
"""
_CONFIG = """Host board
  HostName 127.0.0.1
  Port {port}
  User root
  IdentityFile {state}/client
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile {state}/known
  LogLevel ERROR
"""


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a daemon, with a program ``ssh`` in ``bin`` that knows the host ``board``."""
    if os.getuid() != 0:
        pytest.skip("sshd in a mount namespace needs root")
    programs = get_programs()
    state = tmp_path_factory.mktemp("sshd")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (state / "port").write_text(f"{port}\n")
    with (state / "log").open("w") as log:
        daemon = subprocess.Popen((str(SCRIPT), "sshd", str(programs), str(state)), stderr=log)
    (state / "config").write_text(_CONFIG.format(port=port, state=state))
    ssh = subprocess.run(("sh", "-c", "command -v ssh"), capture_output=True, text=True, check=False).stdout.strip()
    if not ssh:
        pytest.skip("there is no ssh client")
    (state / "bin").mkdir()
    (state / "bin/ssh").write_text(_SSH.format(ssh=ssh, state=state))
    (state / "bin/ssh").chmod(0o755)
    end = time.monotonic() + 30
    while "Server listening" not in (state / "log").read_text():
        if daemon.poll() == 77:
            pytest.skip((state / "log").read_text())
        assert daemon.poll() is None, (state / "log").read_text()
        assert time.monotonic() < end, (state / "log").read_text()
        time.sleep(0.05)
    yield state
    daemon.terminate()
    daemon.wait(10)


@pytest.fixture
def board(sshd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle ``b b`` in an empty folder; this checkout's Python is the light install on the board."""
    monkeypatch.chdir(tmp_path)
    python = tmp_path / "light install/python"
    python.parent.mkdir()
    # What a pip install there would find by itself.
    root = Path(__file__).parents[2]
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{root}" TMPDIR="{tmp_path}/there" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "there").mkdir()
    monkeypatch.setenv("MSD_EDGE_REMOTE_PYTHON", str(python))
    monkeypatch.setenv("PATH", f"{sshd / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("msd_edge.benchmarks.data.bundle_dataset", lambda bundle, data=None: make_dataset(24))
    make_bundle(tmp_path / "b b", variants=("tflite-float32", "tflite-int8"))
    return sshd


def left_on_the_board() -> list[str]:
    return sorted(path.name for path in Path("/tmp").glob("msd-edge-board-????????"))


def fails(capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str) -> None:
    capfd.readouterr()
    found = run(arguments)
    err = capfd.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert found == code
    assert not Path("results").exists()


def test_a_board_is_measured_like_this_machine(board: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = left_on_the_board()
    assert run(["bench", "b b", "--device", "ssh:board", *QUICK]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "equal bit for bit" in out
    path = Path("results/b b-board.json")
    results = read_results(path)
    assert (results.device.kind, results.device.name) == ("ssh", "board")
    assert results.options["device"] == "ssh:board"
    assert [variant.name for variant in results.variants] == ["tflite-float32", "tflite-int8"]
    assert "numpy" in results.versions
    assert results.circumstances is None
    assert len(read_raw(path, results).images) == 12
    assert not set(left_on_the_board()) - set(before)


def test_what_is_wrong_with_a_board_is_told(
    board: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench = ["bench", "b b", *INT8]
    fails(capfd, [*bench, "--device", "ssh:"], 2, "name a host like ssh:pi@board.local")
    fails(capfd, [*bench, "--device", "ssh:-oProxyCommand=x"], 2, "name a host like")
    fails(capfd, [*bench, "--apk", "x.apk"], 2, "are for phones")
    fails(capfd, [*bench, "--threads", "4096"], 2, "--threads 4096: board allows")
    fails(capfd, [*bench, "--runtime", "onnxruntime"], 2, "does not run tflite files")
    fails(capfd, [*bench, "--runtime", "tflite-runtime"], 1, "board: no runtime for tflite-int8 is installed there")
    monkeypatch.setenv("MSD_EDGE_REMOTE_PYTHON", str(tmp_path / "none"))
    fails(capfd, bench, 3, "board: no Python with msd-edge answers there: make a virtual environment")
    other = tmp_path / "other"
    board_json = '{"device": {"kind": "cpu", "name": "cpu", "processor": "x", "features": [], "cores": 1,'
    board_json += ' "memory_mib": 1, "system": "x"}, "versions": {"msd-edge": "0.0.1"}, "runtimes": {}}'
    other.write_text(f"#!/bin/sh\ncase \"$*\" in *board*) echo '{board_json}' ;; esac\n")
    other.chmod(0o755)
    monkeypatch.setenv("MSD_EDGE_REMOTE_PYTHON", str(other))
    fails(capfd, bench, 3, "board: msd-edge there is 0.0.1, here")
    config = (board / "config").read_text()
    try:
        (board / "config").write_text(config.replace(f"Port {(board / 'port').read_text().strip()}", "Port 1"))
        fails(capfd, bench, 3, "board: ssh cannot connect: ssh: connect to host 127.0.0.1 port 1: Connection refused")
    finally:
        (board / "config").write_text(config)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ('case "$*" in *worker*) kill -9 $$ ;; esac', "or the worker was killed there"),
        ('case "$*" in *worker*) exit 0 ;; esac', "fetching the report failed"),
    ],
)
def test_a_worker_that_ends_early_there_is_never_a_success(
    board: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fault: str,
    message: str,
) -> None:
    python = tmp_path / "light install/python"
    python.write_text(python.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{fault}\n"))
    fails(capfd, ["bench", "b b", *INT8], 3, message)


@pytest.mark.slow
def test_a_broken_connection_is_told(
    board: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The client dies while the worker runs: ssh itself returns 255."""
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text(
        f'#!/bin/sh\ncase "$*" in *worker*exec*|*exec*worker*) exit 255 ;; esac\nexec {board}/bin/ssh "$@"\n'
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}{os.pathsep}{os.environ['PATH']}")
    before = left_on_the_board()
    fails(capfd, ["bench", "b b", *INT8], 3, "board: the connection broke while measuring")
    assert not set(left_on_the_board()) - set(before)


def test_an_interrupt_stops_the_board_too(board: Path, tmp_path: Path) -> None:
    before = left_on_the_board()
    bench = start(["bench", "b b", "--device", "ssh:board", "--seconds", "3600"], tmp_path, dict(os.environ))
    end = time.monotonic() + 90
    while not (pids := _workers()):
        assert bench.poll() is None, bench.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(0.5)
    bench.send_signal(signal.SIGINT)
    _, err = bench.communicate(timeout=60)
    assert bench.returncode == 130, err
    assert "Traceback" not in err
    assert not set(pids) & set(_workers())
    assert not set(left_on_the_board()) - set(before)


def _workers() -> list[int]:
    """Return the processes that measure in a folder that was made for a board."""
    found = []
    for pid in Path("/tmp").glob("msd-edge-board-????????/*.pid"):
        text = pid.read_text().strip()
        if text and Path(f"/proc/{text}/cmdline").exists() and b"worker" in Path(f"/proc/{text}/cmdline").read_bytes():
            found.append(int(text))
    return found


@pytest.mark.slow
def test_an_arm_board_under_emulation_gives_the_same_values(
    board: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The runtime for 64-bit ARM itself, run by qemu: its values count, its times do not."""
    folder = Path(os.environ.get("MSD_EDGE_ARM", Path(tempfile.gettempdir()) / f"msd-edge-arm-{os.getuid()}"))
    done = subprocess.run((str(SCRIPT.with_name("arm.sh")), str(folder)), capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("MSD_EDGE_REMOTE_PYTHON", str(folder / "bin/python"))
    assert run(["bench", "b b", "--device", "ssh:board", *QUICK]) == 0
    results = read_results(Path("results/b b-board.json"))
    assert results.device.system.endswith("aarch64")
    assert results.versions["ai-edge-litert"] == "2.1.0"
    floats, integers = results.variants
    assert integers.golden.bit_equal
    assert floats.golden.max_difference < 1e-4
    here = run(["bench", "b b", *QUICK])
    assert here == 0
    same = read_results(Path("results/b b-cpu.json")).variants[1]
    assert [point.exit_counts for point in integers.cascade] == [point.exit_counts for point in same.cascade]
    assert [each.correct for each in integers.exits] == [each.correct for each in same.exits]
