"""What can be known to fail before training begins."""

import contextlib
import io

import torch

from msd_edge.data.config import DataConfig
from msd_edge.errors import ConfigError, DataError
from msd_edge.models.build import NetworkConfig
from msd_edge.models.network import MultiExitNetwork
from msd_edge.training.config import ComputeConfig, OptimConfig, RunInfo
from msd_edge.training.distributed import World
from msd_edge.training.run import RunFolder
from msd_edge.training.schedule import freezing_epochs, image_sides
from msd_edge.training.whitening import first_convolutions, patch_sides


def check_scale(built: MultiExitNetwork, network: NetworkConfig, optim: OptimConfig) -> None:
    """Raise where there is no time for small images, or the network does not run on those that it would begin with.

    Raises:
        ConfigError: so it is.
    """
    scale = optim.initial_scale
    if scale == 1:
        return
    channels, *whole = network.image_shape
    height, width = image_sides((whole[0], whole[1]), scale, 0, optim.epochs)
    if [height, width] == whole:
        raise ConfigError(
            f"--initial-scale {scale:g}: with --epochs {optim.epochs} all images would be whole (sides grow by "
            "eighths); take a smaller share or more epochs, or leave it out."
        )
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # torch.fx prints the code of what fails in it
            built(torch.zeros(2, channels, height, width))
    except Exception:  # noqa: BLE001  the forward may be the user's code
        raise ConfigError(
            f"--initial-scale {scale:g}: {network.arch} does not run on images of {height}x{width} pixels; "
            "take a larger share, or leave it out."
        ) from None


def check_freezing(built: MultiExitNetwork, optim: OptimConfig, *, shared: bool) -> None:
    """Raise where no piece of the trunk would be frozen early.

    Args:
        built: the network.
        optim: how it is trained.
        shared: whether its exits share one trunk in training.

    Raises:
        ConfigError: so it is.
    """
    share = optim.freeze_early
    if share == 1:
        return
    option = f"--freeze-early {share:g}"
    if not shared:
        raise ConfigError(f"{option}: --method single trains a network for each exit; there is no trunk to freeze.")
    if optim.freeze_trunk:
        raise ConfigError(f"{option}: --freeze-trunk freezes the whole trunk from the start; give one of them.")
    if built.exits == 1:
        raise ConfigError(f"{option}: the trunk is frozen in pieces, exit by exit, and here is one exit; leave it out.")
    if freezing_epochs(built.exits, share, optim.epochs)[0] == optim.epochs:
        raise ConfigError(
            f"{option}: with --epochs {optim.epochs} nothing would be frozen; take a smaller share or more epochs, "
            "or leave it out."
        )


def check_whitening(built: MultiExitNetwork, network: NetworkConfig, optim: OptimConfig, weights: str | None) -> None:
    """Raise where there is no first layer to begin with whitening.

    Raises:
        ConfigError: so it is.
    """
    if not optim.whiten:
        return
    if weights is not None:
        raise ConfigError("--whiten gives the first layer its weights, --weights does too; give one of them.")
    found = first_convolutions(built, network.image_shape)
    if not found:
        raise ConfigError(f"--whiten: no convolution of {network.arch} sees the images themselves; leave it out.")
    _, height, width = network.image_shape
    for convolution in found:
        if "weight" not in dict(convolution.named_parameters(recurse=False)):  # weight normalization, say
            raise ConfigError(
                f"--whiten: the weights of the first layer of {network.arch} are computed from others; leave it out."
            )
        tall, wide = patch_sides(convolution)
        if tall > height or wide > width:
            raise ConfigError(
                f"--whiten: the first layer of {network.arch} sees patches of {tall}x{wide} pixels, and the images "
                f"have {height}x{width}; leave it out."
            )
        if convolution.out_channels < 2:
            raise ConfigError(
                f"--whiten: filters that whiten come in pairs, and the first layer of {network.arch} has one; "
                "leave it out."
            )


def check_processes(world: World, optim: OptimConfig, compute: ComputeConfig) -> None:
    """Raise where several processes cannot do as asked.

    Raises:
        ConfigError: they cannot.
    """
    if world.size == 1:
        return
    world.check_batch(optim.batch_size)
    if compute.compile:
        raise ConfigError("--compile is for one process; leave it out.")


def check_same(world: World, info: RunInfo) -> None:
    """Wait until all processes have read the data, and raise where they would not train the same run.

    Raises:
        DataError: their images differ.
        ConfigError: something else does.
    """
    world.wait()
    config = info.config.model_copy(update={"data": DataConfig(), "start": None})
    found = world.find_difference(
        {f"the {name} images": getattr(info, f"{name}_sha256") for name in ("train", "calibration", "test")}
    )
    if found is not None:
        raise DataError(
            f"{found[0]} of process {found[1]} are not those of process 0; the same data must be on every host."
        )
    start = "" if info.config.start is None else info.config.start.sha256
    found = world.find_difference(
        {"the weights to start from": start}
        | {f"the version of {name}": version for name, version in info.versions.items()}
        | {f"the run's {name}": value for name, value in config.model_dump(mode="json").items()}
    )
    if found is not None:
        name, rank, other, first = found
        raise ConfigError(
            f"{name}: process {rank} has {other} and process 0 {first}; all must have the same ones to train together."
        )


def check_epochs(folder: RunFolder, before: OptimConfig, now: OptimConfig) -> None:
    """Raise if a run cannot go on with a new number of epochs.

    Raises:
        ConfigError: more are trained already, or float ones would be added behind those in int8 arithmetic.
    """
    done = len(folder.read_metrics())
    quantized = max(0, done - before.epochs)
    if quantized and now.epochs != before.epochs:
        epochs = f"{quantized} epoch{'s' if quantized != 1 else ''}"
        raise ConfigError(
            f"--epochs {now.epochs}: {folder.path} has trained {epochs} in int8 "
            f"arithmetic behind its {before.epochs}; --qat-epochs gives it more of these."
        )
    for option, wanted, trained in (
        ("--epochs", now.epochs, min(done, before.epochs)),
        ("--qat-epochs", now.qat_epochs, quantized),
    ):
        if wanted < trained:
            epochs = f"{trained} epoch{'s' if trained != 1 else ''}"
            raise ConfigError(f"{option} {wanted}: {folder.path} has trained {epochs} already.")
