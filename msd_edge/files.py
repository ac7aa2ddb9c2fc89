"""Files written whole or not at all, and JSON read without surprises."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from msd_edge.errors import ConfigError, MsdEdgeError


def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
    """Write ``data`` beside ``path``, flush it to the disk, then rename: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.partial-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_UMASK)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    _sync_dir(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON (no NaN, no infinity), whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def parse_json(text: str | bytes) -> Any:
    """Parse strict JSON.

    Raises:
        ValueError: the text is no JSON, repeats a key, nests too deeply, or holds NaN or infinity.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


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
def new_folder(final: Path, *, overwrite: bool, marker: str) -> Iterator[Path]:
    """Give a folder to fill that becomes ``final`` when the block ends well, and vanishes when it does not.

    An existing ``final`` is replaced only with ``overwrite``, only if it is of the same kind, and only once the new one
    is complete. What a process that was killed left behind is cleared away first.

    Args:
        final: where the folder is to be.
        overwrite: replace what is there.
        marker: the file that every folder of this kind holds (``manifest.json``).

    Raises:
        ConfigError: ``final`` exists and may not be replaced.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    _recover(final)
    refuse_existing(final, overwrite=overwrite, marker=marker)
    work = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}.partial-{os.getpid()}-"))
    try:
        yield work
        os.chmod(work, 0o777 & ~_UMASK)
        _sync_tree(work)
        refuse_existing(final, overwrite=overwrite, marker=marker)
        _swap(work, final)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
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
    for path in final.parent.glob(f".{glob.escape(final.name)}.*-*-*"):
        kind, _, rest = path.name.removeprefix(f".{final.name}.").partition("-")
        owner = rest.partition("-")[0]
        if kind not in ("partial", "old") or not owner.isdigit() or _alive(int(owner)):
            continue
        if kind == "old" and not final.exists() and (path / "old").exists():
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


def _swap(work: Path, final: Path) -> None:
    if not final.exists():
        os.rename(work, final)
        return
    aside = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}.old-{os.getpid()}-"))
    os.rename(final, aside / "old")
    try:
        os.rename(work, final)
    except BaseException:
        os.rename(aside / "old", final)
        os.rmdir(aside)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


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


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
