"""A network that does something in training mode alone: refused before a new run, no reason to lose a finished one."""

import sys
from pathlib import Path

import pytest
from support.small_run import write_stripes

from msd_edge.cli.app import run
from msd_edge.training.run import load_network

NET = """
from torch import nn

LOUDER = 1

class Block(nn.Module):
    def __init__(self, inside, outside, stride):
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, stride, 1)

    def forward(self, x):
        return self.conv(x).relu() * (LOUDER if self.training else 1)

def build(classes):
    blocks = [Block(3, 8, 1), Block(8, 12, 2), Block(12, 16, 1)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes))
"""


def test_a_run_of_a_network_that_would_be_refused_now_is_opened_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "lost_net.py", tmp_path / "run"
    source.write_text(NET)
    data = write_stripes(tmp_path / "stripes.npz", 120)
    new = ["train", "--data", str(data), "--arch", f"{source}:build", "--exits", "2", "--epochs", "1"]
    assert run([*new, "--out", str(out)]) == 0
    monkeypatch.setattr(sys.modules["msd_edge_user_lost_net"], "LOUDER", 1.1)
    capsys.readouterr()

    for more in ([], ["--dry-run"], ["--method", "single"]):
        assert run([*new, "--out", str(tmp_path / "new"), *more]) == 2
        assert "build: 0 does something in training mode alone" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "new").exists()
    assert run(["doctor", "--arch", f"{source}:build", "--image-size", "8"]) == 2
    assert "training mode alone" in " ".join(capsys.readouterr().err.split())

    assert load_network(out).exits == 2
    assert run(["eval", str(out)]) == 0
    assert run(["train", "--resume", str(out), "--epochs", "2"]) == 0
    exported = ["--target", "onnx", "--float32"]
    assert run(["export", str(out), "--out", str(tmp_path / "bundle"), *exported]) == 0
    assert "training mode alone" not in capsys.readouterr().err
