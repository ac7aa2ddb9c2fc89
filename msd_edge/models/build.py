"""Builds networks by name, and says what they cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from msd_edge.bundle.choices import closest
from msd_edge.bundle.reader import explain
from msd_edge.errors import ModelError
from msd_edge.models import msdnet
from msd_edge.models.archs import check_arch
from msd_edge.models.branches import (
    BranchMaker,
    augment_backbone,
    check_places,
    parse_places,
    spread_places,
)
from msd_edge.models.choices import BranchKind
from msd_edge.models.cost import count_needed_parameters, needed, recording
from msd_edge.models.families import describe_arch
from msd_edge.models.imported import describe_imported, is_imported
from msd_edge.models.network import BackboneSpec, Branch, MultiExitNetwork, Normalize, Stack, State, advance
from msd_edge.models.pretrained import Weights, load_single
from msd_edge.models.traced import trace_module
from msd_edge.typed import Model

ArchOption = bool | int | float | str | tuple[int, ...]


class NetworkConfig(Model):
    """All that is needed to build a network again.

    Attributes:
        arch: its name (``resnet20``).
        width: channels of the first stage; None for the family's own.
        exits: how many, the last included.
        exits_at: where (``parse_places``); it then settles how many.
        arch_options: settings of the network itself, such as MSDNet's ``growth``.
        branch: what branches are made of (``BranchKind``).
        branch_width: of separable branches, as a factor of the sampled ones'.
        branch_interval: sampling interval of the branches; None takes one block a stage.
        classes: number of classes.
        image_shape: (channels, height, width).
        mean, std: normalization in pixel units, one value or one per channel.
    """

    arch: str = "resnet20"
    width: Annotated[int, Field(ge=1, le=4096)] | None = None
    arch_options: dict[str, ArchOption] = Field(default_factory=dict)
    exits: Annotated[int, Field(ge=1)] = 3
    exits_at: str | None = None
    branch: BranchKind = "sampled"
    branch_width: Annotated[float, Field(gt=0, le=8)] = 1.0
    branch_interval: Annotated[int, Field(ge=1)] | None = None
    classes: Annotated[int, Field(ge=2)]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]


@dataclass(frozen=True)
class ExitCost:
    """What an exit costs for one image.

    Attributes:
        place: where it leaves.
        macs: multiply-accumulates, stand-alone.
        chain_macs: of all segments up to here, with every branch passed before.
        branch_macs: of its own branch.
        parameters: stand-alone.
        activations: values that convolutions and linear layers give, stand-alone.
        handed: values handed on to the next segment; 0 for the last.
    """

    place: str
    macs: int
    chain_macs: int
    branch_macs: int
    parameters: int
    activations: int
    handed: int


def add_exits(
    module: nn.Module,
    at: Sequence[str],
    *,
    classes: int,
    image_shape: tuple[int, int, int],
    mean: Sequence[float] = (127.5,),
    std: Sequence[float] = (127.5,),
    branch: BranchKind = "sampled",
) -> MultiExitNetwork:
    """Give a single-classifier CNN exits; its weights come along, the branches' copies of its blocks start from them.

    Args:
        module: takes images (batch, channels, H, W), returns logits (batch, classes); it is copied, not changed.
        at: where exits leave, early to late: names of blocks (``layer1``), ``stage:block``, shares of the MACs. The
            module's own head is the last exit and is not named.
        classes: number of classes; the last exit keeps the module's classifier if it has as many.
        image_shape: (channels, height, width).
        mean, std: normalization in pixels, one value or one per channel; what the module takes is (pixel - mean) / std.
        branch: what branches are made of.

    Raises:
        ModelError: the module cannot be cut, a place does not exist, or something that it does in training alone would
            be lost; the part that is why is named.
    """
    traced = trace_module(module, image_shape, type(module).__name__)
    if traced.spec.lost:
        raise ModelError(traced.spec.lost)
    places = parse_places(traced.spec, ",".join(at), image_shape)
    normalize = Normalize(mean, std)
    network = augment_backbone(traced.spec, places, classes, normalize, image_shape, BranchMaker(branch))
    load_single(network, Weights(module.state_dict(), type(module).__name__), traced.classifier)
    return network


def name_classifier(config: NetworkConfig) -> str:
    """Return what the single-classifier form of a network calls its last linear layer."""
    if is_imported(config.arch):
        return describe_imported(config.arch, config.classes, config.image_shape).classifier
    return "branches.0.classifier"


def build_network(config: NetworkConfig) -> MultiExitNetwork:
    """Build a multi-exit network with fresh weights.

    Raises:
        ModelError: the network or a place does not exist.
    """
    make = _check_settings(config)
    normalize = Normalize(config.mean, config.std)
    if config.arch == msdnet.ARCH:
        network = msdnet.build_msdnet(
            _read_options(config), config.exits, config.classes, normalize, config.image_shape
        )
        initialise(network)
        return network
    spec = describe_backbone(config)
    if config.exits_at is not None:
        places = parse_places(spec, config.exits_at, config.image_shape)
    else:
        places = spread_places(spec, config.exits)
    network = augment_backbone(spec, places, config.classes, normalize, config.image_shape, make)
    network.lost = spec.lost
    if not is_imported(config.arch):
        initialise(network)
    return network


def check_network(config: NetworkConfig) -> None:
    """Check what can be checked of a network without its images: its name, its settings, where its exits leave.

    Classes, image's shape and normalization may be any. Shares of MACs hang on the images, and a network from elsewhere
    is not built for this: both are passed over.

    Raises:
        ModelError: the network, a setting or a place does not exist.
    """
    _check_settings(config)
    if config.arch == msdnet.ARCH or is_imported(config.arch):
        return
    spec = describe_arch(config.arch, config.width, 3, 224)
    if config.exits_at is None:
        spread_places(spec, config.exits)
    else:
        check_places(spec, config.exits_at)


def _check_settings(config: NetworkConfig) -> BranchMaker:
    """Return what makes the branches, once the settings are known to fit the network.

    Raises:
        ModelError: there is no such network, or a setting is not one of it.
    """
    check_arch(config.arch)
    if config.arch == msdnet.ARCH:
        _read_options(config)
        return BranchMaker()
    if is_imported(config.arch) and config.width is not None:
        raise ModelError(f"--width: {config.arch} has its own widths.")
    if config.arch_options:
        raise ModelError(f"--arch-option {next(iter(config.arch_options))}: {config.arch} has no such setting.")
    return BranchMaker(config.branch, config.branch_interval, config.branch_width)


def describe_backbone(config: NetworkConfig) -> BackboneSpec:
    """Return the backbone of a network that is built from one; MSDNet is not. Settings are not checked.

    Raises:
        ModelError: it does not exist.
    """
    if is_imported(config.arch):
        return describe_imported(config.arch, config.classes, config.image_shape).spec
    channels, height, width = config.image_shape
    return describe_arch(config.arch, config.width, channels, min(height, width))


def _read_options(config: NetworkConfig) -> msdnet.MsdnetOptions:
    """Return MSDNet's settings, and refuse those that are other networks'.

    Raises:
        ModelError: a setting is unknown, out of range, or not one of this network.
    """
    others = {"--exits-at": config.exits_at, "--width": config.width, "--branch-interval": config.branch_interval}
    for name, value in others.items():
        if value is not None:
            raise ModelError(f"{name}: {config.arch} has classifiers of its own, one a block; --exits says how many.")
    if config.branch != "sampled" or config.branch_width != 1:
        raise ModelError(f"--branch, --branch-width: {config.arch} has classifiers of its own.")
    for name in config.arch_options:
        if name not in msdnet.MsdnetOptions.model_fields:
            hint = closest(name, msdnet.MsdnetOptions.model_fields)
            raise ModelError(f"--arch-option {name}: {config.arch} has no such setting{hint}.")
    try:
        return msdnet.MsdnetOptions.model_validate(config.arch_options)
    except ValidationError as problem:
        raise ModelError(f"--arch-option: {config.arch}: {explain(problem)}.") from None


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
            trunk = Stack(*list(network.trunk)[: index + 1])
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
    """Return what each exit costs, for one image of the network's size.

    Layers that an exit does not depend on are not in its file and do not count: what MSDNet's last layer before an exit
    makes of finer scales, say, counts in the chain, where the next segment takes it, and not for the exit alone.
    """
    device = next(network.parameters()).device
    costs = []
    given: list[Tensor] = []
    with recording(network) as runs, torch.enable_grad():
        state: State = (network.normalize(torch.zeros(1, *network.image_shape, device=device, requires_grad=True)),)
        for index, (piece, branch) in enumerate(zip(network.trunk, network.branches, strict=True), 1):
            state = advance(piece, state)
            before = len(runs)
            logits = branch(state[-1])
            given.append(logits)
            last = index == network.exits
            alone = needed(runs, [logits])
            chain = needed(runs, given if last else [*given, *state])
            costs.append(
                ExitCost(
                    place=network.places[index - 1],
                    macs=sum(run.macs for run in alone),
                    chain_macs=sum(run.macs for run in chain),
                    branch_macs=sum(run.macs for run in runs[before:]),
                    parameters=count_needed_parameters([*network.trunk[:index], branch], runs, alone),
                    activations=sum(run.values for run in alone),
                    handed=0 if last else sum(math.prod(x.shape[1:]) for x in state),
                )
            )
    return tuple(costs)


@torch.no_grad()
def probe(network: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Run two black images through a network that is to be trained, so that what is wrong shows now, not in an hour.

    Raises:
        ModelError: it does not run, or something that the original does in training would be lost.
    """
    if isinstance(network, MultiExitNetwork) and network.lost:
        raise ModelError(network.lost)
    try:
        network(torch.zeros(2, *image_shape))
    except RuntimeError as problem:
        raise ModelError(f"this network does not run on images {image_shape}: {problem}.") from None
