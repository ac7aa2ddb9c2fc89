"""Recipes for ``train --preset NAME``: values of its options, each of which may still be given otherwise."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # CIFAR-10, 45,000 training images, best epoch by the calibration split: 90.7 / 92.4 / 93.0 % on the test images at
    # 32 / 110 / 157 M MACs; 206 s on an H200 beside fourteen other trainings, bf16, torch 2.11
    # (cell cifar10--cascade-64--joint--seed0 of benchmarks/studies/rivals.toml).
    #     msd-edge train --data cifar10 --preset fast
    "fast": {
        "arch": "airbench",
        "width": 64,
        "exits": 3,
        "branch": "separable",
        "method": "joint",
        "label_smoothing": 0.1,
        "epochs": 40,
        "batch_size": 256,
        "lr": 0.3,
        "schedule": "one-cycle",
        "warmup": 0.2,
    },
}
