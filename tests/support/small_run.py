"""A small trained run on images that a few epochs learn."""

from pathlib import Path

import numpy as np

from msd_edge.data.config import DataConfig
from msd_edge.training.config import ComputeConfig, OptimConfig
from msd_edge.training.methods import LossConfig
from msd_edge.training.setup import TrainOptions, plan_run, start_trainer


def write_stripes(path: Path, train: int = 400, test: int = 60, *, side: int = 8, seed: int = 0) -> Path:
    """Write a .npz of three classes: rows, columns, checks, each under noise."""
    rng = np.random.default_rng(seed)
    count = train + test
    x = rng.integers(0, 90, (count, side, side, 3), dtype=np.uint8)
    y = np.arange(count) % 3
    x[y == 0, ::2] += 100
    x[y == 1, :, ::2] += 100
    x[y == 2, ::2, ::2] += 100
    x[y == 2, 1::2, 1::2] += 100
    np.savez(path, x_train=x[:train], y_train=y[:train], x_test=x[train:], y_test=y[train:])
    return path


def train_small_run(folder: Path, data: Path, *, epochs: int = 4, exits: int = 3) -> Path:
    """Train a narrow ResNet-8 into ``folder``."""
    options = TrainOptions(
        data=DataConfig(source=str(data), calibration_share=0.3),
        arch="resnet8",
        width=8,
        exits=exits,
        exits_at=None,
        arch_options={},
        branch="sampled",
        branch_width=1.0,
        branch_interval=None,
        loss=LossConfig(),
        optim=OptimConfig(epochs=epochs, batch_size=32, lr=0.1),
        compute=ComputeConfig(device="cpu"),
        pad=0,
        flip=False,
        cutout=0,
        seed=0,
    )
    trainer, _, _ = start_trainer(plan_run(options, folder))
    trainer.train(lambda _report: None, lambda _epoch, _step, _steps: None)
    return folder
