"""Runs command lines in forked processes, to be killed: ``python -m msd_edge.benchmarks.kill_server``.

What a command imports is imported here once it is known, so that a random moment falls into its work and not into its
imports. What runs in the child is the command line itself. Requests and answers are JSON, a line each; see ``main``.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import warnings
from dataclasses import asdict, dataclass
from typing import Any

_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "os.chmod")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Linux's numbers: read and write whatever the permissions say, and what goes with it.
_RIGHTS_OF_ROOT = (1, 2, 3)


@dataclass(frozen=True)
class Request:
    """A command line to run.

    Attributes:
        arguments: of ``msd-edge``.
        folder: where.
        scratch: for temporary files.
        log: its output goes to ``LOG.out`` and ``LOG.err``, the changes that it makes to files to ``LOG.changes``, the
            names of the modules it imported to ``LOG.modules``.
        kill_at: end as if killed with -9 just before that change to a file (1-based); 0: never.
        largest: bytes that no file may exceed; 0: any size.
    """

    arguments: tuple[str, ...]
    folder: str
    scratch: str
    log: str
    kill_at: int = 0
    largest: int = 0


def main() -> None:
    """Answer standard input.

    ``{"run": request}`` with a process's number, ``{"wait": number}`` with its exit code, ``{"import": names}`` with
    how many threads there are afterwards: with more than one nothing can be forked.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        if "run" in asked:
            process = os.fork()
            if process == 0:
                _live(Request(**asked["run"]))
            answer = {"process": process}
        elif "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            answer = {"threads": _import(asked["import"])}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _import(names: list[str]) -> int:
    """Import what can be imported, and return how many threads there are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            if name not in sys.modules and name != "__main__":
                with contextlib.suppress(Exception):  # some exist within others only
                    importlib.import_module(name)
    return len(os.listdir("/proc/self/task"))


def _live(request: Request) -> None:
    """Be the process of one command line, and end with it."""
    code = 99
    try:
        os.setsid()
        os.chdir(request.folder)
        for number, name in ((0, os.devnull), (1, f"{request.log}.out"), (2, f"{request.log}.err")):
            handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(handle, number)
            os.close(handle)
        changes = os.open(f"{request.log}.changes", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        os.environ["TMPDIR"] = tempfile.tempdir = request.scratch
        _lay_down_rights()
        if request.largest:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (request.largest, request.largest))
        from msd_edge.cli.app import run

        _watch(request, changes)
        code = run(list(request.arguments))
        sys.stdout.flush()
        sys.stderr.flush()
        if not request.largest:
            with open(f"{request.log}.modules", "w", encoding="utf-8") as file:
                file.write("\n".join(sys.modules))
    finally:
        os._exit(code)


def _watch(request: Request, changes: int) -> None:
    """Write down every change to a file in the command's folders before it is made, and end at the one asked for."""
    homes = (request.folder + os.sep, request.scratch + os.sep)
    made = 0

    def hook(event: str, found: tuple[Any, ...]) -> None:
        nonlocal made
        if event == "open":
            if not isinstance(found[2], int) or not found[2] & _WRITES:
                return
        elif event not in _CHANGES:
            return
        if not isinstance(found[0], (str, bytes, os.PathLike)):
            return
        path = os.fsdecode(found[0])
        bare = os.sep not in path and event in ("os.remove", "os.rmdir")  # inside a folder that is removed
        whole = path if bare else os.path.abspath(path)
        if not bare and not whole.startswith(homes):
            return
        made += 1
        with contextlib.suppress(OSError):
            os.write(changes, f"{event}\t{whole}\n".encode(errors="replace"))
        if made == request.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _lay_down_rights() -> None:
    """Give up root's right to pass over permissions, so that taking them away means something; others have none."""
    if os.getuid() != 0 or not sys.platform.startswith("linux"):
        return
    system = ctypes.CDLL(None, use_errno=True)
    for right in _RIGHTS_OF_ROOT:
        system.prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP: programs that are started do not get it back
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    if system.capget(header, sets) == 0:
        for right in _RIGHTS_OF_ROOT:
            for place in (0, 1, 2):  # effective, permitted, inheritable
                sets[place] &= ~(1 << right) & 0xFFFFFFFF
        system.capset(header, sets)


def describe(request: Request) -> str:
    """Return the line that asks for a command line."""
    return json.dumps({"run": asdict(request)})


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # whoever asked has gone
        main()
