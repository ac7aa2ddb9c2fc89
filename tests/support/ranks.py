"""One of several processes that train together, started by the tests: ``python ranks.py CASES.json RESULT.json``."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from msd_edge.data.batches import Feeder
from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import hold
from msd_edge.training.config import ComputeConfig, OptimConfig
from msd_edge.training.distributed import ALONE, World, join
from msd_edge.training.evaluate import count_correct
from msd_edge.training.methods import LossConfig
from msd_edge.training.run import load_trained
from msd_edge.training.setup import TrainOptions, plan_resume, plan_run, start_trainer
from msd_edge.training.shared_run import open_run


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(
    count: int,
    arguments: list[str],
    *,
    program: tuple[str, ...] = (__file__,),
    folders: tuple[str, ...] = (),
    **environment: str,
) -> list["subprocess.Popen[str]"]:
    """Start a job of ``count`` processes of this script, as ``torchrun`` would.

    Args:
        count: of processes.
        arguments: of the script.
        program: what Python runs instead of this script.
        folders: where each works; default all here.
        environment: variables besides.
    """
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)}
    shared |= {"GROUP_RANK": "0", "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=folders[rank] if folders else None,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for rank in range(count)
    ]


def train(case: dict[str, Any], world: World = ALONE) -> None:
    """Train a small network as ``case`` says, from the start or onwards."""
    path = Path(case["out"])
    if case.get("resume"):
        plan = plan_resume(open_run(path, world), epochs=case["epochs"], world=world)
    else:
        options = TrainOptions(
            data=DataConfig(source=case["data"], memory_gib=case.get("memory_gib", 4.0), size=(8, 8)),
            arch="resnet8",
            width=8,
            exits=3,
            exits_at=None,
            arch_options={},
            branch=case.get("branch", "sampled"),
            branch_width=1.0,
            branch_interval=None,
            loss=LossConfig.model_validate(case.get("loss", {})),
            optim=OptimConfig(
                epochs=case["epochs"],
                qat_epochs=case.get("qat_epochs", 0),
                batch_size=case["batch"],
                ema=case.get("ema", 0.0),
                initial_scale=case.get("initial_scale", 1.0),
                freeze_early=case.get("freeze_early", 1.0),
                whiten=case.get("whiten", False),
            ),
            compute=ComputeConfig(device="cpu", precision="fp32"),
            pad=1,
            flip=True,
            cutout=2,
            seed=3,
        )
        plan = plan_run(options, path, world)
    with plan.folder.lock():
        trainer, _, _ = start_trainer(plan)
        trainer.train(lambda _report: None, lambda _epoch, _step, _steps: None)


def count(path: Path, size: int, world: World = ALONE) -> dict[str, Any]:
    """Count what a run gets right of ``size`` images, and how many images every process saw."""
    network, _, _ = load_trained(open_run(path, world))
    rng = np.random.default_rng(5)
    images = hold(rng.integers(0, 255, (size, 8, 8, 3), dtype=np.uint8), np.arange(size) % 3)
    seen = sum(
        len(labels) for _, labels in Feeder(images, torch.device("cpu"), shard=world.shard).batches(np.arange(size), 4)
    )
    feeder = Feeder(images, torch.device("cpu"), shard=world.shard)
    correct = count_correct(network, feeder, size, batch_size=4, world=world)
    return {"seen": world.gather(seen), "correct": list(correct)}


def main() -> None:
    """Run all cases, in every process of the job."""
    cases = json.loads(Path(sys.argv[1]).read_text())
    with join() as world:
        for case in cases["train"]:
            train(case, world)
        counts = [count(Path(path), size, world) for path, size in cases.get("count", [])]
        if world.leads:
            Path(sys.argv[2]).write_text(json.dumps(counts))


if __name__ == "__main__":
    main()
