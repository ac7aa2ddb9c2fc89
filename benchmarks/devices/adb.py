"""The Android debug bridge: one command at a time, always for one serial number, nothing believed without its end.

``adb`` returns 0 with half an answer when the device goes away in the middle of it. So every answer has to end with a
word that was made up for it.
"""

import contextlib
import os
import secrets
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from msd_edge.errors import AdbError, NoDevice

SHORT = 30.0
LONG = 600.0

_WHERE = ("ANDROID_HOME", "ANDROID_SDK_ROOT")
# What adb says when the connection broke under a command.
_BREAKS = ("closed", "connect", "EOF", "reset", "failed to read copy", "couldn't read", "protocol fault", "offline")
_TROUBLE = ("adb: ", "error: ")
_AUTHORIZE = "unlock it and allow USB debugging for this computer"


@dataclass(frozen=True)
class ShellAnswer:
    """What a command on the device said: its exit code, standard output and error, as text."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """The last line it said, error first: what to quote in a message."""
        lines = [line.strip() for line in f"{self.out}\n{self.err}".splitlines() if line.strip()]
        return lines[-1][:300].rstrip(".") if lines else f"exit code {self.code}"


def find_adb() -> str:
    """Return the path of the ``adb`` program: on PATH, else in the Android SDK.

    Raises:
        AdbError: it is not there; how to get it is said.
    """
    found = shutil.which("adb")
    if found is not None:
        return found
    for name in _WHERE:
        candidate = Path(os.environ.get(name, "")) / "platform-tools" / "adb"
        if os.environ.get(name) and candidate.is_file():
            return str(candidate)
    raise AdbError(
        "adb is not installed: install Android's platform-tools (Debian and Ubuntu: apt-get install adb) "
        "and put adb on the PATH."
    )


def list_devices(adb: str) -> str:
    """Return what ``adb devices -l`` prints; it starts adb's server where none runs.

    Raises:
        AdbError: adb fails or does not answer.
    """
    try:
        done = subprocess.run((adb, "devices", "-l"), capture_output=True, timeout=SHORT, check=False)
    except subprocess.TimeoutExpired:
        raise AdbError(f"`adb devices` gave no answer for {SHORT:g} s; run `adb kill-server` and try again.") from None
    except OSError as problem:
        raise AdbError(f"{adb}: cannot run this program: {problem.strerror}.") from None
    if done.returncode:
        raise AdbError(f"`adb devices` failed: {_tail(done.stderr) or _tail(done.stdout)}; run `adb kill-server`.")
    return done.stdout.decode(errors="replace")


@dataclass(frozen=True)
class AdbDevice:
    """A device behind ``adb -s SERIAL``.

    Attributes:
        adb: the program.
        serial: the device's serial number.
    """

    adb: str
    serial: str

    def shell(self, command: Sequence[str] | str, *, what: str, timeout: float = SHORT) -> ShellAnswer:
        """Run a command on the device and wait for its end.

        Args:
            command: words, or a line of shell.
            what: what is being done, for the message ("reading the battery").
            timeout: seconds.

        Raises:
            AdbError: the device went away, or gave no answer in time.
            NoDevice: it is not there, or does not allow this computer.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        word = secrets.token_hex(8)
        # A new line first: the output may end without one. The subshell keeps `exit` and redirections to itself.
        done = self.call(("shell", f"( {line}\n); code=$?; echo; echo {word} $code"), what=what, timeout=timeout)
        out, found, code = done.stdout.decode(errors="replace").replace("\r\n", "\n").rpartition(f"\n{word} ")
        if not found or not code.strip().isdigit():
            raise self.lost(what, _tail(done.stderr))
        return ShellAnswer(int(code), out, done.stderr.decode(errors="replace"))

    def must(self, command: Sequence[str] | str, *, what: str, timeout: float = SHORT) -> str:
        """Run a command that has to succeed, return its standard output.

        Raises:
            AdbError: it failed, or as ``shell``.
            NoDevice: as ``shell``.
        """
        answer = self.shell(command, what=what, timeout=timeout)
        if answer.code:
            raise explain_failure(self.serial, what, answer.words)
        return answer.out

    def push(self, source: Path, target: str, *, what: str) -> None:
        """Copy a file to the device; the caller compares hashes.

        Raises:
            AdbError: it could not be copied.
            NoDevice: the device is not there.
        """
        done = self.call(("push", str(source), target), what=what, timeout=LONG)
        if done.returncode:
            raise self.lost_or_failed(what, done)

    def pull(self, source: str, target: Path, *, what: str) -> None:
        """Copy a file from the device; the caller compares hashes.

        Raises:
            AdbError: it could not be copied.
            NoDevice: the device is not there.
        """
        done = self.call(("pull", source, str(target)), what=what, timeout=LONG)
        if done.returncode or not target.is_file():
            raise self.lost_or_failed(what, done)

    def call(self, words: Sequence[str], *, what: str, timeout: float) -> "subprocess.CompletedProcess[bytes]":
        """Run ``adb -s SERIAL …`` to its end.

        Raises:
            AdbError: no answer in time, or the program cannot run.
            NoDevice: the device is not there, offline, or does not allow this computer.
        """
        command = (self.adb, "-s", self.serial, *words)
        try:
            done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise AdbError(
                f"{self.serial}: no answer for {timeout:g} s while {what}; check the cable, unlock the device, and run "
                "it again."
            ) from None
        except OSError as problem:
            raise AdbError(f"{self.adb}: cannot run this program: {problem.strerror}.") from None
        if done.returncode:
            # Of a shell's standard output every line is the device's; other commands put their errors there as well.
            self._check_there(done.stderr if words[0] in ("shell", "exec-out") else done.stderr + done.stdout)
        return done

    @contextlib.contextmanager
    def talk(self, line: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a line of shell on the device and give the process whose standard output is what it says, as it says it.

        It is stopped when the block ends. It is not in the terminal's process group: Ctrl-C is ours to handle.
        """
        process = subprocess.Popen(
            (self.adb, "-s", self.serial, "shell", line),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def lost(self, what: str, said: str = "") -> AdbError:
        """Return the error of a device that went away in the middle of something."""
        return AdbError(
            f"{self.serial}: the connection broke while {what}{f' ({said})' if said else ''}; check the cable, keep "
            "the device awake, and run it again."
        )

    def lost_or_failed(self, what: str, done: "subprocess.CompletedProcess[bytes]") -> AdbError:
        """Return the error of an adb command that failed, with what it said."""
        # A transfer ends with its summary ("1 file pushed"), which may come before or after what went wrong.
        said = (done.stderr, done.stdout)
        words = next(filter(None, (*(_tail(each, _TROUBLE) for each in said), *map(_tail, said))), "")
        if not words or any(sign in words for sign in _BREAKS):
            return self.lost(what, words)
        return explain_failure(self.serial, what, words)

    def _check_there(self, noise: bytes) -> None:
        lines = noise.decode(errors="replace").splitlines()
        text = "\n".join(line for line in lines if line.startswith(_TROUBLE))
        if "unauthorized" in text or "still authorizing" in text:
            raise NoDevice(f"{self.serial}: the device does not allow this computer yet; {_AUTHORIZE}.")
        if "device offline" in text:
            raise NoDevice(f"{self.serial}: the device is offline; plug it in again, or restart it.")
        if f"device '{self.serial}' not found" in text or "no devices" in text:
            raise NoDevice(f"{self.serial}: the device is not there any more; check the cable, and run it again.")


def explain_failure(serial: str, what: str, words: str) -> AdbError:
    """Return the error of something that failed on the device, with what to do where the cause is known."""
    advice = ""
    if "No space left" in words or "INSUFFICIENT_STORAGE" in words:
        advice = "; free some space on the device"
    elif "not executable" in words or "Exec format error" in words:
        advice = "; the program is for another processor: take the one for the device's ABI"
    elif "Permission denied" in words:
        advice = "; the device does not allow it"
    return AdbError(f"{serial}: {what} failed: {words.rstrip('.')}{advice}.")


def _tail(noise: bytes, starts: str | tuple[str, ...] = "") -> str:
    lines = [line.strip() for line in noise.decode(errors="replace").splitlines()]
    said = [line for line in lines if line and line.startswith(starts)]
    return said[-1][:300].rstrip(".") if said else ""
