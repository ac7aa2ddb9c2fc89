"""Weights of a trained single-classifier network into the trunk and the last exit of a multi-exit one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from msd_edge.errors import ModelError
from msd_edge.models.imported import is_imported, load_pretrained
from msd_edge.models.network import MultiExitNetwork

PRETRAINED = "pretrained"

# Pieces of an imported network keep the names that the module had: trunk.2.0.layer3.0.conv1.weight.
_PIECE = re.compile(r"^(?:trunk\.\d+\.\d+|branches\.\d+\.(?:blocks\.\d+|pool))\.(.+)$")
_TRUNK = re.compile(r"^trunk\.(\d+)\.(\d+)\.(.+)$")


@dataclass(frozen=True)
class Weights:
    """Weights to start from.

    Attributes:
        tensors: by the names of the single-classifier network.
        source: where they are from, for messages and for the run.
        mean, std: the normalization that they were trained with, in pixels, where it is known.
    """

    tensors: Mapping[str, Tensor]
    source: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def read_weights(source: str, arch: str, classes: int, in_channels: int) -> Weights:
    """Read weights: a ``.safetensors`` file, or ``pretrained`` for the library's own.

    Raises:
        ModelError: they cannot be had; nothing but safetensors is opened, a pickle never.
    """
    if source == PRETRAINED:
        if not is_imported(arch):
            raise ModelError(f"--weights {PRETRAINED}: {arch} has none; timm's and torchvision's networks do.")
        module, mean, std = load_pretrained(arch, classes, in_channels)
        return Weights(module.state_dict(), f"{arch}, pretrained", mean, std)
    return Weights(_read_file(Path(source)), source)


def load_single(network: MultiExitNetwork, weights: Weights, classifier: str) -> None:
    """Copy the weights of a single-classifier network into the trunk and the last exit; branches keep their own.

    Copies of the trunk's blocks in the branches of an imported network start from the blocks' weights too. A classifier
    for another number of classes is left out.

    Args:
        network: built from the same network.
        weights: of it.
        classifier: name of the single network's last linear layer.

    Raises:
        ModelError: a tensor of the trunk is missing or has another shape; it is named.
    """
    own = network.state_dict()
    last = f"branches.{network.exits - 1}."
    found: dict[str, Tensor] = {}
    for name, value in own.items():
        given = _name_there(network, name, last, classifier)
        tensor = weights.tensors.get(given) if given else None
        fits = tensor is not None and tensor.shape == value.shape
        if fits and tensor is not None:
            found[name] = tensor
        elif name.startswith(("trunk.", f"{last}blocks.", f"{last}pool.")):
            what = "is missing" if tensor is None else f"is {list(tensor.shape)} there, {list(value.shape)} here"
            raise ModelError(f"--weights {weights.source}: {given} {what}; they are of another network.")
    network.load_state_dict(own | found)


def frozen_parts(network: MultiExitNetwork) -> tuple[nn.Module, ...]:
    """Return what ``--freeze-trunk`` leaves as it is: the trunk and the last exit."""
    return (*network.trunk, network.branches[-1])


def _name_there(network: MultiExitNetwork, name: str, last: str, classifier: str) -> str | None:
    """Return what the single-classifier network calls a tensor, None for one that it has not."""
    if name.startswith(f"{last}classifier."):
        return f"{classifier}.{name.rpartition('.')[2]}"
    if classifier == "branches.0.classifier":  # a network of ours with one exit
        if match := _TRUNK.match(name):
            piece, block = int(match[1]), int(match[2])
            before = sum(sum(1 for _ in part.children()) for part in list(network.trunk)[:piece])
            return f"trunk.0.{before + block}.{match[3]}"
        return f"branches.0.{name.removeprefix(last)}" if name.startswith(last) else None
    match = _PIECE.match(name)
    return match[1] if match else None


def _read_file(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(f"--weights {path}: there is no such file.")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as problem:
        raise ModelError(
            f"--weights {path}: no safetensors file ({problem}); convert a .pth with safetensors.torch.save_file."
        ) from None
