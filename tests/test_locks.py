"""Locks: the second process is told who holds it, a dead one never blocks, temporary files do not stay."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from msd_edge.errors import BundleError, ConfigError
from msd_edge.locks import check_free, clear_unheld, hold, open_locked, scratch_folder

HOLDING = """
import sys, time
from pathlib import Path
from msd_edge.locks import hold, scratch_folder
with hold(Path(sys.argv[1]), work="is exporting to this bundle"), scratch_folder("msd-edge-test-") as folder:
    (folder / "images.npy").write_text("many")
    child = None
    if len(sys.argv) > 2:
        import os
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    print(folder, child, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def start(path: Path, *more: str) -> tuple["subprocess.Popen[str]", list[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(path), *more], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().split()


@pytest.fixture
def holder(place: Path) -> Iterator["subprocess.Popen[str]"]:
    process, _ = start(place / "bundles/x")
    yield process
    process.kill()
    process.communicate()


def test_the_second_process_is_told_who_holds_it(place: Path, holder: "subprocess.Popen[str]") -> None:
    says = (
        rf"bundles/x: process {holder.pid} on \S+ is exporting to this bundle since 2\d{{3}}-.* UTC; wait for it to end"
    )
    with pytest.raises(BundleError, match=says), hold(place / "bundles/x", work="is …", error=BundleError):
        pass
    with hold(place / "bundles/y", work="is …"):
        pass


def test_a_dead_holder_never_blocks(place: Path, holder: "subprocess.Popen[str]") -> None:
    holder.kill()
    holder.wait()
    assert [path.name for path in (place / "bundles").iterdir()] == [".x.lock"]
    with hold(place / "bundles/x", work="is …"):
        said = json.loads((place / "bundles/.x.lock").read_text())
        assert said["pid"] == os.getpid()
    assert not list((place / "bundles").iterdir())


def test_a_forked_child_that_lives_on_does_not_hold_for_its_parent(place: Path) -> None:
    process, words = start(place / "bundles/x", "fork")
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    try:
        while True:
            try:
                with hold(place / "bundles/x", work="is …"):
                    break
            except ConfigError:  # the child has not got to letting go yet
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        os.kill(int(words[1]), signal.SIGKILL)
        process.communicate()


def test_a_link_and_what_it_leads_to_are_one_artefact(place: Path) -> None:
    (place / "real").mkdir()
    (place / "link").symlink_to("real")
    with (
        hold(place / "link", work="is …"),
        pytest.raises(ConfigError, match="wait for it"),
        hold(place / "real", work="is …"),
    ):
        pass


def test_whether_it_is_held_can_be_asked_beforehand(place: Path) -> None:
    check_free(place / ".x.lock", place / "x")
    says = rf"x: process {os.getpid()} on \S+ is writing here since"
    with hold(place / "x", work="is writing here"), pytest.raises(BundleError, match=says):
        check_free(place / ".x.lock", place / "x", error=BundleError)
    (place / ".x.lock").write_text("left by a dead one")
    check_free(place / ".x.lock", place / "x")


def test_a_lock_that_says_nothing_is_told_all_the_same(place: Path) -> None:
    with hold(place / "x", work="is …"):
        (place / ".x.lock").write_text("{")
        with pytest.raises(ConfigError, match="x: another process is writing here"), hold(place / "x", work="is …"):
            pass


def test_scratch_files_of_killed_processes_are_cleared_and_those_of_living_ones_are_not(place: Path) -> None:
    dead, (left, _) = start(place / "a")
    dead.kill()
    dead.communicate()
    living, (kept, _) = start(place / "b")
    assert not Path(left).exists()  # the living one cleared it when it began
    other = place / "scratch/msd-edge-other-1"
    other.mkdir()
    with scratch_folder("msd-edge-test-") as folder:
        assert not list(folder.iterdir())
        assert Path(kept).exists()
    assert not folder.exists()
    living.kill()
    living.communicate()
    with scratch_folder("msd-edge-test-"):
        assert not Path(kept).exists()
    assert [path.name for path in (place / "scratch").iterdir()] == [other.name]


def test_a_planted_link_is_not_followed(place: Path) -> None:
    (place / "mine").mkdir()
    (place / "mine/thesis.tex").write_text("years of work")
    (place / "scratch/msd-edge-test-1").symlink_to(place / "mine")
    (place / "scratch/msd-edge-test-1.lock").touch()
    (place / "scratch/msd-edge-test-2.lock").symlink_to(place / "mine/thesis.tex")
    with scratch_folder("msd-edge-test-"):
        pass
    assert (place / "mine/thesis.tex").read_text() == "years of work"
    assert (place / "scratch/msd-edge-test-2.lock").is_symlink()


def test_a_temporary_file_in_use_is_left_alone(place: Path) -> None:
    file, path = open_locked(place, ".x.partial-")
    assert not clear_unheld(path)
    file.close()
    assert clear_unheld(path)
    assert not clear_unheld(path)


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="another user is needed")
# JAX, which other tests load, warns of every fork.
@pytest.mark.filterwarnings("ignore:os.fork")
def test_a_folder_whose_parent_is_closed_holds_its_lock_itself(place: Path) -> None:
    folder = place / "mount" / "bundle"
    folder.mkdir(parents=True)
    os.chown(folder, 65534, 65534)
    for parent in (place, *place.parents):
        if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    process = os.fork()
    if process == 0:
        try:
            os.setuid(65534)
            with hold(folder, work="is …"):
                os._exit(0 if (folder / ".lock").exists() else 1)
        except BaseException:  # noqa: BLE001  a forked child must not return into the test
            os._exit(2)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
