"""Files written whole or not at all, folders replaced only when they are ours, JSON without surprises."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msd_edge.errors import BundleError, ConfigError
from msd_edge.files import clear_partial, new_folder, parse_json, read_json, refuse_existing, write_bytes, write_json

MARKER = "manifest.json"


def fill(folder: Path, text: str = "new") -> None:
    (folder / MARKER).write_text(text)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    final = tmp_path / "a" / "bundle é"
    with new_folder(final, overwrite=False, marker=MARKER) as work:
        fill(work)
        assert not final.exists()
    assert (final / MARKER).read_text() == "new"
    assert names(final.parent) == {final.name}


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing_and_keeps_the_old(tmp_path: Path, kind: type[BaseException]) -> None:
    final = tmp_path / "bundle"
    with new_folder(final, overwrite=False, marker=MARKER) as work:
        fill(work, "old")
    with pytest.raises(kind), new_folder(final, overwrite=True, marker=MARKER) as work:
        fill(work)
        raise kind
    assert (final / MARKER).read_text() == "old"
    assert names(tmp_path) == {"bundle"}


def test_only_a_folder_of_the_same_kind_is_replaced(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("years of work")
    file = tmp_path / "file"
    file.write_text("mine")
    for path in (thesis, file):
        with (
            pytest.raises(ConfigError, match=r"holds no manifest\.json, so --overwrite does not replace it"),
            new_folder(path, overwrite=True, marker=MARKER),
        ):
            pass
    assert (thesis / "chapter.tex").read_text() == "years of work"
    assert names(tmp_path) == {"thesis", "file"}
    empty = tmp_path / "empty"
    empty.mkdir()
    with new_folder(empty, overwrite=True, marker=MARKER) as work:
        fill(work)
    assert names(empty) == {MARKER}


def test_what_is_there_is_refused_without_overwrite(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(ConfigError, match="is there already; --overwrite replaces it"):
        refuse_existing(tmp_path / "x", overwrite=False)
    refuse_existing(tmp_path / "y", overwrite=False)


def dead_process() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_remains_of_killed_processes_are_cleared_and_nothing_else(tmp_path: Path) -> None:
    dead = tmp_path / f".bundle.partial-{dead_process()}-abc"
    reused = tmp_path / f".bundle.partial-{os.getpid()}-abc"  # its number is another process's by now
    other = tmp_path / f".other.partial-{dead_process()}-abc"
    longer = tmp_path / f".bundle.partial-1-b.partial-{dead_process()}-abc"  # of a bundle named `bundle.partial-1-b`
    for path in (dead, reused, other, longer):
        path.mkdir()
    with new_folder(tmp_path / "bundle", overwrite=False, marker=MARKER) as work:
        fill(work)
    assert names(tmp_path) == {"bundle", other.name, longer.name}


def test_a_folder_in_the_making_is_nobody_elses(tmp_path: Path) -> None:
    final = tmp_path / "bundle"
    with new_folder(final, overwrite=False, marker=MARKER, work="is exporting to this bundle") as work:
        fill(work)
        with (
            pytest.raises(BundleError, match=rf"bundle: process {os.getpid()} on .* is exporting to this bundle since"),
            new_folder(final, overwrite=True, marker=MARKER, error=BundleError),
        ):
            pass
    assert names(tmp_path) == {"bundle"}
    assert names(final) == {MARKER}


@pytest.mark.parametrize("exchange", [True, False])
def test_an_old_folder_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr("msd_edge.files._exchange", lambda _one, _other: False)
    final = tmp_path / "bundle"
    for text in ("old", "new"):
        with new_folder(final, overwrite=True, marker=MARKER) as work:
            fill(work, text)
    assert (final / MARKER).read_text() == "new"
    assert names(tmp_path) == {"bundle"}


def test_killed_between_the_two_renames_the_old_folder_comes_back(tmp_path: Path) -> None:
    aside = tmp_path / f".bundle.old-{dead_process()}-abc" / "old"
    aside.mkdir(parents=True)
    fill(aside, "old")
    with (
        pytest.raises(ConfigError, match="is there already"),
        new_folder(tmp_path / "bundle", overwrite=False, marker=MARKER),
    ):
        pass
    assert (tmp_path / "bundle" / MARKER).read_text() == "old"
    assert names(tmp_path) == {"bundle"}


def test_a_file_is_replaced_whole_and_half_written_ones_are_cleared(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    (tmp_path / ".state.partial-zzz").write_bytes(b"ne")
    clear_partial(tmp_path)
    assert names(tmp_path) == {"state"}
    assert path.read_bytes() == b"new"


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "page [1].html"
    (tmp_path / f".{path.name}.partial-zzz").write_bytes(b"ha")
    (tmp_path / ".page 1.html.partial-zzz").write_bytes(b"another's")
    write_bytes(path, b"whole")
    assert names(tmp_path) == {path.name, ".page 1.html.partial-zzz"}


def test_a_full_disk_is_told_with_the_file_that_was_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    write_bytes(path, b"old")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            write_bytes(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"state"}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_json_comes_back_as_it_was_written(value: object) -> None:
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "a": 2}', "'a' stands there twice"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ("[" * 200_000, "nests too deeply|Expecting"),
        ("{", "no valid JSON"),
        ("\x00", "no valid JSON"),
    ],
)
def test_json_that_lies_is_refused_in_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(BundleError, match=says):
        read_json(path, what="manifest", error=BundleError)


def test_a_file_too_large_or_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": "é"})
    with pytest.raises(BundleError, match="more than the 3 that can be real"):
        read_json(path, what="manifest", error=BundleError, limit=3)
    with pytest.raises(BundleError, match="there is no such manifest"):
        read_json(tmp_path / "b.json", what="manifest", error=BundleError)
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert read_json(path, what="manifest", error=BundleError) == {"a": "é"}
