"""The table of what int8 costs: rows are drawn from their files, and never mixed with those of other settings."""

import json
from pathlib import Path

import pytest

from msd_edge.benchmarks import int8_table
from msd_edge.errors import ConfigError

ROW = {
    "arch": "airbench",
    "width": 16,
    "data": "digits",
    "epochs": 2,
    "macs": [1_000_000, 3_000_000],
    "parameters": 130_000,
    "float32": [0.8, 0.9],
    "tflite-int8": [0.795, 0.9],
    "onnx-int8": [0.81, 0.9],
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "airbench-w16.json").write_text(json.dumps(ROW))
    return tmp_path


def test_a_row_that_is_there_is_drawn(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    int8_table.main("digits", out, 2, ["airbench-w16"])
    said = capsys.readouterr().out
    assert "| airbench, width 16 | 3.0 | 0.13 | 80.00 / 90.00 | 0.50 / 0.00 | -1.00 / 0.00 |" in said


def test_a_row_of_other_settings_is_refused(out: Path) -> None:
    with pytest.raises(ConfigError, match="measured on digits after 2 epochs"):
        int8_table.main("digits", out, 3, ["airbench"])


def test_an_unknown_network_is_refused(out: Path) -> None:
    with pytest.raises(ConfigError, match="--only airbnch: no such choice; did you mean airbench"):
        int8_table.main("digits", out, 2, ["airbnch"])
