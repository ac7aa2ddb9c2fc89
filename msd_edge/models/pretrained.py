"""Weights of a trained single-classifier network into the trunk and the last exit of a multi-exit one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from msd_edge.errors import ModelError
from msd_edge.models.imported import is_imported, load_module, load_pretrained
from msd_edge.models.network import Branch, MultiExitNetwork

PRETRAINED = "pretrained"

# Pieces of an imported network keep the names that the module had: trunk.2.0.layer3.0.conv1.weight.
_PIECE = re.compile(r"^(?:trunk\.\d+\.\d+|branches\.\d+\.(?:blocks\.\d+|pool))\.(.+)$")
_COUNTER = ".num_batches_tracked"  # of BatchNorm; files of other makers leave it out
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

    Args:
        source: of the two.
        arch: the network that they are for.
        classes: number of classes.
        in_channels: of the image.

    Raises:
        ModelError: they cannot be had, or the network has no tensor of such a name; nothing but safetensors is opened,
            a pickle never.
    """
    if source == PRETRAINED:
        if not is_imported(arch):
            raise ModelError(f"--weights {PRETRAINED}: {arch} has none; timm's and torchvision's networks do.")
        module, mean, std = load_pretrained(arch, classes, in_channels)
        return Weights(module.state_dict(), f"{arch}, pretrained", mean, std)
    tensors = _read_file(Path(source))
    if is_imported(arch):
        known = load_module(arch, classes, in_channels).state_dict()
        strange = [name for name in tensors if name not in known]
        if strange:
            more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
            raise ModelError(
                f"--weights {source}: {arch} has no {strange[0]}{more}; they are of another network, or their names are"
                " not those of its state_dict()."
            )
    return Weights(tensors, source)


def load_single(network: MultiExitNetwork, weights: Weights, classifier: str) -> bool:
    """Copy the weights of a single-classifier network into the trunk and the last exit; branches keep their own.

    Copies of the trunk's blocks in the branches of an imported network start from the blocks' weights too. A classifier
    for another number of classes is left out.

    Args:
        network: built from the same network.
        weights: of it.
        classifier: name of the single network's last linear layer.

    Returns:
        Whether the last exit's classifier came along; if not, it is as it was.

    Raises:
        ModelError: a tensor of the trunk is missing, has another shape or whole numbers; it is named.
    """
    own = network.state_dict()
    last = f"branches.{network.exits - 1}."
    found: dict[str, Tensor] = {}
    for name, value in own.items():
        given = _name_there(network, name, last, classifier)
        tensor = weights.tensors.get(given) if given else None
        if tensor is not None and tensor.shape == value.shape and _is_as_exact(tensor, value):
            found[name] = tensor
        elif name.startswith(("trunk.", f"{last}blocks.", f"{last}pool.")) and not name.endswith(_COUNTER):
            what = "is missing" if tensor is None else f"is {_describe(tensor)} there, {_describe(value)} here"
            raise ModelError(f"--weights {weights.source}: {given} {what}; they are of another network.")
    network.load_state_dict(own | found)
    return {f"{last}classifier.weight", f"{last}classifier.bias"} <= found.keys()


def frozen_parts(network: MultiExitNetwork, *, new_classifier: bool = False) -> tuple[nn.Module, ...]:
    """Return what ``--freeze-trunk`` leaves as it is: the trunk and the last exit, without a classifier that is new."""
    last = network.branches[-1]
    assert isinstance(last, Branch)
    return (*network.trunk, *((last.blocks, last.pool) if new_classifier else (last,)))


def _is_as_exact(given: Tensor, own: Tensor) -> bool:
    """Tell whether whole numbers do not stand for fractions."""
    return given.is_floating_point() or not own.is_floating_point()


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


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
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as problem:
        raise ModelError(
            f"--weights {path}: no safetensors file ({problem}); convert a .pth with safetensors.torch.save_file."
        ) from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise ModelError(f"--weights {path}: {name} holds values that are no numbers.")
    return tensors
