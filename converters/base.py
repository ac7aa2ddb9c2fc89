"""What every converter gives: files in memory, and one face for all targets.

A converter *prepares* a network once (the slow part: torch to the target's float graph) and makes every precision from
that, so that asking again, with some layers kept in float, costs seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from msd_edge.bundle.manifest import Precision, Target, TensorSpec
from msd_edge.data.dataset import Images
from msd_edge.models.network import MultiExitNetwork


def ignore(_: str) -> None:
    """Take a progress line and drop it."""


@dataclass(frozen=True)
class ConvertedFile:
    """One file in memory.

    Attributes:
        data: what goes to the disk.
        operators: how many operators of each type it holds.
        inputs: what it takes; ``name`` is what binds at run time.
        logits: its exit's logits (1, classes).
        features: what it hands on; empty for the last segment and for stand-alone exits.
    """

    data: bytes
    operators: dict[str, int]
    inputs: tuple[TensorSpec, ...]
    logits: TensorSpec
    features: tuple[TensorSpec, ...] = ()


@dataclass(frozen=True)
class ConvertedVariant:
    """All files of one target and precision, in memory.

    Attributes:
        target: what they run on.
        precision: of weights and activations.
        segments: the chain, in order.
        exits: each exit alone, in order.
        multi_signature: one file with every segment and exit, sharing weights (TFLite only).
        multi_operators: its operators by type.
        signatures: its signatures, ``segment_1``.. then ``exit_1``..
        float_layers: layers kept in float in an int8 variant, as ``Prepared.layers`` names them.
    """

    target: Target
    precision: Precision
    segments: tuple[ConvertedFile, ...]
    exits: tuple[ConvertedFile, ...]
    multi_signature: bytes | None = None
    multi_operators: dict[str, int] = field(default_factory=dict)
    signatures: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()


class Prepared(Protocol):
    """A network converted to float once, from which every precision is made.

    Attributes:
        target: what it was converted for.
    """

    target: Target

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of layers that can be kept in float, ``segment-2/<operator or node name>``."""
        ...

    def variant(
        self,
        precision: Precision,
        activations: Images | None,
        keep_float: frozenset[str] = frozenset(),
        step: Callable[[str], None] = ignore,
    ) -> ConvertedVariant:
        """Make all files of one precision.

        Args:
            precision: of weights and activations.
            activations: raw training images (images, H, W, C) that activation ranges are taken from; int8 needs them.
            keep_float: names from ``layers`` that stay in float in an int8 variant.
            step: told one line before each piece of work ("segment 2 of 3 → int8").

        Raises:
            ExportError: the conversion failed, or the result is not what was asked.
        """
        ...


class Converter(Protocol):
    """Converts multi-exit networks to one target."""

    target: Target

    def prepare(self, network: MultiExitNetwork, step: Callable[[str], None]) -> Prepared:
        """Convert every segment to the target's float graph.

        Raises:
            ExportError: a segment cannot be converted; segment and cause are named.
        """
        ...
