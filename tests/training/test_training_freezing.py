"""Early layers that are frozen on the way stay as they are, to the last bit, and the others go on."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from msd_edge.data.config import DataConfig
from msd_edge.errors import ConfigError
from msd_edge.training.config import ComputeConfig, OptimConfig
from msd_edge.training.methods import LossConfig
from msd_edge.training.report import EpochReport
from msd_edge.training.setup import TrainOptions, plan_run, start_trainer
from msd_edge.training.trainer import Trainer


def options(**optim: object) -> TrainOptions:
    return TrainOptions(
        data=DataConfig(source="digits"),
        arch="resnet8",
        width=4,
        exits=3,
        branch="pooled",
        loss=LossConfig(method="msd"),
        optim=OptimConfig.model_validate({"batch_size": 256, **optim}),
        compute=ComputeConfig(device="cpu", precision="fp32"),
    )


def follow(trainer: Trainer) -> tuple[list[dict[str, Tensor]], list[EpochReport], list[list[float]]]:
    """Train, and return the weights and the report of every epoch, and the learning rates of its last step."""
    states, reports, rates = [], [], []

    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        states.append({name: value.clone() for name, value in trainer.network.state_dict().items()})
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])

    trainer.train(on_epoch, lambda epoch, step, steps: None)
    return states, reports, rates


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    parts = {name: ".".join(name.split(".")[:2]) for name in before}
    return {parts[name] for name in before if not torch.equal(before[name], after[name])}


def test_pieces_stay_as_they_are_once_frozen(tmp_path: Path) -> None:
    trainer, _, _ = start_trainer(plan_run(options(epochs=6, freeze_early=0.5), tmp_path / "run"))
    states, reports, rates = follow(trainer)
    branches = {"branches.0", "branches.1", "branches.2"}
    late = {*branches, "trunk.2"}
    all_of_it = {*late, "trunk.0", "trunk.1"}
    moved = [changed(before, after) for before, after in itertools.pairwise(states)]
    assert moved == [all_of_it, all_of_it, {*late, "trunk.1"}, late, late]  # after epochs 3 and 4
    # Each piece's rate had come down by then, as the last one's does at the end.
    assert rates[2][0] < 0.01 * max(rates[0]) < rates[2][-1]
    assert rates[3][2] < 0.05 * max(rates[0])
    assert [report.lr for report in reports] == [rate[-1] for rate in rates]
    assert [report.frozen for report in reports] == [0, 0, 0, 1, 2, 2]


def test_frozen_pieces_learn_again_in_int8_arithmetic(tmp_path: Path) -> None:
    trainer, _, _ = start_trainer(plan_run(options(epochs=2, qat_epochs=1, freeze_early=0.5), tmp_path / "run"))
    states, _, _ = follow(trainer)
    assert "trunk.0" not in changed(states[0], states[1])
    assert "trunk.0" in changed(states[1], states[2])
    names = [name for name in states[1] if "running" in name]
    assert names
    assert all(torch.equal(states[1][name], states[2][name]) for name in names)


def test_what_a_network_never_trains_is_not_thawed(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def build(classes):\n"
        "    fixed = nn.Conv2d(1, 4, 3)\n"
        "    fixed.weight.requires_grad_(False)\n"
        "    blocks = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()) for _ in range(3)]\n"
        "    return nn.Sequential(fixed, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))\n"
    )
    wanted = replace(options(epochs=2, freeze_early=0.5), arch=f"{tmp_path}/net.py:build", width=None, exits=2)
    trainer, _, _ = start_trainer(plan_run(wanted, tmp_path / "run"))
    fixed = [parameter for parameter in trainer.network.parameters() if not parameter.requires_grad]
    flags = []
    trainer.train(lambda report: flags.append([p.requires_grad for p in fixed]), lambda epoch, step, steps: None)
    assert flags == [[False], [False]]
    assert sum(parameter.requires_grad for parameter in trainer.network.trunk[0].parameters()) == 0


def test_a_trunk_that_is_frozen_already_is_refused(tmp_path: Path) -> None:
    follow(start_trainer(plan_run(replace(options(epochs=1), exits=1), tmp_path / "single"))[0])
    both = options(epochs=4, freeze_early=0.5, freeze_trunk=True)
    with pytest.raises(ConfigError, match="--freeze-trunk freezes the whole trunk from the start"):
        plan_run(replace(both, weights=str(tmp_path / "single")), tmp_path / "run")
