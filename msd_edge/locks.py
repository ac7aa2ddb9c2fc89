"""One process at a time on an artefact, and temporary files that do not outlive a process that was killed.

A lock is a file held by ``flock``: the system lets go of it when its holder ends, however it ends, so that what is left
of the file never blocks anybody. It works between the processes of one machine. Where the system has no ``flock``
(Windows, some network drives) nothing is held.
"""

import contextlib
import errno
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from msd_edge.errors import ConfigError, MsdEdgeError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"

_LOCKS: bool = fcntl is not None

# Forked children share a lock with their parent: one that outlives it must not hold it.
_held: set[int] = set()


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. ``work``: what it does there, ``is training into this run``; ``since``: UTC."""

    pid: int
    host: str
    since: str
    work: str


@contextlib.contextmanager
def hold(path: Path, *, work: str, error: type[MsdEdgeError] = ConfigError) -> Iterator[None]:
    """Hold the artefact at ``path``, which need not be there yet, while the block runs.

    The lock is a file ``.NAME.lock`` beside it (inside a folder whose parent is closed to writing), gone afterwards.

    Args:
        path: the artefact; its parent is made, and gone afterwards if nothing came into it.
        work: what is done to it, told to whoever comes second: ``is exporting to this bundle``.
        error: the class of the error to raise.

    Raises:
        error: another process holds it.
    """
    real = path.resolve()
    missing = [folder for folder in real.parents if not folder.exists()]
    real.parent.mkdir(parents=True, exist_ok=True)
    beside = real.parent / f".{real.name}.lock"
    try:
        beside.open("a").close()
    except OSError as problem:
        if problem.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or not real.is_dir():
            raise
        beside = real / LOCK
    try:
        with hold_lock(beside, path, work=work, error=error):
            yield
    finally:
        with contextlib.suppress(OSError):  # something is in it now
            for folder in missing:
                folder.rmdir()


@contextlib.contextmanager
def hold_lock(lock: Path, path: Path, *, work: str, error: type[MsdEdgeError] = ConfigError) -> Iterator[None]:
    """Hold the file ``lock`` on behalf of the artefact at ``path``; see ``hold``."""
    file = _take(lock)
    if file is None:
        raise error(f"{path}: {_describe(lock)}; wait for it to end.")
    _held.add(file.fileno())
    owner = os.getpid()
    try:
        file.truncate(0)
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        file.write(json.dumps(asdict(Holder(os.getpid(), socket.gethostname(), since, work))))
        file.flush()
        yield
    finally:
        _held.discard(file.fileno())
        if os.getpid() == owner:
            with contextlib.suppress(OSError):  # the folder is gone, or closed to writing meanwhile
                lock.unlink()
        with contextlib.suppress(OSError):  # the disk is full: the file was to hold a few words
            file.close()


def check_free(lock: Path, path: Path, *, error: type[MsdEdgeError] = ConfigError) -> None:
    """Raise if a process holds ``lock``, before work that would come to nothing; nothing is held afterwards.

    Raises:
        error: another process holds it.
    """
    if not _LOCKS:
        return
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise error(f"{path}: {_describe(lock)}; wait for it to end.") from None
    except OSError:
        return  # there is no lock


@contextlib.contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Give an empty folder for temporary files, gone at the end.

    Folders of the same prefix that killed processes of this user left are cleared away first.
    """
    parent = Path(tempfile.gettempdir())
    for lock in parent.glob(f"{prefix}*.lock"):
        _clear_scratch(lock)
    file, lock = open_locked(parent, prefix, ".lock")
    folder = lock.with_suffix("")
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        file.close()


def open_locked(parent: Path, prefix: str, suffix: str = "") -> tuple[IO[bytes], Path]:
    """Make a temporary file of a new name, held until it is closed: ``clear_unheld`` leaves it alone so long."""
    while True:
        handle, name = tempfile.mkstemp(dir=parent, prefix=prefix, suffix=suffix)
        file = os.fdopen(handle, "wb")
        if not _LOCKS:
            return file, Path(name)
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Between the two steps somebody may have taken it for a killed process's, and removed it.
        if _is_at(handle, Path(name)):
            return file, Path(name)
        file.close()


def clear_unheld(path: Path) -> bool:
    """Remove a temporary file that no process holds any more, and return whether it was removed.

    Where the system has no ``flock`` it stays.
    """
    if not _LOCKS:
        return False
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def locks_work() -> bool:
    """Return whether this system holds locks at all."""
    return _LOCKS


def _take(lock: Path) -> IO[str] | None:
    """Open and lock a file; None if another process holds it."""
    while True:
        file = lock.open("a+", encoding="utf-8")
        if not _LOCKS:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError:  # a network drive without locks
            return file
        if _is_at(file.fileno(), lock):
            return file
        file.close()  # its last holder removed it between the two steps


def _describe(lock: Path) -> str:
    try:
        holder = Holder(**json.loads(lock.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return "another process is writing here"
    return f"process {holder.pid} on {holder.host} {holder.work} since {holder.since}"


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _clear_scratch(lock: Path) -> None:
    folder = lock.with_suffix("")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # gone meanwhile, or another user's
        return
    try:
        if not _LOCKS or os.fstat(handle).st_uid != os.getuid():
            return
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink()
    except OSError:
        return
    finally:
        os.close(handle)


def _let_go() -> None:
    if not _held:
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    for handle in _held:
        os.dup2(nothing, handle, inheritable=False)
    os.close(nothing)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
