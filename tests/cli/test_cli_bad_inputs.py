"""Wrong command lines: ``bad_inputs.txt`` row by row, and every option of every verb without its value and misspelt."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from support.bad_place import make_place

from msd_edge.cli import app as app_module

TABLE = Path(__file__).with_name("bad_inputs.txt")
ROWS = [
    tuple(line.split(" | ", 2))
    for line in TABLE.read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.startswith("#")
]
COMMAND: Any = typer.main.get_command(app_module.app)
OPTIONS = [
    (verb, option, hasattr(parameter, "is_flag") and parameter.is_flag)
    for verb, command in sorted(COMMAND.commands.items())
    for parameter in command.params
    for option in parameter.opts
    if option.startswith("--")
]
VALUES = [(verb, option) for verb, option, flag in OPTIONS if not flag]
FLAGS_TOO = [(verb, option) for verb, option, _ in OPTIONS]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    return make_place(tmp_path_factory.mktemp("place"), tiny_bundle)


@pytest.fixture
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in the folder, with the app built once, no adb and no ssh; afterwards nothing must have been written."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("PATH", str(place / "empty"))
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    monkeypatch.setattr(app_module, "app", COMMAND)
    before = look(place)
    yield place
    assert look(place) == before, "something was written"


def look(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(root, name))
            found[os.path.join(root, name)] = (status.st_mtime_ns, status.st_size)
    return found


def fits(sentence: str, expected: str, here: Path) -> bool:
    parts = expected.replace("{here}", str(here)).split("…")
    return re.fullmatch(".+".join(re.escape(part) for part in parts), sentence) is not None


def check(arguments: list[str], code: int, expected: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert app_module.run(arguments) == code
    errors = capfd.readouterr().err
    assert errors.startswith("msd-edge: "), errors
    assert errors.count("\n") == 1, errors
    sentence = errors.removeprefix("msd-edge: ").rstrip("\n")
    assert fits(sentence, expected, here), f"\nsaid     {sentence}\nexpected {expected}"


def test_the_table_has_at_least_300_rows_and_each_once() -> None:
    assert len({words for _, words, _ in ROWS}) == len(ROWS) >= 300


@pytest.mark.parametrize(("code", "words", "expected"), ROWS, ids=[words for _, words, _ in ROWS])
def test_a_wrong_line_gets_its_sentence(
    code: str, words: str, expected: str, inside: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check(shlex.split(words), int(code), expected, inside, capfd)


@pytest.mark.parametrize(("verb", "option"), VALUES)
def test_an_option_without_its_value(verb: str, option: str, inside: Path, capfd: pytest.CaptureFixture[str]) -> None:
    expected = f"{option}: a value belongs after it; `msd-edge {verb} --help` says which."
    check([verb, option], 2, expected, inside, capfd)


@pytest.mark.parametrize(("verb", "option"), FLAGS_TOO)
def test_a_misspelt_option_is_met_with_the_right_one(
    verb: str, option: str, inside: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check([verb, f"{option}s"], 2, f"{option}s: `msd-edge {verb}` has no such option…{option}…", inside, capfd)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("trian", 2),
        ("train --epochs three", 2),
        ("train --resume --arch resnet8", 2),
        ("train --config list.json", 2),
        ("plan gone", 2),
        ("eval bundles/broken", 2),
        ("export bundles/tiny", 2),
        ("calibrate bundles/tiny --rule entrpy", 2),
        ("predict bundles/tiny gone.png", 2),
        ("bench bundles/tiny --device pixel", 3),
        ("report results/broken.json", 2),
        ("deploy bundles/tiny --device cpu", 2),
    ],
)
def test_the_same_in_a_process_of_its_own(words: str, code: int, place: Path) -> None:
    before = look(place)
    done = subprocess.run(
        [sys.executable, "-m", "msd_edge", *shlex.split(words)],
        capture_output=True,
        text=True,
        cwd=place,
        env={**os.environ, "PATH": str(place / "empty")},
        check=False,
    )
    expected = next((sentence for _, line, sentence in ROWS if line == words), "")
    assert done.returncode == code
    assert fits(done.stderr.removeprefix("msd-edge: ").rstrip("\n"), expected, place), done.stderr
    assert look(place) == before
