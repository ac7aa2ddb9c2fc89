"""Sampling-based branch augmentation (Luan et al. 2019, arXiv 1911.09418): where exits leave, what branches hold."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from msd_edge.bundle.choices import suggest
from msd_edge.errors import ModelError
from msd_edge.models.blocks import separable_pair
from msd_edge.models.choices import BranchKind
from msd_edge.models.cost import Shape, trace_cost
from msd_edge.models.network import BackboneSpec, BlockSpec, Branch, GlobalPool, MultiExitNetwork, Normalize

_WIDTH_STEP = 8
_SHARE = re.compile(r"0?\.\d+")


@dataclass(frozen=True)
class BranchMaker:
    """How branches are made.

    Attributes:
        kind: sampled: copies of the trunk's blocks (the paper's). separable: for each of these, two depthwise-separable
            convolutions of the same stride, at a fraction of the cost. pooled: nothing but pooling and the classifier.
        interval: of sampling; None takes one block a stage.
        width: of separable blocks, as a factor of the sampled ones'.
    """

    kind: BranchKind = "sampled"
    interval: int | None = None
    width: float = 1.0

    def __post_init__(self) -> None:
        if self.interval is not None and self.interval < 1:
            raise ModelError(f"--branch-interval {self.interval}: at least 1.")
        if self.interval is not None and self.kind == "pooled":
            raise ModelError("--branch-interval: pooled branches have no blocks to choose.")
        if self.width != 1 and self.kind != "separable":
            raise ModelError(
                f"--branch-width {self.width:g}: {self.kind} branches have the trunk's widths; --branch separable."
            )

    def make(self, spec: BackboneSpec, place: "Place", classes: int) -> Branch:
        """Return the branch that leaves at ``place``."""
        channels = (spec.stages[place.stage - 1][place.block - 1] if place.stage else spec.stem).out_channels
        if self.kind == "pooled":
            return Branch(nn.Sequential(), GlobalPool(), channels, classes)
        blocks = sample_branch(spec, place, self.interval)
        if self.kind == "separable":
            blocks = self._separate(blocks, channels)
        if blocks:
            channels = blocks[-1].out_channels
        made = nn.Sequential(*(block.build() for block in blocks))
        return Branch(made, spec.head(channels), spec.feature_width(channels), classes)

    def _separate(self, blocks: Sequence[BlockSpec], channels: int) -> tuple[BlockSpec, ...]:
        found = []
        for block in blocks:
            width = block.out_channels
            if self.width != 1:
                width = max(_WIDTH_STEP, round(width * self.width / _WIDTH_STEP) * _WIDTH_STEP)
            build = partial(separable_pair, channels, width, block.stride)
            found.append(BlockSpec(build, channels, width, block.stride))
            channels = width
        return tuple(found)


@dataclass(frozen=True, order=True)
class Place:
    """Where an exit leaves: after ``block`` (1-based) of ``stage`` (1-based); stage 0 is the stem."""

    stage: int
    block: int

    def __str__(self) -> str:
        return f"{self.stage}:{self.block}" if self.stage else "stem"


def all_places(spec: BackboneSpec) -> tuple[Place, ...]:
    """Return every place where an exit can leave, the last being the network's own head."""
    stages = enumerate(spec.stages, 1)
    return (Place(0, 0), *(Place(s, b) for s, blocks in stages for b in range(1, len(blocks) + 1)))


def spread_places(spec: BackboneSpec, exits: int) -> tuple[Place, ...]:
    """Choose places for ``exits`` exits, the last included.

    Up to as many as there are stages they leave at ends of stages, evenly; one more takes the stem; beyond that they
    spread evenly from the stem over all blocks.

    Raises:
        ModelError: fewer than one, or more than there are places.
    """
    places = all_places(spec)
    stages = len(spec.stages)
    if not 1 <= exits <= len(places):
        raise ModelError(f"--exits {exits}: {spec.name} has room for 1 to {len(places)} exits.")
    ends = [Place(s, len(blocks)) for s, blocks in enumerate(spec.stages, 1)]
    if exits <= stages:
        return tuple(ends[max(1, i * stages // exits) - 1] for i in range(1, exits + 1))
    if exits == stages + 1:
        return (Place(0, 0), *ends)
    last = len(places) - 1
    return tuple(places[round(last * i / (exits - 1))] for i in range(exits))


def parse_places(spec: BackboneSpec, text: str, image_shape: Shape) -> tuple[Place, ...]:
    """Read ``--exits-at``: commas between ``stage:block``, ``stem``, names of blocks, or shares of the trunk's MACs.

    A share is a number such as ``0.4``. The network's own head is always the last exit and is not named.

    Raises:
        ModelError: a place cannot be read, does not exist, comes twice or out of order, or the images are too small.
    """
    try:
        shares = mac_shares(spec, image_shape)
    except RuntimeError as problem:
        raise ModelError(f"{spec.name} does not run on images {image_shape}: {problem}.") from None
    return _read_places(spec, [part.strip() for part in text.split(",")], shares)


def check_places(spec: BackboneSpec, text: str) -> None:
    """Raise where ``--exits-at`` cannot be right, whatever the images are; shares, which hang on them, are passed over.

    Raises:
        ModelError: a place cannot be read, does not exist, or comes twice or out of order.
    """
    parts = [part.strip() for part in text.split(",")]
    _read_places(spec, [part for part in parts if not _SHARE.fullmatch(part)], ())


def _read_places(spec: BackboneSpec, parts: Sequence[str], shares: Sequence[float]) -> tuple[Place, ...]:
    known = all_places(spec)
    found: list[Place] = []
    for part in parts:
        place = _parse_place(spec, part, known, shares)
        if place == known[-1]:
            raise ModelError(f"--exits-at {part}: that is the network's own last exit, which is always there.")
        if found and place <= found[-1]:
            raise ModelError(
                f"--exits-at {part}: exits go from early to late, each place once ({found[-1]} came before)."
            )
        found.append(place)
    return (*found, known[-1])


def _parse_place(spec: BackboneSpec, part: str, known: Sequence[Place], shares: Sequence[float]) -> Place:
    if part == "stem":
        return known[0]
    if match := re.fullmatch(r"(\d+):(\d+)", part):
        place = Place(int(match[1]), int(match[2]))
        if place not in known or place.stage == 0:
            depth = ", ".join(f"{s}:1-{len(blocks)}" for s, blocks in enumerate(spec.stages, 1))
            raise ModelError(f"--exits-at {part}: {spec.name} has no such block (it has stem, {depth}).")
        return place
    if _SHARE.fullmatch(part):
        share = float(part)
        nearest = min(range(len(known) - 1), key=lambda i: abs(shares[i] - share))
        return known[nearest]
    if spec.names:
        inside = [place for name, place in spec.names.items() if name == part or name.startswith(f"{part}.")]
        if inside:
            return Place(*max(inside))
        raise ModelError(
            f"--exits-at {part}: {spec.name} has no block of this name{suggest(part, spec.names) or '.'} "
            f"It has {', '.join(spec.names)}."
        )
    raise ModelError(f"--exits-at {part}: a place is stage:block (2:1), stem, or a share of the trunk's MACs (0.4).")


def mac_shares(spec: BackboneSpec, image_shape: Shape) -> tuple[float, ...]:
    """Return the share of the trunk's MACs spent by each of ``all_places``, the last being 1."""
    costs = []
    shape: Shape = image_shape
    for block in (spec.stem, *(b for stage in spec.stages for b in stage)):
        cost = trace_cost(block.build(), shape)
        costs.append(cost.macs)
        shape = cost.shapes[-1]
    total = sum(costs)
    return tuple(sum(costs[: i + 1]) / total for i in range(len(costs)))


def sample_branch(spec: BackboneSpec, place: Place, interval: int | None) -> tuple[BlockSpec, ...]:
    """Choose the blocks of the branch that leaves at ``place``.

    From each stage that remains, the blocks 1, 1 + interval, 1 + 2·interval, … are taken, each as a fresh copy with its
    stride and width; by default (None) the interval is the stage's length, which takes the down-sampling block alone.
    Inside the stage it leaves from, counting goes on from its own block. Where widths grow inside a stage, a block is
    built between the widths at both ends of the run it stands for. Nothing is shared with the trunk.
    """
    chosen: list[BlockSpec] = []
    channels = (spec.stages[place.stage - 1][place.block - 1] if place.stage else spec.stem).out_channels
    for number, blocks in enumerate(spec.stages, 1):
        if number < place.stage:
            continue
        step = interval or len(blocks)
        first = place.block - 1 + step if number == place.stage else 0
        for start in range(first, len(blocks), step):
            chosen.append(_stand_for(blocks[start : start + step], channels))
            channels = chosen[-1].out_channels
    return tuple(chosen)


def _stand_for(run: Sequence[BlockSpec], channels: int) -> BlockSpec:
    """Return the first block of a run, between the widths ``channels`` and that of the run's end."""
    first, out_channels = run[0], run[-1].out_channels
    if first.between is None or (first.in_channels, first.out_channels) == (channels, out_channels):
        return first
    return BlockSpec(
        partial(first.between, channels, out_channels), channels, out_channels, first.stride, first.between
    )


def augment_backbone(
    spec: BackboneSpec,
    places: Sequence[Place],
    classes: int,
    normalize: Normalize,
    image_shape: tuple[int, int, int],
    make: BranchMaker,
) -> MultiExitNetwork:
    """Turn a single-classifier backbone into a multi-exit network.

    Args:
        spec: the backbone.
        places: of the exits, early to late, the last being the network's own head.
        classes: number of classes.
        normalize: raw pixels to the trunk's input.
        image_shape: (channels, height, width).
        make: how branches are made.
    """
    ordered = [(Place(0, 0), spec.stem)]
    ordered += [(Place(s, b), block) for s, blocks in enumerate(spec.stages, 1) for b, block in enumerate(blocks, 1)]
    trunk: list[nn.Module] = []
    branches: list[Branch] = []
    piece: list[nn.Module] = []
    head = BranchMaker()
    for place, block in ordered:
        piece.append(block.build())
        if place not in places:
            continue
        trunk.append(nn.Sequential(*piece))
        piece = []
        branches.append((head if place == places[-1] else make).make(spec, place, classes))
    return MultiExitNetwork(normalize, trunk, branches, [str(p) for p in places], image_shape)
