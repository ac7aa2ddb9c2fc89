"""Suggested commands as a shell reads them."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msd_edge.commands import suggest_command


def test_plain_words_stay_as_they_are() -> None:
    told = suggest_command("bench", Path("bundles/resnet20-cifar10"), "--device", "ssh:pi@board.local", "--keep", "1,3")
    assert told == "msd-edge bench bundles/resnet20-cifar10 --device ssh:pi@board.local --keep 1,3"


@pytest.mark.parametrize("name", ["a b", "it's", "$HOME", "a;b", "*", "läufe/zwei ü", "~/x", '"'])
def test_a_shell_reads_the_path_that_was_meant(name: str) -> None:
    assert shlex.split(suggest_command("eval", Path(name))) == ["msd-edge", "eval", name]


def test_a_path_is_no_option() -> None:
    assert suggest_command("train", "--resume", Path("-x y")) == "msd-edge train --resume './-x y'"


def test_what_is_there_already_is_replaced(tmp_path: Path) -> None:
    page, folder = tmp_path / "report.html", tmp_path / "bundle"
    assert suggest_command("report", writes=[page, folder]) == "msd-edge report"
    folder.mkdir()
    assert suggest_command("report", "--bundle", Path("a b"), writes=[page, folder]) == (
        "msd-edge report --bundle 'a b' --overwrite"
    )


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_every_word_comes_back(words: list[str]) -> None:
    assert shlex.split(suggest_command("eval", *words)) == ["msd-edge", "eval", *words]
