"""The harness that kills every command: what it would find is found, and a few moments of each command go well."""

import json
import shutil
from pathlib import Path

import pytest

from msd_edge.benchmarks import kill_anywhere
from msd_edge.benchmarks.kill_cases import CASES, COMMANDS
from msd_edge.benchmarks.kill_checks import (
    check_bundle,
    check_in_place,
    check_refusal,
    check_results,
    check_run,
    check_text,
    describe_remains,
    part_of,
    take_stock,
)
from msd_edge.benchmarks.kill_place import Place, Server
from msd_edge.cli import common

KEPT = Path(__file__).parents[1] / "fixtures" / "versions" / "1"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (1, "Traceback (most recent call last):\n  File …\nOSError: full\n"),
        (1, "msd-edge: unexpected KeyError: 'x' (--verbose shows where).\n"),
        (1, "msd-edge: runs/x: no space left.\nmsd-edge: and more.\n"),
        (1, "msd-edge: runs/x: no space left\n"),
        (1, ""),
        (-11, "msd-edge: runs/x: no space left.\n"),
        (0, "msd-edge: runs/x: no space left.\n"),
    ],
)
def test_what_is_no_refusal_in_one_sentence_is_found(code: int, said: str) -> None:
    assert check_refusal(code, said)


def test_notes_do_not_count() -> None:
    assert not check_refusal(2, "msd-edge: note: slow.\nmsd-edge: runs/x is there already; --overwrite replaces it.\n")


def test_a_file_written_under_its_own_name_is_found(tmp_path: Path) -> None:
    changes = [
        f"open\t{tmp_path}/bundles/.x.partial-1-a/manifest.json",
        f"open\t{tmp_path}/results/.x.json.partial-a",
        f"os.rename\t{tmp_path}/results/.x.json.partial-a",
        "open\t/elsewhere/x.json",
    ]
    assert not check_in_place("\n".join(changes), tmp_path)
    assert check_in_place("\n".join([*changes, f"open\t{tmp_path}/results/x.json"]), tmp_path)


def cut(path: Path, keep: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])


def test_halves_of_artefacts_are_found(tmp_path: Path) -> None:
    kept = Path(shutil.copytree(KEPT, tmp_path / "kept"))
    page = tmp_path / "page.html"
    page.write_text("<html></html>\n")

    def look() -> list[bool]:
        found = check_run(kept / "run"), check_bundle(kept / "bundle"), check_results(kept / "results.json")
        return [bool(wrong) for wrong in (*found, check_text(page))]

    assert look() == [False] * 4
    for name in ("run/metrics.jsonl", "run/model.safetensors", "run/state.safetensors", "run/run.json"):
        cut(kept / name, 0.9)
        assert look() == [True, False, False, False], name
        shutil.copy(KEPT / name, kept / name)
    (kept / "run/state.safetensors").unlink()
    assert not check_run(kept / "run")
    for name in ("golden/images.u8", "onnx-float32/exit-2.onnx", "manifest.json"):
        cut(kept / "bundle" / name)
        assert look() == [False, True, False, False], name
        shutil.copy(KEPT / "bundle" / name, kept / "bundle" / name)
    raw = json.loads((kept / "results.raw.json").read_text())
    (kept / "results.raw.json").write_text(json.dumps(raw | {"created": "another time"}))
    cut(page)
    assert look() == [False, False, True, True]


def test_remains_of_one_process_and_of_another_are_alike(tmp_path: Path) -> None:
    for number, left in enumerate(("home/.x.partial-12-abc/a", "home/.x.partial-345-d_f/a")):
        path = tmp_path / str(number) / left
        path.parent.mkdir(parents=True)
        path.write_text("same")
        (tmp_path / str(number) / "home/.x.lock").write_text(f"process {number}")
        (tmp_path / str(number) / "scratch").mkdir()
    one, other = (describe_remains(["x"], tmp_path / n / "home", tmp_path / n / "scratch") for n in "01")
    assert one == other
    (tmp_path / "1/home/.x.partial-345-d_f/a").write_text("other")
    assert describe_remains(["x"], tmp_path / "1/home", tmp_path / "1/scratch") != one
    stock = take_stock(tmp_path / "0")
    assert set(part_of(stock, "home/.x.lock", "scratch")) == {"home/.x.lock", "scratch"}


def test_a_command_line_runs_and_refuses_in_a_process_of_its_own(tmp_path: Path) -> None:
    server = Server()
    try:
        place = Place(tmp_path / "try", server, tmp_path)
        place.fill(KEPT)
        ended = place.run(("report", "nothing.json", "--out", "page.html"))
        assert ended.code == 2
        assert not check_refusal(ended.code, ended.said)
        assert not ended.changes
        killed = place.run(("report", "results.json", "--bundle", "bundle", "--out", "page.html"), kill_at=1)
        assert killed.code == -9
        assert not (place.home / "page.html").exists()
        assert take_stock(place.home) == place.before
        process = place.start(("report", "nothing.json"), name="halted")
        assert not place.halt(process)  # it ends before it holds anything
        assert place.end(process, 0, name="halted").code == 2
    finally:
        server.close()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_few_moments_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert common.call_script(kill_anywhere.main, ["--moments", "2", "--faults", "1"]) == 0, capsys.readouterr()
    said = capsys.readouterr().out
    assert "FAULT" not in said
    for command in COMMANDS:
        assert any(line.startswith(f"{command} ") and line.endswith(" 0") for line in said.splitlines()), command
        if command != "report":
            cases = sum(case.command == command for case in CASES)
            assert f"{command} twice at once: {cases} of {cases} told" in said


def test_options_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert common.call_script(kill_anywhere.main, ["--command", "trian"]) == 2
    assert "did you mean train?" in capsys.readouterr().err
    assert common.call_script(kill_anywhere.main, ["--variant", "tflite-int9"]) == 2
    assert "did you mean tflite-int8?" in capsys.readouterr().err
