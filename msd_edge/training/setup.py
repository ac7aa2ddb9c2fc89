"""From options to a run: data loaded, configuration resolved, folder ready, before any long work."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from msd_edge import __version__
from msd_edge.data.augment import default_augmentation
from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import Dataset, hash_split
from msd_edge.data.load import load_dataset
from msd_edge.data.statistics import pixel_statistics
from msd_edge.errors import CheckpointError, ConfigError, DataError
from msd_edge.locks import LOCK, check_free
from msd_edge.models.build import (
    ArchOption,
    ExitCost,
    NetworkConfig,
    build_network,
    check_network,
    measure_costs,
    name_classifier,
    probe,
)
from msd_edge.models.choices import BranchKind
from msd_edge.models.network import MultiExitNetwork
from msd_edge.models.pretrained import Weights, load_single, read_weights
from msd_edge.training.checks import (
    check_epochs,
    check_freezing,
    check_processes,
    check_same,
    check_scale,
    check_whitening,
)
from msd_edge.training.config import AugmentConfig, ComputeConfig, OptimConfig, RunInfo, StartConfig, TrainConfig
from msd_edge.training.distributed import ALONE, World
from msd_edge.training.layout import miscomputes_channels_last
from msd_edge.training.methods import LossConfig
from msd_edge.training.precision import choose_precision
from msd_edge.training.run import RunFolder, load_trained
from msd_edge.training.shared_run import open_run
from msd_edge.training.trainer import Trainer, pick_device
from msd_edge.training.whitening import whiten_first

_LAYOUT_NOTE = (
    "channels-last is off for this network: the processor's kernels get strided 1x1 convolutions of fewer than 8 "
    "channels wrong in that layout."
)
_NEW_CLASSIFIER = (
    "--weights {source}: there is no classifier for {classes} classes, so the last exit's is new and is trained."
)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What a user chose; None leaves the choice to the data or the method."""

    data: DataConfig
    arch: str
    arch_options: dict[str, ArchOption] = field(default_factory=dict)
    width: int | None = None
    exits: int = 3
    exits_at: str | None = None
    branch: BranchKind = "sampled"
    branch_width: float = 1.0
    branch_interval: int | None = None
    loss: LossConfig
    optim: OptimConfig
    compute: ComputeConfig
    pad: int | None = None
    flip: bool | None = None
    cutout: int = 0
    seed: int = 0
    weights: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Plan:
    """A run about to start or to go on.

    Attributes:
        network: as it will be trained, to be looked at; the trainer builds its own.
        costs: of its exits.
        resumed: whether it goes on.
        weights: of a single-classifier network, to start from.
        world: the processes that train it.
    """

    folder: RunFolder
    info: RunInfo
    dataset: Dataset
    network: MultiExitNetwork
    costs: tuple[ExitCost, ...]
    resumed: bool
    weights: Weights | None = None
    world: World = ALONE


def plan_run(options: TrainOptions, folder: Path, world: World = ALONE, dataset: Dataset | None = None) -> Plan:
    """Load the data and resolve the configuration of a new run. Nothing is written yet.

    Args:
        options: what was chosen.
        folder: where the run goes.
        world: the processes that train it.
        dataset: what ``options.data`` loads, where that is loaded already.

    Raises:
        DataError, ModelError, ConfigError: as the parts do.
    """
    check_processes(world, options.optim, options.compute)
    device = world.place(pick_device(options.compute.device))
    dataset = dataset or load_dataset(options.data)
    height, width, channels = dataset.image_shape
    weights = _read_weights(options, len(dataset.classes), channels)
    mean, std = _choose_normalization(options, weights, dataset)
    network = _configure(options, len(dataset.classes), (channels, height, width), mean, std)
    built = build_network(network)
    probe(built, network.image_shape)
    check_scale(built, network, options.optim)
    check_freezing(built, options.optim, shared=options.loss.method != "single")
    check_whitening(built, network, options.optim, options.weights)
    costs = measure_costs(built)
    start, notes = None, dataset.notes
    if weights is not None:
        new = not load_single(built, weights, name_classifier(network))
        start = StartConfig(source=weights.source, sha256=_hash_tensors(weights.tensors), new_classifier=new)
        if new:
            notes = (*notes, _NEW_CLASSIFIER.format(source=weights.source, classes=len(dataset.classes)))
        elif options.optim.freeze_trunk and built.exits == 1:
            raise ConfigError("--freeze-trunk leaves nothing to train in a network with one exit; --exits gives more.")
    channels_last = options.compute.channels_last
    if channels_last and miscomputes_channels_last(built, device):
        channels_last = False
        notes = (*notes, _LAYOUT_NOTE)
    usual = default_augmentation(dataset)
    augmentation = AugmentConfig(
        pad=usual.pad if options.pad is None else options.pad,
        flip=usual.flip if options.flip is None else options.flip,
        cutout=options.cutout,
    )
    config = TrainConfig(
        data=options.data,
        network=network.model_copy(update={"exits": built.exits}),
        loss=options.loss,
        optim=options.optim,
        augment=augmentation,
        compute=options.compute.model_copy(update={"device": device.type, "channels_last": channels_last}),
        start=start,
        seed=options.seed,
    )
    info = RunInfo(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=config,
        classes=dataset.classes,
        train_sha256=hash_split(dataset.train),
        calibration_sha256=hash_split(dataset.calibration),
        test_sha256=hash_split(dataset.test),
        places=built.places,
        versions={"msd-edge": __version__, "torch": torch.__version__, "numpy": np.__version__},
    )
    check_same(world, info)
    return Plan(open_run(folder, world), info, replace(dataset, notes=notes), built, costs, False, weights, world)


def check_options(options: TrainOptions) -> None:
    """Check what can be checked without data, before it is loaded.

    Raises:
        ModelError: there is no such network, or it cannot have such settings or exits.
    """
    check_network(_configure(options, 2, (3, 224, 224), (0.0,), (1.0,)))


def _configure(
    options: TrainOptions,
    classes: int,
    image_shape: tuple[int, int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> NetworkConfig:
    return NetworkConfig(
        arch=options.arch,
        arch_options=options.arch_options,
        width=options.width,
        exits=options.exits,
        exits_at=options.exits_at,
        branch=options.branch,
        branch_width=options.branch_width,
        branch_interval=options.branch_interval,
        classes=classes,
        image_shape=image_shape,
        mean=mean,
        std=std,
    )


def _read_weights(options: TrainOptions, classes: int, channels: int) -> Weights | None:
    """Read the weights to start from: of a file, a library, or a run with one exit.

    Raises:
        ConfigError: options contradict each other.
        ModelError, CheckpointError: they cannot be read.
    """
    if options.weights is None:
        if options.optim.freeze_trunk:
            raise ConfigError("--freeze-trunk keeps a trained trunk as it is; --weights says where its weights are.")
        return None
    if options.loss.method == "single":
        raise ConfigError("--weights fill one trunk; --method single has one for every exit.")
    path = Path(options.weights)
    if not path.is_dir():
        return read_weights(options.weights, options.arch, classes, channels)
    trained, info, _ = load_trained(path)
    if trained.exits != 1 or info.config.network.arch != options.arch:
        raise ConfigError(
            f"--weights {path}: this run is a {info.config.network.arch} with {trained.exits} exits; the weights of a "
            f"{options.arch} with one exit are needed (--exits 1)."
        )
    return Weights(trained.state_dict(), str(path), info.config.network.mean, info.config.network.std)


def _choose_normalization(
    options: TrainOptions, weights: Weights | None, dataset: Dataset
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std in pixels: those given, those the weights were trained with, or the data's.

    Raises:
        ConfigError: there are not as many as channels.
    """
    mean, std = options.mean, options.std
    if (mean is None) != (std is None):
        raise ConfigError("--mean and --std go together.")
    if mean is None and weights is not None:
        mean, std = weights.mean, weights.std
    if mean is None or std is None:
        own_mean, own_std = pixel_statistics(dataset.train)
        return (float(own_mean),), (own_std,)
    channels = dataset.image_shape[2]
    for name, values in (("--mean", mean), ("--std", std)):
        if len(values) not in (1, channels):
            raise ConfigError(
                f"{name}: {len(values)} values, and the images have {channels} channel(s); give one or one per channel."
            )
    width = max(len(mean), len(std))
    return mean * (width // len(mean)), std * (width // len(std))


def _hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    whole = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        whole.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        whole.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def plan_resume(
    folder: RunFolder,
    *,
    epochs: int | None = None,
    qat_epochs: int | None = None,
    device: str | None = None,
    data: str | None = None,
    world: World = ALONE,
) -> Plan:
    """Load a run's own configuration and data, to go on with it.

    Args:
        folder: the run.
        epochs: a new number of epochs, or None for the run's own. The learning rate then follows the new schedule
            from the epoch reached.
        qat_epochs: a new number of epochs in int8 arithmetic behind them, or None for the run's own.
        device: auto, cpu or cuda where it is not to be the run's own; the weights then differ by rounding.
        data: where the data is now, if it has moved.
        world: the processes that go on with it, as many as there may be.

    Raises:
        CheckpointError: the run is missing or damaged, or a process trains it.
        DataError: the data is not what it was.
        ConfigError: fewer epochs than are done, more in float once int8 arithmetic has begun, or no such device here.
    """
    folder = open_run(folder.path, world)
    check_free(folder.path / LOCK, folder.path, error=CheckpointError)
    info = folder.read_info()
    config = info.config
    optim = config.optim
    wanted = {"epochs": epochs, "qat_epochs": qat_epochs}
    optim = optim.model_copy(update={name: value for name, value in wanted.items() if value is not None})
    if optim != config.optim:
        check_epochs(folder, config.optim, optim)
        config = config.model_copy(update={"optim": optim})
    check_processes(world, config.optim, config.compute)
    chosen = world.place(pick_device(device or config.compute.device))
    config = config.model_copy(update={"compute": config.compute.model_copy(update={"device": chosen.type})})
    dataset = load_run_data(info, folder.path, data)
    if data is not None:
        config = config.model_copy(update={"data": config.data.model_copy(update={"source": data})})
    info = info.model_copy(update={"config": config})
    network = build_network(config.network)
    check_same(world, info)
    return Plan(folder, info, dataset, network, measure_costs(network), resumed=True, world=world)


def load_run_data(info: RunInfo, path: Path, data: str | None = None) -> Dataset:
    """Load the data a run was trained on.

    Args:
        info: the run.
        path: of the run, for messages.
        data: where the data is now, if it has moved.

    Raises:
        DataError: classes or a split are not what they were when training began.
    """
    config = info.config.data if data is None else info.config.data.model_copy(update={"source": data})
    dataset = load_dataset(config)
    if dataset.classes != info.classes:
        raise DataError(f"{config.source}: its classes have other names than when {path} was trained.")
    for name in ("train", "calibration", "test"):
        if hash_split(getattr(dataset, name)) != getattr(info, f"{name}_sha256"):
            raise DataError(
                f"{config.source}: the {name} images are not those that {path} was trained with; "
                "bring the old ones back (--data says where they are now), or train anew."
            )
    return dataset


def start_trainer(plan: Plan) -> tuple[Trainer, RunInfo, str]:
    """Make the trainer, settle the precision, then write ``run.json`` or take up the state.

    A run that is replaced stays until the new one has finished its first epoch.

    Returns:
        The trainer, the final configuration, and a few words on the precision.

    Raises:
        CheckpointError: the state of a run to be resumed does not fit, or the weights it began with are not in it.
    """
    folder, info = plan.folder, plan.info
    compute = info.config.compute
    trainer = Trainer(folder, info.config, plan.dataset, plan.world)
    reason = "as before"
    if plan.resumed:
        if folder.has_state():
            trainer.resume()
        elif info.config.start is not None:
            raise CheckpointError(
                f"{folder.path}: this run was stopped before it had taken over the weights of "
                f"{info.config.start.source}; train it anew with --overwrite."
            )
    else:
        precision, reason = choose_precision(
            compute.precision,
            trainer.device,
            trainer.probe_step(),
            plan.world,
            replayed=trainer.recorded is not None,
        )
        config = info.config.model_copy(update={"compute": compute.model_copy(update={"precision": precision})})
        info = info.model_copy(update={"config": config})
        trainer.use_precision(config)
        if plan.weights is not None and isinstance(trainer.network, MultiExitNetwork):
            load_single(trainer.network, plan.weights, name_classifier(info.config.network))
            trainer.restart_average()
    if info.config.optim.whiten and trainer.epoch == 0:  # a run that was stopped in its first epoch begins as it did
        whiten_first(trainer.network, plan.dataset.train, info.config.network.image_shape)
        trainer.restart_average()
    if not plan.resumed:
        folder = trainer.folder = folder.begin()
    folder.write_info(info)
    if not plan.resumed and plan.weights is not None:
        trainer.save_state()
    return trainer, info, reason


def prepare_folder(path: Path, *, overwrite: bool) -> None:
    """Check that a new run may go to ``path``.

    Raises:
        CheckpointError: something is there that may not be replaced, or a process trains there; nothing is touched.
    """
    check_free(path / LOCK, path, error=CheckpointError)
    if path.exists() and not path.is_dir():
        raise CheckpointError(f"{path}: a file is there; --out names another folder.")
    if not path.exists() or all(entry.name == LOCK or ".partial-" in entry.name for entry in path.iterdir()):
        return  # a process that was killed before it had begun leaves no more than these
    if not (path / "run.json").is_file():
        raise CheckpointError(f"{path}: this folder holds other things than a run; --out names another.")
    if not overwrite:
        raise CheckpointError(
            f"{path} is there already; --resume goes on with it, --overwrite replaces it, --out names another."
        )
