"""Starting from a trained single-classifier network: the trunk is its trunk, and frozen it stays so to the last bit."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
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


@pytest.fixture
def file(data: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """Weights of the user's network as a file, and the options that train exits on them, without ``--weights``."""
    (tmp_path / "net.py").write_text(NET)
    torch.manual_seed(8)
    save_file(load_module(f"{tmp_path}/net.py:build", 3).state_dict(), tmp_path / "net.safetensors")
    options = ["--data", str(data), "--arch", f"{tmp_path}/net.py:build", "--epochs", "1", "--batch-size", "16"]
    return tmp_path / "net.safetensors", ["train", *options, "--out", str(tmp_path / "run")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {"3.0.weight": torch.zeros(2)}, "net.py:build has no 3.0.weight; they are of another network"),
        (lambda t: {f"module.{name}": value for name, value in t.items()}, "has no module.0.0.weight (and 19 more)"),
        (lambda t: {name: value for name, value in t.items() if name != "1.0.weight"}, "1.0.weight is missing"),
        (lambda t: t | {"1.0.weight": t["1.0.weight"].int()}, "is int32 [16, 8, 3, 3] there, float32 [16, 8, 3, 3]"),
        (lambda t: t | {"1.0.weight": t["1.0.weight"] / 0}, "1.0.weight holds values that are no numbers"),
    ],
)
def test_weights_of_another_network_are_refused(file, capsys: pytest.CaptureFixture[str], change, message: str) -> None:
    path, options = file
    save_file(change(load_file(path)), path)
    assert run([*options, "--exits", "2", "--weights", str(path)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_half_precision_and_absent_counters_are_taken(file) -> None:
    path, options = file
    tensors = {name: value for name, value in load_file(path).items() if "num_batches" not in name}
    save_file({name: value.half() for name, value in tensors.items()}, path)
    assert run([*options, "--exits", "2", "--weights", str(path), "--dry-run"]) == 0


def test_a_new_classifier_on_a_frozen_trunk_is_trained_also_after_resuming(
    file, capsys: pytest.CaptureFixture[str]
) -> None:
    path, options = file
    tensors = load_file(path)
    before = {name: value for name, value in tensors.items() if not name.startswith("5.")}
    save_file(before, path)
    frozen = ["--exits", "2", "--weights", str(path), "--freeze-trunk", "--ema", "0.5"]
    assert run([*options, *frozen]) == 0
    assert "the last exit's is new and is trained" in " ".join(capsys.readouterr().err.split())
    run_folder = path.parent / "run"
    first = load_network(run_folder).state_dict()
    assert run(["train", "--resume", str(run_folder), "--epochs", "3"]) == 0
    after = load_network(run_folder).state_dict()
    for name, value in first.items():
        assert torch.equal(value, after[name]) == name.startswith("trunk."), name


def test_one_exit_on_a_frozen_trunk_has_nothing_to_train(file, capsys: pytest.CaptureFixture[str]) -> None:
    path, options = file
    assert run([*options, "--exits", "1", "--weights", str(path), "--freeze-trunk"]) == 2
    assert "leaves nothing to train" in capsys.readouterr().err
    assert not (path.parent / "run").exists()


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
