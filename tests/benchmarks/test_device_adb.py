"""Commands on a device: exit codes, output, and an end that is believed only when it is there."""

import os
import stat
from pathlib import Path

import pytest

from msd_edge.benchmarks.devices.adb import AdbDevice
from msd_edge.errors import AdbError, NoDevice

# Runs what `adb -s SERIAL shell LINE` would run on a device, on this machine.
LOCAL = '[ "$3" = shell ] && exec sh -c "$4"\nexit 1'


def device(folder: Path, script: str) -> AdbDevice:
    path = folder / "adb"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return AdbDevice(str(path), "S1")


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("true", 0, "", ""),
        ("exit 3", 3, "", ""),
        ("echo a; echo b >&2; false", 1, "a\n", "b\n"),
        ("printf 'no end of line'", 0, "no end of line", ""),
        ('echo "it\'s" # a comment', 0, "it's\n", ""),
        ("cd /; ls none", 2, "", None),
    ],
)
def test_what_a_command_said_and_how_it_ended(tmp_path: Path, line: str, code: int, out: str, err: str | None) -> None:
    answer = device(tmp_path, LOCAL).shell(line, what="trying")
    assert (answer.code, answer.out) == (code, out)
    assert err is None or answer.err == err


def test_words_reach_the_device_as_they_are(tmp_path: Path) -> None:
    word = "a b'c\"d$HOME `x` \\ é\n"
    assert device(tmp_path, LOCAL).must(("printf", "%s", word), what="trying") == word


def test_a_command_that_has_to_succeed_and_does_not_is_told(tmp_path: Path) -> None:
    with pytest.raises(AdbError, match="S1: trying failed: oh no"):
        device(tmp_path, LOCAL).must("echo oh no >&2; exit 1", what="trying")
    with pytest.raises(AdbError, match="free some space on the device"):
        device(tmp_path, LOCAL).must("echo 'write: No space left on device' >&2; exit 1", what="trying")


_FULL = "echo \"adb: error: failed to copy 'm' to '/x': remote write failed: No space left on device\""
_SUMMARY = "echo 'm: 1 file pushed, 0 skipped. 2.1 MB/s (1456 bytes in 0.001s)'"


@pytest.mark.parametrize("script", [f"{_FULL}; {_SUMMARY}", f"{_SUMMARY}; {_FULL}", f"{_SUMMARY}; {_FULL} >&2"])
def test_a_push_that_fails_is_told_by_its_error_and_not_by_its_summary(tmp_path: Path, script: str) -> None:
    with pytest.raises(AdbError, match=r"sending m failed: adb: error: .* No space left on device; free some space"):
        device(tmp_path, f"{script}; exit 1").push(tmp_path / "m", "/x", what="sending m")


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        ("exit 0", AdbError, "the connection broke while trying"),
        ("echo half; exit 0", AdbError, "the connection broke while trying"),
        ('sh -c "$4" | head -c 20; exit 0', AdbError, "the connection broke while trying"),
        ("echo 'error: closed' >&2; exit 1", AdbError, r"broke while trying \(error: closed\)"),
        ("echo \"adb: device 'S1' not found\" >&2; exit 1", NoDevice, "is not there any more"),
        ("echo 'error: device offline' >&2; exit 1", NoDevice, "is offline; plug it in again"),
        ("echo 'adb: device unauthorized.' >&2; exit 1", NoDevice, "unlock it and allow USB debugging"),
    ],
)
def test_an_answer_without_its_end_is_never_believed(
    tmp_path: Path, script: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        device(tmp_path, script).shell("echo whole; true", what="trying")


def test_a_device_that_says_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(AdbError, match=r"no answer for 0\.2 s while trying"):
        device(tmp_path, "exec sleep 5").shell("true", what="trying", timeout=0.2)


def test_the_serial_number_goes_with_every_command(tmp_path: Path) -> None:
    adb = device(tmp_path, f"echo \"$*\" >> '{tmp_path}/calls'; exit 1")
    for act in (
        lambda: adb.shell("true", what="trying"),
        lambda: adb.push(tmp_path, "/x", what="trying"),
        lambda: adb.pull("/x", tmp_path / "y", what="trying"),
    ):
        with pytest.raises(AdbError):
            act()
    with adb.talk("true") as process:
        process.wait(10)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [line.split()[:3] for line in calls if line.startswith("-s")] == [
        ["-s", "S1", word] for word in ("shell", "push", "pull", "shell")
    ]


def test_a_talk_ends_with_its_block(tmp_path: Path) -> None:
    adb = device(tmp_path, f"echo $$ > '{tmp_path}/pid'; echo begun; sleep 600")
    with adb.talk("true") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
