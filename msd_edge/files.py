"""Files written whole or not at all, and JSON read without surprises."""

import contextlib
import ctypes
import glob
import hashlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from msd_edge.errors import ConfigError, MsdEdgeError
from msd_edge.locks import clear_unheld, hold, locks_work, open_locked


def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# Digits of a whole number in JSON; what counts bytes or operations has twenty.
_DIGITS = 400

# Read once, while nothing else runs: it can only be read by setting it.
_UMASK = _read_umask()


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` beside ``path``, flush it to the disk, then rename: readers see the old file or the new one.

    What killed processes left of the same file is cleared away first.

    Raises:
        OSError: it cannot be written; ``filename`` says where, and what was there is as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for rest in path.parent.glob(f".{glob.escape(path.name)}.partial-*"):
            clear_unheld(rest)
        file, beside = open_locked(path.parent, f".{path.name}.partial-")
        try:
            with file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(beside, 0o666 & ~_UMASK)
                os.replace(beside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
        _sync_dir(path.parent)
    except OSError as problem:
        problem.filename, problem.filename2 = str(path), None
        raise


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON (no NaN, no infinity), whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def parse_json(text: str | bytes) -> Any:
    """Parse strict JSON.

    Raises:
        ValueError: the text is no JSON, repeats a key, nests too deeply, or holds NaN, infinity or a number
            that is too large.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole
        )
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is no text") from None


def read_json(path: Path, *, what: str, error: type[MsdEdgeError], limit: int = 64 << 20) -> Any:
    """Read strict JSON from ``path``.

    Args:
        path: the file.
        what: what the file is, for the message ("manifest").
        error: the class of the error to raise.
        limit: the largest size read, bytes.

    Raises:
        error: the file is missing, unreadable, too large, or no strict JSON.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise error(f"{path}: this {what} has {size:,} bytes, more than the {limit:,} that can be real.")
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        raise error(f"{path}: there is no such {what}.") from None
    except OSError as problem:
        raise error(f"{path}: cannot read this {what}: {problem.strerror}.") from None
    except ValueError as problem:
        raise error(f"{path}: this {what} is no valid JSON: {problem}.") from None


@contextlib.contextmanager
def new_folder(
    final: Path,
    *,
    overwrite: bool,
    marker: str,
    work: str = "is writing this folder",
    error: type[MsdEdgeError] = ConfigError,
) -> Iterator[Path]:
    """Give a folder to fill that becomes ``final`` when the block ends well, and vanishes when it does not.

    An existing ``final`` is replaced only with ``overwrite``, only if it is of the same kind, and only once the new one
    is complete. ``final`` is held meanwhile (see ``locks.hold``), and what a process that was killed left behind is
    cleared away first.

    Args:
        final: where the folder is to be.
        overwrite: replace what is there.
        marker: the file that every folder of this kind holds (``manifest.json``).
        work: what is done, told to a second process that wants to write there.
        error: what that process is told it with.

    Raises:
        ConfigError: ``final`` exists and may not be replaced.
        error: another process holds it.
    """
    with hold(final, work=work, error=error):
        _recover(final)
        refuse_existing(final, overwrite=overwrite, marker=marker)
        inside = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}.partial-{os.getpid()}-"))
        try:
            yield inside
            os.chmod(inside, 0o777 & ~_UMASK)
            _sync_tree(inside)
            refuse_existing(final, overwrite=overwrite, marker=marker)
            _swap(inside, final)
        except BaseException:
            shutil.rmtree(inside, ignore_errors=True)
            raise
        _sync_dir(final.parent)


def refuse_existing(path: Path, *, overwrite: bool, marker: str | None = None) -> None:
    """Raise when ``path`` exists and may not be replaced.

    Args:
        path: what would be replaced.
        overwrite: whether the user allowed it.
        marker: for folders, the file that says that it is ours to replace; an empty folder may go too.

    Raises:
        ConfigError: ``path`` exists and ``overwrite`` is not set, or it is something else.
    """
    if not path.exists():
        return
    if not overwrite:
        raise ConfigError(f"{path} is there already; --overwrite replaces it.")
    if marker is not None and not (path / marker).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise ConfigError(f"{path} holds no {marker}, so --overwrite does not replace it; name another --out.")


def clear_partial(folder: Path) -> None:
    """Remove half-written files that a killed process left in a folder which this process alone writes to."""
    for path in folder.glob(".*.partial-*"):
        if path.is_file():
            path.unlink(missing_ok=True)


def _recover(final: Path) -> None:
    """Clear away what killed processes left; whoever calls this holds ``final``, so that no living one works there."""
    name = re.compile(rf"\.{re.escape(final.name)}\.(partial|old)-(\d+)-[^.]+")
    for path in final.parent.glob(f".{glob.escape(final.name)}.*-*-*"):
        match = name.fullmatch(path.name)
        if match is None or not (locks_work() or not _alive(int(match[2]))):
            continue
        if match[1] == "old" and not final.exists() and (path / "old").exists():
            os.rename(path / "old", final)  # killed between the two renames of a swap
        shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _swap(new: Path, final: Path) -> None:
    """Put ``new`` where ``final`` is, in one step where the system has one; what was there is removed afterwards."""
    if not final.exists():
        os.rename(new, final)
        return
    if _exchange(new, final):
        shutil.rmtree(new, ignore_errors=True)
        return
    aside = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}.old-{os.getpid()}-"))
    os.rename(final, aside / "old")
    try:
        os.rename(new, final)
    except BaseException:
        os.rename(aside / "old", final)
        os.rmdir(aside)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where the system or the disk cannot, and nothing has changed."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # an old C library
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(call(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def _sync_tree(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            _sync_dir(path)


def _sync_dir(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} stands there twice")
    return result


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):  # 1e999
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"{text[:20]}… has {len(text):,} digits, more than any number here")
    return int(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
