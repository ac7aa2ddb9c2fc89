"""A folder of its own for one try, and the process that command lines are forked from."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from msd_edge.benchmarks.devices.cpu import thread_variables
from msd_edge.benchmarks.kill_checks import take_stock
from msd_edge.benchmarks.kill_server import Request, describe
from msd_edge.errors import MsdEdgeError

_PATIENCE = 600.0


class Server:
    """The process that command lines are forked from."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-P", "-m", "msd_edge.benchmarks.kill_server"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **thread_variables(1), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )

    def learn(self, modules: list[str]) -> None:
        """Import modules, so that command lines find them there.

        Raises:
            MsdEdgeError: threads were started, after which nothing can be forked.
        """
        self._say(json.dumps({"import": modules}))
        threads = self._hear()["threads"]
        if threads != 1:
            raise MsdEdgeError(f"the libraries started {threads - 1} threads when imported; nothing can be forked.")

    def start(self, request: Request) -> int:
        """Start a command line and return its process."""
        self._say(describe(request))
        return self._hear()["process"]

    def wait(self, process: int) -> int:
        """Wait for a process to end and return its exit code, negative if a signal ended it."""
        self._say(json.dumps({"wait": process}))
        return self._hear()["code"]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise MsdEdgeError("the process that commands are forked from has ended.")
        answer: dict[str, int] = json.loads(line)
        return answer


@dataclass(frozen=True)
class Ended:
    """How a command line ended: exit code, what it said on standard error, its changes to files, seconds."""

    code: int
    said: str
    changes: str
    seconds: float


@dataclass
class Place:
    """A folder of its own for one try: ``home``, where commands run, and ``scratch`` for temporary files.

    Attributes:
        root: the folder.
        server: what command lines are forked from.
        logs: where their logs go, which a full disk must not cut off.
        before: what was in ``home`` at the beginning, with hashes.
    """

    root: Path
    server: Server
    logs: Path
    before: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """Where commands run."""
        return self.root / "home"

    @property
    def scratch(self) -> Path:
        """Where temporary files go."""
        return self.root / "scratch"

    def log(self, name: str) -> Path:
        """Return the beginning of the paths of a command line's logs."""
        return self.logs / f"{self.root.name}-{name}"

    def fill(self, start: Path) -> None:
        """Copy what commands start from."""
        self.scratch.mkdir(parents=True)
        shutil.copytree(start, self.home)
        self.before = take_stock(self.home)

    def start(self, arguments: tuple[str, ...], *, name: str = "log", kill_at: int = 0, largest: int = 0) -> int:
        """Start a command line and return its process."""
        log = str(self.log(name))
        return self.server.start(Request(arguments, str(self.home), str(self.scratch), log, kill_at, largest))

    def end(self, process: int, began: float, *, name: str = "log") -> Ended:
        """Wait for a command line."""
        code = self.server.wait(process)
        said, changes = (_read(Path(f"{self.log(name)}.{part}")) for part in ("err", "changes"))
        return Ended(code, said, changes, time.monotonic() - began)

    def run(self, arguments: tuple[str, ...], *, name: str = "log", kill_at: int = 0, largest: int = 0) -> Ended:
        """Run a command line to its end."""
        began = time.monotonic()
        return self.end(self.start(arguments, name=name, kill_at=kill_at, largest=largest), began, name=name)

    def halt(self, process: int) -> bool:
        """Halt a command once it holds what it writes to, however slow the machine is; False if it ended before."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            held = _finds_lock(self.home)
            if held:
                os.kill(process, signal.SIGSTOP)
            while (state := _read_state(process)) not in "TZ" and held:
                time.sleep(0.001)
            if state == "Z" or held:
                return state == "T" and _finds_lock(self.home)
            time.sleep(0.005)
        return False

    def set_writable(self, writable: bool) -> None:
        """Give or take away permission to write to ``home`` and all that is in it."""
        for path in _walk(self.home):
            with contextlib.suppress(FileNotFoundError):  # a temporary file that has gone meanwhile
                mode = path.stat().st_mode
                path.chmod(mode | 0o200 if writable else mode & ~0o222)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield a folder and everything below it; what goes meanwhile is no error."""
    yield folder
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent, name) for name in (*folders, *files))


def _finds_lock(folder: Path) -> bool:
    """Tell whether something in a folder is held: its holder has written down who it is."""
    for path in _walk(folder):
        with contextlib.suppress(FileNotFoundError):
            if path.name.endswith(".lock") and path.stat().st_size:
                return True
    return False


def _read_state(process: int) -> str:
    """Return the letter of a process's state: Z once it has ended, T while it is halted."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def _read(log: Path) -> str:
    """Return what is in a log; a process killed at once has none."""
    return log.read_text(errors="replace") if log.exists() else ""
