"""A phone for tests: a real adbd on loopback (``scripts/adbd.sh``), with stand-ins for what that daemon has not."""

import os
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest

from msd_edge.benchmarks.devices.protocol import PACKAGE

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "scripts/adbd.sh"
SERIAL = "127.0.0.2:5555"
OTHER = "127.0.0.3:5555"  # the same daemon once more
PROGRAMS = Path(os.environ.get("MSD_EDGE_ADBD", Path(tempfile.gettempdir()) / f"msd-edge-adbd-{os.getuid()}"))

PROPERTIES = {
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.build.version.release": "15",
    "ro.build.version.sdk": "35",
    "ro.build.id": "AP4A.250205.002",
    "ro.product.model": "Pixel 8",
    "ro.product.name": "shiba",
    "ro.soc.manufacturer": "Google",
    "ro.soc.model": "Tensor G3",
}

_GETPROP = """#!/bin/sh
sed -n "s/^$1=//p" '{state}/properties'
"""
_RUN_AS = """#!/bin/sh
[ -f /data/app/{package}/base.apk ] || {{ echo "run-as: unknown package: $1" >&2; exit 1; }}
[ -f '{state}/release' ] && {{ echo "run-as: package not debuggable: $1" >&2; exit 1; }}
mkdir -p /data/data/{package} && cd /data/data/{package} && shift && exec "$@"
"""
_PM = """#!/bin/sh
case "$1" in
  path) [ -f /data/app/{package}/base.apk ] && echo "package:/data/app/{package}/base.apk" || exit 1 ;;
  install)
    [ -f '{state}/install-fails' ] && {{ cat '{state}/install-fails'; exit 1; }}
    for last; do :; done
    mkdir -p /data/app/{package} && cp "$last" /data/app/{package}/base.apk && echo Success ;;
esac
"""
_AM = """#!/bin/sh
case "$1" in
  force-stop) [ -f '{state}/app.pid' ] && kill -9 "$(cat '{state}/app.pid')" 2>/dev/null; rm -f '{state}/app.pid' ;;
  instrument)
    while [ $# -gt 0 ]; do
      [ "$1 $2" = "-e config" ] && config="$3"
      [ "$1 $2" = "-e nonce" ] && nonce="$3"
      shift
    done
    cd /
    STAND_IN_FAULT="$(cat '{state}/fault' 2>/dev/null)" PYTHONPATH={path} OMP_NUM_THREADS=1 \\
      {player} /data/data/{package}/files "$config" "$nonce" &
    echo $! > '{state}/app.pid'
    wait $! ;;
esac
"""
_DUMPSYS = """#!/bin/sh
cat '{state}/'"$1"
"""
_LOGCAT = """#!/bin/sh
echo "11-25 20:00:00.000  1000  1000 I msd-edge: a line of the log"
"""
_BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: false
  level: 81
  temperature: 285
"""
_THERMAL = """IsStatusOverride: false
Thermal Status: 0
Cached temperatures:
"""


def get_programs() -> Path:
    """Return the folder of adbd, adb and sshd, unpacked on first use; the test is skipped where they cannot be had."""
    done = subprocess.run((str(SCRIPT), "get", str(PROGRAMS)), capture_output=True, text=True, check=False)
    _skip_unless(done)
    return PROGRAMS


def _skip_unless(done: "subprocess.CompletedProcess[str]") -> None:
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr


def make_apk(path: Path, abis: tuple[str, ...] = ("arm64-v8a",), libraries: tuple[str, ...] = ()) -> Path:
    """Write what the host looks at in an APK."""
    with ZipFile(path, "w") as file:
        file.writestr("AndroidManifest.xml", "the manifest")
        for abi in abis:
            for library in libraries or ("libtensorflowlite_jni.so",):
                file.writestr(f"lib/{abi}/{library}", abi)
    return path


class PhoneOnLoopback:
    """The phone.

    Attributes:
        state: its state folder; files there steer the stand-ins.
        environment: what a process needs to talk to it by ``adb``.
    """

    def __init__(self, state: Path, *, mib: int = 64, player: str | None = None) -> None:
        self.programs = get_programs()
        self.state = state
        self.standins = state / "standins"
        self.standins.mkdir(parents=True)
        (state / "phone-mib").write_text(f"{mib}\n")
        self.set_properties({})
        (state / "battery").write_text(_BATTERY)
        (state / "thermalservice").write_text(_THERMAL)
        stand_in = Path(__file__).parent / "stand_in_app.py"
        values = {
            "state": state,
            "package": PACKAGE,
            "path": shlex.quote(os.pathsep.join((str(REPOSITORY), str(Path(__file__).parents[1])))),
            "player": player or shlex.join((sys.executable, "-P", str(stand_in))),
        }
        programs = {
            "getprop": _GETPROP,
            "run-as": _RUN_AS,
            "pm": _PM,
            "am": _AM,
            "dumpsys": _DUMPSYS,
            "logcat": _LOGCAT,
        }
        for name, text in programs.items():
            self.put(name, text.format(**values))
        self.environment = {
            "PATH": f"{self.programs / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "ADB_SERVER_SOCKET": f"localfilesystem:{state}/adb.sock",
            "HOME": str(state),
        }
        self._process = subprocess.Popen(
            (str(SCRIPT), "run", str(self.programs), str(state)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._await_ready()
        self.connect()

    @property
    def root(self) -> Path:
        """The phone's / as this process can reach it."""
        return Path(f"/proc/{(self.state / 'inside.pid').read_text().strip()}/root{self.state}/root")

    @property
    def app_files(self) -> Path:
        return self.root / f"data/data/{PACKAGE}/files"

    @property
    def store(self) -> Path:
        return self.root / "data/local/tmp/msd-edge"

    def put(self, name: str, text: str) -> None:
        """Put a program onto the daemon's PATH."""
        path = self.standins / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)

    def set_properties(self, changed: Mapping[str, str]) -> None:
        lines = [f"{key}={value}" for key, value in {**PROPERTIES, **changed}.items()]
        (self.state / "properties").write_text("\n".join(lines) + "\n")

    def set_fault(self, fault: str) -> None:
        (self.state / "fault").write_text(fault)

    def adb(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            (str(self.programs / "bin/adb"), *words),
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def connect(self, serial: str = SERIAL) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            self.adb("connect", serial, check=False)
            if any(line.split()[:2] == [serial, "device"] for line in self.adb("devices").splitlines()):
                return
            time.sleep(0.1)
        raise AssertionError(self.adb("devices", "-l"))

    def install_app(self, apk: Path) -> None:
        target = self.root / f"data/app/{PACKAGE}"
        target.mkdir(parents=True, exist_ok=True)
        (target / "base.apk").write_bytes(apk.read_bytes())

    def kill_daemon(self) -> None:
        """The phone goes away, without a word."""
        os.kill(int((self.state / "adbd.pid").read_text()), signal.SIGKILL)

    def revive(self) -> None:
        """Start the daemon again after its end, and connect."""
        self.adb("disconnect", check=False)
        subprocess.run((str(SCRIPT), "daemon", str(self.programs), str(self.state)), check=True)
        self.connect()

    def reset(self) -> None:
        """Make the phone new."""
        for name in ("fault", "release", "install-fails"):
            (self.state / name).unlink(missing_ok=True)
        self.set_properties({})
        (self.state / "battery").write_text(_BATTERY)
        (self.state / "thermalservice").write_text(_THERMAL)
        self.adb("-s", SERIAL, "shell", "rm -rf /data/local/tmp/* /data/data/* /data/app/*")

    def left_behind(self) -> list[str]:
        """Return what is on the phone besides the app itself."""
        found = self.adb("-s", SERIAL, "shell", "find /data/local/tmp /data/data -type f").split()
        return sorted(path for path in found if path)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _await_ready(self) -> None:
        end = time.monotonic() + 30
        while not (self.state / "ready").exists():
            if self._process.poll() is not None:
                assert self._process.stderr is not None
                said = self._process.stderr.read()
                _skip_unless(subprocess.CompletedProcess((), self._process.returncode, "", said))
            assert time.monotonic() < end, "the daemon does not start"
            time.sleep(0.05)
