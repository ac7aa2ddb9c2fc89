"""Steps replayed on a GPU compute what steps as they are do."""

from pathlib import Path

import pytest
import torch

from msd_edge.data.config import DataConfig
from msd_edge.training import setup
from msd_edge.training.config import ComputeConfig, OptimConfig
from msd_edge.training.methods import LossConfig, Method
from msd_edge.training.trainer import EpochReport, Trainer


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: steps are recorded on one only")
@pytest.mark.parametrize("method", ["joint", "msd", "last-teacher"])
def test_replayed_steps_train_like_others(tmp_path: Path, method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(name: str) -> list[EpochReport]:
        options = setup.TrainOptions(
            data=DataConfig(source="digits"),
            arch="resnet8",
            arch_options={},
            width=8,
            exits=3,
            exits_at=None,
            branch="sampled",
            branch_width=1.0,
            branch_interval=None,
            loss=LossConfig(method=method),
            optim=OptimConfig(epochs=3, batch_size=100, lr=0.05),
            compute=ComputeConfig(device="cuda", precision="fp32"),
            pad=None,
            flip=None,
            cutout=0,
            seed=0,
        )
        trainer, _, _ = setup.start_trainer(setup.plan_run(options, tmp_path / name))
        reports: list[EpochReport] = []
        trainer.train(reports.append, lambda epoch, step, steps: None)
        return reports

    replayed = train("replayed")
    monkeypatch.setattr(Trainer, "_make_recorded", lambda self: None)
    for one, other in zip(replayed, train("plain"), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=0.02)
        assert one.accuracy == pytest.approx(other.accuracy, abs=0.06)
