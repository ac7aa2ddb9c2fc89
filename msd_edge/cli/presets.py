"""Recipes for ``train --preset NAME``: values of its options, each of which may still be given otherwise."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # CIFAR-10, 45,000 training images, best epoch by the calibration split: 92.4 / 93.9 / 94.3 % on the test images at
    # 60 / 235 / 341 M MACs (one seed); 328 s on an H200 beside fourteen other trainings, bf16, torch 2.11
    # (cell cifar10--air-96--joint--seed0 of benchmarks/studies/fast.toml; --width 64: 93.7 %, 128: 94.5 %).
    #     msd-edge train --data cifar10 --preset fast
    "fast": {
        "arch": "airbench",
        "width": 96,
        "exits": 3,
        "branch": "separable",
        "method": "joint",
        "label_smoothing": 0.1,
        "cutout": 8,
        "epochs": 60,
        "batch_size": 256,
        "lr": 0.3,
        "schedule": "one-cycle",
        "warmup": 0.2,
    },
}
