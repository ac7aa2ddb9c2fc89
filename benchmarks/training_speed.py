"""``python -m msd_edge.benchmarks.training_speed``: training's images a second, held against the plain loop's.

The plain loop is what one writes first: torchvision's transforms on Pillow images in a DataLoader, float32, NCHW. The
same on our batches (images in memory, augmentation of whole batches) says how much of the difference is the data's. All
train the same network with the same loss, an epoch each in turn.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import harmonic_mean, median
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from msd_edge.benchmarks.environment import describe_machine
from msd_edge.cli import common
from msd_edge.data.augment import Augmentation, augment
from msd_edge.data.batches import Feeder, epoch_order
from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import Dataset, MemorySet
from msd_edge.data.load import load_dataset
from msd_edge.data.select import select_images
from msd_edge.errors import ConfigError
from msd_edge.models.build import build_network
from msd_edge.processors import usable_processors
from msd_edge.training import setup
from msd_edge.training.config import ComputeConfig, OptimConfig, TrainConfig
from msd_edge.training.methods import LossConfig, compute_loss
from msd_edge.training.report import EpochReport
from msd_edge.training.schedule import freezing_epochs
from msd_edge.training.trainer import Trainer

# Trains an epoch, given its number, and returns its images a second.
Epoch = Callable[[int], float]


class _Pictures(TorchDataset[tuple[Tensor, int]]):
    """One image at a time, as torchvision's own data sets give them."""

    def __init__(self, split: MemorySet, config: TrainConfig) -> None:
        self.split = split
        side = split.images.shape[1]
        fill = round(config.network.mean[0])
        steps = [transforms.RandomCrop(side, padding=config.augment.pad, fill=fill)]
        steps += [transforms.RandomHorizontalFlip()] if config.augment.flip else []
        self.transform = transforms.Compose([*steps, transforms.PILToTensor()])

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.split.images[index]
        picture = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
        return self.transform(picture), int(self.split.labels[index])


@dataclass(frozen=True)
class PlainLoop:
    """A training loop in float32 and NCHW over batches of images (batch, C, H, W) uint8 and labels."""

    config: TrainConfig
    batches: Callable[[int], Iterable[tuple[Tensor, Tensor]]]

    def start(self) -> Epoch:
        """Return a function that trains an epoch and returns its images a second."""
        device = torch.device(self.config.compute.device)
        torch.manual_seed(self.config.seed)
        network = build_network(self.config.network).to(device).train()
        optim = self.config.optim
        optimizer = torch.optim.SGD(
            network.parameters(), optim.lr, optim.momentum, weight_decay=optim.weight_decay, nesterov=True
        )

        def epoch(number: int) -> float:
            start, seen = time.perf_counter(), 0
            for batch in self.batches(number):
                images, labels = (tensor.to(device, non_blocking=True) for tensor in batch)
                # A copy: grey images are contiguous in both layouts, and would be taken for channels-last.
                plain = images.float().clone(memory_format=torch.contiguous_format)
                logits, features = network.forward_features(plain)
                loss = self.config.loss
                terms = compute_loss(loss, logits, features, labels, progress=0.0, tau=loss.tau)
                optimizer.zero_grad()
                terms.total.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                seen += len(labels)
            terms.total.item()  # a GPU is behind
            return seen / (time.perf_counter() - start)

        return epoch


def _loop_with_loader(split: MemorySet, config: TrainConfig) -> PlainLoop:
    loader = DataLoader(
        _Pictures(split, config),
        config.optim.batch_size,
        shuffle=True,
        num_workers=usable_processors(),
        persistent_workers=True,
        pin_memory=config.compute.device == "cuda",
    )
    return PlainLoop(config, lambda _: loader)


def _loop_in_memory(split: MemorySet, config: TrainConfig) -> PlainLoop:
    feeder = Feeder(split, torch.device(config.compute.device))
    augmentation = Augmentation(config.augment.pad, config.augment.flip, 0, (round(config.network.mean[0]),))

    def batches(number: int) -> Iterable[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(number)
        order = epoch_order(len(split), config.seed, number)
        for images, labels in feeder.batches(order, config.optim.batch_size):
            yield augment(images, augmentation, generator), labels

    return PlainLoop(config, batches)


def _load_part(data: str, count: int | None) -> tuple[Dataset, MemorySet]:
    """Return a data set with so many training images, and those."""
    dataset = load_dataset(DataConfig(source=data))
    split = dataset.train
    if not isinstance(split, MemorySet):
        raise ConfigError(f"--data {data}: its images stream from disk; the plain loop's are to be in memory.")
    if count is not None and count < len(split):
        split = split.select(np.sort(select_images(split.labels, count)))
    return replace(dataset, train=split), split


def main(
    data: Annotated[str, typer.Option(help="As for train.")] = "digits",
    arch: Annotated[str, typer.Option(help="As for train.")] = "resnet20",
    width: Annotated[int | None, typer.Option(help="As for train.")] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="As for train.")] = 128,
    images: Annotated[int | None, typer.Option(min=64, help="Training images to use; none: all.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Epochs of each, after one that is not counted.")] = 5,
    initial_scale: Annotated[
        float, typer.Option(min=0.25, max=1, help="As for train: a whole training of so many rounds beside.")
    ] = 1.0,
    freeze_early: Annotated[
        float, typer.Option(min=0.1, max=1, help="As for train: a whole training of so many rounds beside.")
    ] = 1.0,
) -> None:
    """Train epochs of ours and of the plain loops in turn, and print their speeds and the ratios."""
    if initial_scale < 1 and rounds < 3:
        raise ConfigError(f"--initial-scale {initial_scale:g}: images grow over three rounds or more, not {rounds}.")
    if freeze_early < 1 and freezing_epochs(2, freeze_early, rounds)[0] == rounds:
        raise ConfigError(f"--freeze-early {freeze_early:g}: in {rounds} rounds nothing would be frozen; take more.")
    ways = {"--initial-scale": (initial_scale, 1.0), "--freeze-early": (1.0, freeze_early)}
    ways = {f"{name} {min(way):g}": way for name, way in ways.items() if min(way) < 1}
    if len(ways) == 2:
        ways["both"] = (initial_scale, freeze_early)
    dataset, split = _load_part(data, images)

    def options(epochs: int, scale: float, frozen: float) -> setup.TrainOptions:
        return setup.TrainOptions(
            data=DataConfig(source=data),
            arch=arch,
            width=width,
            loss=LossConfig(method="joint"),
            optim=OptimConfig(epochs=epochs, batch_size=batch_size, initial_scale=scale, freeze_early=frozen),
            compute=ComputeConfig(device="auto"),
        )

    loops: list[Epoch] = []

    def start(config: TrainConfig) -> list[Epoch]:
        loops.extend(make(split, config).start() for make in (_loop_in_memory, _loop_with_loader))
        return loops

    speeds, trainer, reason = _take_turns(options(rounds + 1, 1.0, 1.0), dataset, start)
    ours, memory, loader = (found[1:] for found in speeds)
    rows = [("msd-edge", ours, loader)]
    for name, way in ways.items():
        # The epochs of such a training differ; together they are one training.
        whole, _, _ = _take_turns(options(rounds, *way), dataset, lambda _: loops[-1:])
        changing, beside = ([harmonic_mean(found)] for found in whole)
        rows.append((f"msd-edge, {name}", changing, beside))
    rows += [("plain loop, images in memory", memory, loader), ("plain loop, data loader", loader, loader)]
    common.say(f"{describe_machine(trainer.device)}, torch {torch.__version__}")
    common.say(f"{trainer.config.compute.precision}: {reason}")
    common.table(
        [f"{arch}, {len(split)} images, batches of {batch_size}", "images/s", "lowest", "ratio"],
        [
            [name, f"{median(found):.0f}", f"{min(found):.0f}", f"{_ratio(found, plain):.2f}"]
            for name, found, plain in rows
        ],
    )


def _take_turns(
    options: setup.TrainOptions,
    dataset: Dataset,
    start: Callable[[TrainConfig], Sequence[Epoch]],
) -> tuple[list[list[float]], Trainer, str]:
    """Train as asked, an epoch of each other loop after each of ours.

    Args:
        options: of our training.
        dataset: what it is trained on.
        start: starts the other loops, or gives those that are running, for our configuration.

    Returns:
        Images a second of every epoch, ours first; our trainer, and why it has the precision it has.
    """
    with tempfile.TemporaryDirectory() as place:
        plan = setup.plan_run(options, Path(place) / "run", dataset=dataset)
        trainer, info, reason = setup.start_trainer(plan)
        loops = start(info.config)
        speeds: list[list[float]] = [[] for _ in range(1 + len(loops))]

        def on_epoch(report: EpochReport) -> None:
            for found, speed in zip(speeds, [report.speed, *(epoch(report.epoch) for epoch in loops)], strict=True):
                found.append(speed)

        trainer.train(on_epoch, lambda epoch, step, steps: None)
    return speeds, trainer, reason


def _ratio(found: list[float], plain: list[float]) -> float:
    return median(a / b for a, b in zip(found, plain, strict=True))


if __name__ == "__main__":
    common.run_script(main)
