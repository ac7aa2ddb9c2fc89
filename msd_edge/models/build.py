"""Builds networks by name, and says what they cost."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from msd_edge.errors import ModelError
from msd_edge.models.branches import BranchKind, BranchMaker, augment_backbone, parse_places, spread_places
from msd_edge.models.cost import count_parameters, trace_cost
from msd_edge.models.families import check_arch, describe_arch
from msd_edge.models.network import BackboneSpec, Branch, MultiExitNetwork, Normalize
from msd_edge.typed import Model


class NetworkConfig(Model):
    """All that is needed to build a network again.

    Attributes:
        arch: its name (``resnet20``).
        width: channels of the first stage; None for the family's own.
        exits: how many, the last included.
        exits_at: where (``parse_places``); it then settles how many.
        branch: what branches are made of (``BranchKind``).
        branch_interval: sampling interval of the branches; None takes one block a stage.
        classes: number of classes.
        image_shape: (channels, height, width).
        mean, std: normalization in pixel units, one value or one per channel.
    """

    arch: str = "resnet20"
    width: Annotated[int, Field(ge=1, le=4096)] | None = None
    exits: Annotated[int, Field(ge=1)] = 3
    exits_at: str | None = None
    branch: BranchKind = "sampled"
    branch_interval: Annotated[int, Field(ge=1)] | None = None
    classes: Annotated[int, Field(ge=2)]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]


@dataclass(frozen=True)
class ExitCost:
    """What an exit costs: ``macs`` stand-alone, ``chain_macs`` with every branch passed before, ``parameters``."""

    place: str
    macs: int
    chain_macs: int
    parameters: int


def describe_backbone(config: NetworkConfig) -> BackboneSpec:
    """Describe the backbone that a configuration names.

    Raises:
        ModelError: there is no such network.
    """
    check_arch(config.arch)
    channels, height, width = config.image_shape
    return describe_arch(config.arch, config.width, channels, min(height, width))


def build_network(config: NetworkConfig) -> MultiExitNetwork:
    """Build a multi-exit network with fresh weights.

    Raises:
        ModelError: the network or a place does not exist.
    """
    spec = describe_backbone(config)
    if config.exits_at is not None:
        places = parse_places(spec, config.exits_at, config.image_shape)
    else:
        places = spread_places(spec, config.exits)
    make = BranchMaker(config.branch, config.branch_interval)
    network = augment_backbone(
        spec, places, config.classes, Normalize(config.mean, config.std), config.image_shape, make
    )
    initialise(network)
    return network


class SeparateExits(nn.Module):
    """Every exit's path as a network of its own: the honest lower bound that multi-exit training is held against.

    It has the face of ``MultiExitNetwork``, yet nothing is shared, so there is nothing to cut into a cascade.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.paths = nn.ModuleList()
        count = build_network(config).exits
        for index in range(count):
            network = build_network(config)
            last = network.branches[index]
            assert isinstance(last, Branch)
            trunk = nn.Sequential(*list(network.trunk)[: index + 1])
            place = network.places[index]
            self.paths.append(MultiExitNetwork(network.normalize, [trunk], [last], [place], network.image_shape))
        self.places = network.places
        self.image_shape = config.image_shape

    @property
    def exits(self) -> int:
        """The number of exits."""
        return len(self.paths)

    def forward_features(self, images: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return logits (batch, classes) and pooled features (batch, features) of every path."""
        pairs = []
        for path in self.paths:
            assert isinstance(path, MultiExitNetwork)
            logits, features = path.forward_features(images)
            pairs.append((logits[0], features[0]))
        return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (batch, classes) of every path for raw pixel values 0..255, NCHW."""
        return self.forward_features(images)[0]


def initialise(network: nn.Module) -> None:
    """Draw fresh weights: He normal for convolutions (fan out), as the ResNet authors' code does."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def measure_costs(network: MultiExitNetwork) -> tuple[ExitCost, ...]:
    """Return what each exit costs, for one image of the network's size."""
    costs = []
    shape: tuple[int, ...] = network.image_shape
    trunk_macs = passed = 0
    modules: list[nn.Module] = []
    for place, piece, branch in zip(network.places, network.trunk, network.branches, strict=True):
        macs, shape = trace_cost(piece, shape)
        trunk_macs += macs
        modules.append(piece)
        own, _ = trace_cost(branch, shape)
        costs.append(ExitCost(place, trunk_macs + own, trunk_macs + own + passed, count_parameters(*modules, branch)))
        passed += own
    return tuple(costs)


@torch.no_grad()
def probe(network: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Run two black images through the network, so that what cannot run fails here and not after an hour.

    Raises:
        ModelError: it does not run.
    """
    try:
        network(torch.zeros(2, *image_shape))
    except RuntimeError as problem:
        raise ModelError(f"this network does not run on images {image_shape}: {problem}.") from None
