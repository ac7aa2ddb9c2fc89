"""Starting from a trained single-classifier network: the trunk is its trunk, and frozen it stays so to the last bit."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.small_run import write_stripes

from msd_edge.cli.app import run
from msd_edge.models.imported import load_module
from msd_edge.training.run import load_network, load_trained

ARGUMENTS = ["--arch", "resnet20", "--width", "4", "--batch-size", "16"]
NET = """
from torch import nn

def build(classes):
    row = [3, 8, 16, 24]
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, 1 + (a > 3), 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
        for a, b in zip(row, row[1:])
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, classes))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("weights") / "stripes.npz")


@pytest.fixture(scope="module")
def single(data: Path) -> Path:
    out = data.parent / "runs/single"
    options = ["--data", str(data), *ARGUMENTS, "--exits", "1", "--method", "joint", "--epochs", "2"]
    assert run(["train", *options, "--out", str(out)]) == 0
    return out


def pictures() -> torch.Tensor:
    return torch.randint(0, 256, (16, 3, 8, 8), generator=torch.Generator().manual_seed(4)).float()


def test_four_exits_on_a_frozen_trunk_leave_the_last_one_as_it_was(data: Path, single: Path, tmp_path: Path) -> None:
    out = tmp_path / "four"
    options = ["--data", str(data), *ARGUMENTS, "--exits", "4", "--epochs", "2", "--weights", str(single)]
    assert run(["train", *options, "--freeze-trunk", "--out", str(out)]) == 0
    before, after = load_network(single), load_network(out)
    assert after.exits == 4
    with torch.no_grad():
        assert torch.equal(before(pictures())[0], after(pictures())[3])
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    last = {row["accuracy"][3] for row in rows}
    best = json.loads((single / "metrics.jsonl").read_text().splitlines()[load_trained(single)[2] - 1])
    assert last == {best["accuracy"][0]}
    assert rows[0]["losses"][0] != rows[1]["losses"][0]  # branches learn
    start = json.loads((out / "run.json").read_text())["config"]["start"]
    assert start["source"] == str(single)


def test_a_trunk_that_is_not_frozen_moves(data: Path, single: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    options = ["--data", str(data), *ARGUMENTS, "--exits", "2", "--epochs", "1", "--weights", str(single)]
    assert run(["train", *options, "--out", str(out)]) == 0
    with torch.no_grad():
        assert not torch.equal(load_network(single)(pictures())[0], load_network(out)(pictures())[1])


def test_a_file_of_weights_for_the_users_network(data: Path, tmp_path: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text(NET)
    torch.manual_seed(8)
    module = load_module(f"{source}:build", 3).eval()
    save_file(module.state_dict(), tmp_path / "net.safetensors")
    out = tmp_path / "run"
    options = ["--data", str(data), "--arch", f"{source}:build", "--exits", "2", "--epochs", "1", "--batch-size", "16"]
    start = ["--weights", str(tmp_path / "net.safetensors"), "--freeze-trunk", "--mean", "120,121,122", "--std", "60"]
    assert run(["train", *options, *start, "--out", str(out)]) == 0
    network = load_network(out)
    with torch.no_grad():
        assert torch.equal(network(pictures())[1], module(network.normalize(pictures())))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--freeze-trunk"], "--weights says where its weights are"),
        (["--weights", "nowhere.safetensors"], "--weights nowhere.safetensors: there is no such file"),
        (["--weights", "pretrained"], "--weights pretrained: resnet20 has none"),
        (["--weights", "SINGLE", "--method", "single"], "--method single has one for every exit"),
        (["--weights", "SINGLE", "--arch", "resnet14"], "the weights of a resnet14 with one exit are needed"),
        (["--weights", "SINGLE", "--width", "6"], "they are of another network"),
        (["--weights", "PICKLE"], "no safetensors file"),
        (["--mean", "120"], "--mean and --std go together"),
        (["--mean", "a", "--std", "3"], "--mean a: pixel values up to 255"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    data: Path, single: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    pickle = tmp_path / "net.pth"
    torch.save({"fc.weight": torch.zeros(2)}, pickle)
    named = {"SINGLE": str(single), "PICKLE": str(pickle)}
    out = tmp_path / "run"
    options = ["train", "--data", str(data), *ARGUMENTS, "--epochs", "1", "--out", str(out)]
    assert run([*options, *(named.get(word, word) for word in change)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
