"""Scripts that are started with ``python -m``: their help and their answers to wrong words are those of the verbs."""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import typer

from msd_edge.cli.common import call_script

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    ".".join(("msd_edge", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__main__")
    for path in (ROOT / "benchmarks").rglob("*.py")
    if "common.run_script(main)" in path.read_text(encoding="utf-8")
)


def load(script: str) -> Callable[..., None]:
    name = f"{script}.__main__" if (ROOT / script.removeprefix("msd_edge.").replace(".", "/")).is_dir() else script
    main: Callable[..., None] = importlib.import_module(name).main
    return main


def test_there_are_scripts() -> None:
    assert {f"msd_edge.benchmarks.{name}" for name in ("kill_anywhere", "ratios", "study", "shift")} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_wrong_words_look_alike(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    main = load(script)
    assert call_script(main, ["--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Usage: python -m {script} [OPTIONS]")
    assert "\nOptions:\n  --" in said
    assert "│" not in said
    assert not re.search("<int|INTEGER|FLOAT|<path>|<list", said)
    assert call_script(main, ["--hlep"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert (
        err == f"--hlep: `python -m {script}` has no such option; did you mean --help? `python -m {script} --help` "
        "shows all.\n"
    )


def test_a_file_is_called_by_its_suffix_in_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call_script(load("msd_edge.benchmarks.study"), ["--help"]) == 0
    said = capsys.readouterr().out
    assert "[OPTIONS] FILE.toml\n" in said
    assert "\n  FILE.toml  " in said


STUDY = "`python -m msd_edge.benchmarks.study`"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("x.toml --limit 0", "--limit 0: give a whole number from 1 on."),
        ("x.toml --jobs many", "--jobs many: give a whole number from 1 to 256."),
        ("x.toml --precision fp8", "--precision fp8: give auto, fp32 or bf16."),
        ("x.toml y.toml", f"y.toml: {STUDY} does not take so many words; {STUDY[:-1]} --help` says which."),
        ("x.toml --out", f"--out: a value belongs after it; {STUDY[:-1]} --help` says which."),
        ("", f"{STUDY} needs FILE.toml; {STUDY[:-1]} --help` says what that is."),
        ("x.toml", "x.toml: there is no such file; a study is a TOML file (see docs/study.md)."),
    ],
)
def test_a_wrong_line_gets_one_sentence(
    words: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call_script(load("msd_edge.benchmarks.study"), words.split()) == 2
    assert capsys.readouterr() == ("", f"{sentence}\n")


def test_a_missing_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert call_script(load("msd_edge.benchmarks.evidence.collect"), ["a.json"]) == 2
    assert capsys.readouterr().err.startswith(
        "`python -m msd_edge.benchmarks.evidence.collect` needs --out FILE.json; "
    )


def test_in_a_process_of_its_own_it_has_the_same_name(tmp_path: Path) -> None:
    for script, words in (("study", ["x.toml", "--limit", "0"]), ("evidence.collect", [])):
        command = [sys.executable, "-m", f"msd_edge.benchmarks.{script}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert (
            "--limit 0: give" in done.stderr or f"`python -m msd_edge.benchmarks.{script}` needs RESULTS" in done.stderr
        )


def test_ctrl_c_and_codes_of_a_script_arrive(capsys: pytest.CaptureFixture[str]) -> None:
    def main(code: Annotated[int, typer.Option(help="To end with; negative: Ctrl-C.")] = 0) -> None:
        """End somehow."""
        if code < 0:
            raise KeyboardInterrupt
        raise typer.Exit(code)

    assert [call_script(main, ["--code", str(code)]) for code in (0, 1, 130)] == [0, 1, 130]
    assert capsys.readouterr() == ("", "")
    assert call_script(main, ["--code", "-1"]) == 130
    assert capsys.readouterr() == ("", "interrupted.\n")
