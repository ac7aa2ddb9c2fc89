"""``scripts/setup.sh``: what is installed is installed once, whoever asks for it."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[1] / "scripts/setup.sh"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a checkout whose environment has an installer that only writes down what it is asked for."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(SETUP, tmp_path / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("one\n")
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name, text in (("python", "exit 0"), ("uv", 'echo "${@: -1}" >> installed.txt')):
        (programs / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (programs / name).chmod(stat.S_IRWXU)
    return tmp_path


def set_up(checkout: Path, *extras: str) -> list[str]:
    """Source the script for each of ``extras`` and return what was installed by that."""
    log = checkout / "installed.txt"
    log.unlink(missing_ok=True)
    for each in extras:
        command = ["bash", "-c", 'source "scripts/setup.sh" "$0" && command -v python', each]
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, env=environment())
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == str(checkout / ".venv/bin/python")
    return log.read_text().split() if log.exists() else []


def environment() -> dict[str, str]:
    return {"PYTHON": sys.executable, "PATH": "/usr/local/bin:/usr/bin:/bin"}


def test_scripts_that_want_different_extras_take_turns_without_installing_anew(checkout: Path) -> None:
    assert set_up(checkout, "all", "dev", "all", "dev", "dev", "all") == [".[all]", ".[dev]"]
    assert set_up(checkout, "export", "all", "dev", "export") == [".[export]"]
    assert sorted((checkout / ".venv").glob(".msd-edge-*")) == [checkout / ".venv/.msd-edge-installed"]


def test_what_has_everything_serves_those_that_want_less(checkout: Path) -> None:
    assert set_up(checkout, "dev", "all") == [".[dev]"]


def test_other_packages_are_asked_for_when_the_files_have_changed(checkout: Path) -> None:
    set_up(checkout, "all", "dev")
    (checkout / "constraints.txt").write_text("two\n")
    assert set_up(checkout, "all", "all", "dev") == [".[all]", ".[dev]"]


def test_an_installation_that_failed_is_tried_again(checkout: Path) -> None:
    uv = checkout / ".venv/bin/uv"
    works = uv.read_text()
    uv.write_text("#!/usr/bin/env bash\nexit 1\n")
    command = ["bash", "-c", 'source "scripts/setup.sh" all']
    assert subprocess.run(command, cwd=checkout, capture_output=True, check=False, env=environment()).returncode == 1
    uv.write_text(works)
    assert set_up(checkout, "all", "all") == [".[all]"]


def test_a_marker_of_an_older_checkout_still_counts(checkout: Path) -> None:
    set_up(checkout, "dev")
    marker = checkout / ".venv/.msd-edge-installed"
    extras, digest = marker.read_text().split()
    assert (extras, len(digest)) == ("dev", 64)
    assert set_up(checkout, "dev", "all") == []
