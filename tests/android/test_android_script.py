"""``scripts/android.sh``: what it says and returns when something is missing, unreachable or broken; no build here."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOST = (
    "[ERROR] Plugin x could not be resolved: Could not transfer artifact a:b:jar:1 from/to central: Connection refused"
)
BROKEN = "[WARNING] Could not transfer metadata x\n[ERROR] There are test failures."
COMMANDS = [
    "bash",
    "cat",
    "cut",
    "date",
    "dirname",
    "grep",
    "mkdir",
    "mktemp",
    "rm",
    "sh",
    "tail",
    "tee",
    "touch",
    "uname",
]
_SETUP = 'set -euo pipefail\ncd "$(dirname "${BASH_SOURCE[0]}")/.."\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing but the script, and stand-ins for all the programs that it calls."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/android.sh", tmp_path / "scripts")
    (tmp_path / "scripts/setup.sh").write_text(_SETUP)
    (tmp_path / "android_demo/fixtures").mkdir(parents=True)
    (tmp_path / "android_demo/fixtures/complete").touch()
    (tmp_path / "bin").mkdir()
    for name in ("aapt2", "zipalign", "apksigner", "dexdump", "unzip", "apt-get", "sleep"):
        put(tmp_path, name, "exit 0")
    put(tmp_path, "id", "echo 0")
    put(tmp_path, "javac", "echo javac 17.0.1")
    put(tmp_path, "mvn", "exit 0")
    # Nothing else: what this machine has is no matter.
    for name in COMMANDS:
        found = shutil.which(name)
        assert found, name
        (tmp_path / "bin" / name).symlink_to(found)
    (tmp_path / "bin/python").symlink_to(sys.executable)
    return tmp_path


def put(checkout: Path, name: str, body: str) -> None:
    path = checkout / "bin" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def play(checkout: Path) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": str(checkout / "bin")}
    script = str(checkout / "scripts/android.sh")
    return subprocess.run(
        ("bash", script, "--keep-fixtures"), env=environment, capture_output=True, text=True, check=False
    )


def mvn(checkout: Path, *said: str) -> None:
    """Let each call of Maven say one of these and fail; calls beyond them succeed."""
    for number, text in enumerate(said, 1):
        (checkout / f"said-{number}").write_text(f"{text}\n")
    put(
        checkout,
        "mvn",
        f"cd '{checkout}'; echo \"$*\" >> calls; cat said-$(grep -c '' calls) 2>/dev/null && exit 1\nexit 0",
    )


def calls(checkout: Path) -> list[str]:
    return (checkout / "calls").read_text().splitlines()


def test_a_registry_that_cannot_be_reached_is_no_verdict_on_the_app(checkout: Path) -> None:
    mvn(checkout, LOST, LOST, LOST, LOST)
    done = play(checkout)
    assert done.returncode == 3, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("android.sh: Maven's packages cannot be downloaded, nothing is known of the app: Could not")
    assert len(calls(checkout)) == 4
    assert all(call.split()[-2:] == ["clean", "verify"] for call in calls(checkout))
    assert ["-U" in call.split() for call in calls(checkout)] == [False, True, True, True]


def test_a_download_that_breaks_off_is_begun_again(checkout: Path) -> None:
    mvn(checkout, LOST)
    done = play(checkout)
    assert len(calls(checkout)) == 2
    assert "a download broke off, once more in 10 s: Could not transfer artifact a:b" in done.stderr
    # Maven says that all is well, and not one test has run.
    assert done.returncode == 1
    assert "tests ran, not {" in done.stderr


def test_a_failure_of_the_app_is_not_tried_again(checkout: Path) -> None:
    mvn(checkout, BROKEN)
    done = play(checkout)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "android.sh: the app's build or a test of it failed; above is what Maven says."
    )
    assert len(calls(checkout)) == 1


def test_what_is_missing_is_named_or_installed(checkout: Path) -> None:
    (checkout / "bin/unzip").unlink()
    put(checkout, "id", "echo 1000")
    done = play(checkout)
    assert done.returncode == 2
    assert done.stderr.startswith("android.sh: the Android build needs: apt-get install unzip")
    put(checkout, "id", "echo 0")
    put(checkout, "apt-get", "echo 'E: Failed to fetch x' >&2; exit 100")
    done = play(checkout)
    assert done.returncode == 3
    assert done.stderr.startswith("android.sh: apt-get cannot install unzip")
    assert done.stderr.endswith(": E: Failed to fetch x\n")
