"""``msd-edge train`` and ``eval`` as a user runs them, on small real files."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from msd_edge.cli.app import run

SMALL = ["--arch", "resnet8", "--width", "4", "--batch-size", "16"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 60, (84, 8, 8, 1), dtype=np.uint8)
    y = np.arange(84) % 2
    x[y == 0, ::2] += 150
    x[y == 1, :, ::2] += 150
    where = tmp_path / "temp evil é 模型"
    where.mkdir()
    np.savez(where / "s.npz", x_train=x[:64], y_train=y[:64], x_test=x[64:], y_test=y[64:])
    monkeypatch.chdir(where)
    return where


def test_train_then_eval(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--data", "s.npz", *SMALL, "--epochs", "3"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].startswith("data     ")
    assert "test (not touched)" in lines[0]
    assert sum(line.strip().startswith(("1/3", "2/3", "3/3")) for line in lines) == 3
    assert lines[-1].startswith("next     msd-edge export")
    folder = place / "runs/resnet8-s"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(len(row["accuracy"]) == 3 for row in rows)
    best = max(rows, key=lambda row: (sum(row["accuracy"]), row["epoch"]))

    assert run(["eval", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"] == pytest.approx(best["accuracy"])
    assert run(["eval", str(folder), "--split", "test"]) == 0
    assert "20 images" in capsys.readouterr().out


def test_an_existing_run_is_kept_unless_overwritten(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--data", "s.npz", *SMALL, "--epochs", "1", "--out", "r"]
    assert run(arguments) == 0
    before = {p: p.read_bytes() for p in (place / "r").iterdir()}
    assert run(arguments) == 2
    assert "--resume goes on with it, --overwrite replaces it" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in (place / "r").iterdir()} == before
    assert run([*arguments, "--overwrite", "--seed", "1"]) == 0
    assert (place / "r/model.safetensors").read_bytes() != before[place / "r/model.safetensors"]


def test_overwrite_with_an_error_keeps_the_old_run(place: Path) -> None:
    arguments = ["train", "--data", "s.npz", *SMALL, "--epochs", "1", "--out", "r"]
    assert run(arguments) == 0
    before = (place / "r/model.safetensors").read_bytes()
    assert run([*arguments, "--overwrite", "--exits", "99"]) == 2
    assert (place / "r/model.safetensors").read_bytes() == before


def test_resume_of_a_finished_run_says_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--data", "s.npz", *SMALL, "--epochs", "1"]) == 0
    capsys.readouterr()
    assert run(["train", "--resume"]) == 0
    assert "the one epoch is trained; --epochs N goes on" in capsys.readouterr().out
    assert run(["train", "--resume", "--epochs", "2"]) == 0
    assert "2/2" in capsys.readouterr().out


def test_an_epochs_line_says_what_is_not_as_usual(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ways = ["--initial-scale", "0.5", "--freeze-early", "0.5", "--qat-epochs", "1"]
    assert run(["train", "--data", "s.npz", *SMALL, "--epochs", "4", *ways]) == 0
    lines = [
        line for line in capsys.readouterr().out.splitlines() if line.strip()[:2] in ("1/", "2/", "3/", "4/", "5/")
    ]
    rows = [json.loads(line) for line in (place / "runs/resnet8-s/metrics.jsonl").read_text().splitlines()]
    whole = rows[-1]["size"]
    small, larger = ("{}×{}".format(*row["size"]) for row in rows[:2])
    assert rows[0]["size"] == [round(side / 2) for side in whole]
    assert [re.split(r"\d:\d\d", line)[1].strip() for line in lines] == [
        small, larger, "1 piece frozen", "2 pieces frozen", "int8"
    ]  # fmt: skip
    assert [row["frozen"] for row in rows] == [0, 0, 1, 2, 0]


def test_what_is_frozen_and_when_is_said_where_anything_is(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--data", "s.npz", *SMALL]
    assert run([*arguments, "--epochs", "4", "--freeze-early", "0.5", "--whiten", "--dry-run"]) == 0
    assert "· trunk frozen piece by piece after epochs 2, 3 · first layer whitened ·" in capsys.readouterr().out
    assert run([*arguments, "--epochs", "1"]) == 0
    file = place / "runs/resnet8-s/run.json"  # as of a longer run that goes on with --epochs 1
    file.write_text(file.read_text().replace('"freeze_early": 1.0', '"freeze_early": 0.5'))
    assert '"freeze_early": 0.5' in file.read_text()
    capsys.readouterr()
    assert run(["train", "--resume"]) == 0
    out = capsys.readouterr().out
    assert "the one epoch is trained" in out
    assert "trunk frozen" not in out


def test_resume_takes_the_run_as_an_argument(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--data", "s.npz", *SMALL, "--epochs", "1", "--out", "r"]) == 0
    assert run(["train", "--resume", "r", "--epochs", "2", "--compute", "cpu"]) == 0
    assert "2/2" in capsys.readouterr().out
    assert run(["train", "--resume", "r", "--config", "nowhere.toml"]) == 2
    assert run(["train", "r"]) == 2
    assert "named with --resume only" in capsys.readouterr().err


def test_moved_data_is_found_again_and_other_data_is_not(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--data", "s.npz", *SMALL, "--epochs", "1", "--out", "r"]) == 0
    Path("s.npz").rename("moved.npz")
    assert run(["eval", "r"]) == 2
    assert "s.npz" in capsys.readouterr().err
    assert run(["eval", "r", "--data", "moved.npz"]) == 0
    with np.load("moved.npz") as file:
        arrays = dict(file)
    arrays["x_test"][0] ^= 1
    np.savez("other.npz", **arrays)
    assert run(["eval", "r", "--data", "other.npz"]) == 2
    assert "the test images are not those" in capsys.readouterr().err


def test_a_run_is_found_from_any_folder(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["train", "--data", "s.npz", *SMALL, "--epochs", "1", "--out", "r"]) == 0
    monkeypatch.chdir(tmp_path)
    assert run(["eval", str(place / "r")]) == 0


def test_json_prints_a_document_an_epoch(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--data", "s.npz", *SMALL, "--epochs", "2", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(len(row["losses"]) == 3 for row in rows)


def test_a_foreign_folder_is_never_overwritten(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "other").mkdir()
    (place / "other/model.safetensors").write_text("somebody's weights")
    assert run(["train", "--data", "s.npz", *SMALL, "--epochs", "1", "--out", "other", "--overwrite"]) == 2
    assert "holds other things than a run" in capsys.readouterr().err
    assert (place / "other/model.safetensors").read_text() == "somebody's weights"


def test_dry_run_writes_nothing_and_says_how_to_start(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--data", "s.npz", *SMALL, "--dry-run"]) == 0
    assert [p.name for p in place.iterdir()] == ["s.npz"]
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == (
        "This was a dry run: no run was written; the same command without --dry-run starts the training."
    )
    assert "alone MACs  chain MACs  branch MACs" in out
    assert run(["train", "--data", "s.npz", *SMALL, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["run"] == "runs/resnet8-s"
    assert plan["epochs_done"] == 0
    assert [exit["place"] for exit in plan["exits"]] == ["1:1", "2:1", "3:1"]
    assert plan["images"] == {"train": 58, "calibration": 6, "test": 20}
    assert plan["config"]["optim"]["freeze_early"] == 1
    assert [p.name for p in place.iterdir()] == ["s.npz"]


def test_eval_refuses_options_of_bundles_for_a_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--data", "s.npz", *SMALL, "--epochs", "1"]) == 0
    assert run(["eval", "--variant", "tflite-int8"]) == 2
    assert "--variant is for bundles" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_and_resumed_gives_the_same_files(place: Path, how: signal.Signals) -> None:
    base = [sys.executable, "-m", "msd_edge", "train"]
    common = ["--data", "s.npz", *SMALL, "--epochs", "40"]
    subprocess.run([*base, *common, "--out", "whole"], check=True, capture_output=True)
    process = subprocess.Popen(
        [*base, *common, "--out", "halves"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    metrics = place / "halves/metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        time.sleep(0.005)
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "--resume halves` goes on" in err
        assert "Traceback" not in err
    subprocess.run([*base, "--resume", "halves"], check=True, capture_output=True)
    for name in ("model.safetensors", "state.safetensors"):
        assert (place / "whole" / name).read_bytes() == (place / "halves" / name).read_bytes()
    assert not [p for p in (place / "halves").iterdir() if "partial" in p.name and how == signal.SIGINT]


@pytest.mark.parametrize("value", ["growth={}", "growth=null", "growth=1e400", "reduction=NaN", 'growth_factors=["a"]'])
def test_settings_of_odd_kinds_are_wrong_input(place: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    assert run(["train", "--data", "s.npz", "--arch", "msdnet", "--arch-option", value, "--dry-run"]) == 2
    name = value.partition("=")[0]
    assert f"--arch-option: msdnet: {name}: input should be a" in capsys.readouterr().err


def test_a_run_that_fails_in_its_first_epoch_leaves_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wild = ["--lr", "1000", "--weight-decay", "100"]
    assert run(["train", "--data", "s.npz", *SMALL, "--epochs", "2", *wild, "--out", "r"]) == 1
    assert "start anew with a lower --lr" in capsys.readouterr().err
    assert not (place / "r").exists()
    assert run(["train", "--data", "s.npz", *SMALL, "--epochs", "1", "--out", "r"]) == 0
