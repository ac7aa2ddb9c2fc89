"""The known networks: a module a family, each describing itself as stem + stages of blocks + head."""

from collections.abc import Callable
from dataclasses import dataclass

from msd_edge.models.families import airbench, resnet
from msd_edge.models.network import BackboneSpec


@dataclass(frozen=True)
class Family:
    """Networks of one kind.

    Attributes:
        archs: the names to offer.
        has_arch: whether a name, offered or not, is one of the family.
        describe: (name, width or None, image channels, shorter side in pixels) to the backbone.
    """

    archs: tuple[str, ...]
    has_arch: Callable[[str], bool]
    describe: Callable[[str, int | None, int, int], BackboneSpec]


_FAMILIES = (
    Family(resnet.ARCHS, resnet.has_arch, resnet.describe),
    Family(airbench.ARCHS, airbench.ARCHS.__contains__, airbench.describe),
)


def list_archs() -> tuple[str, ...]:
    """Return the names of the known networks; ``resnetD`` exists for any D of 6n+2."""
    return tuple(arch for family in _FAMILIES for arch in family.archs)


def has_arch(arch: str) -> bool:
    """Return whether ``arch`` names a network of a family."""
    return any(family.has_arch(arch) for family in _FAMILIES)


def describe_arch(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe the backbone called ``arch``.

    Args:
        arch: its name, one that ``has_arch`` knows.
        width: channels of the first stage; None for the family's own.
        in_channels: of the image.
        side: the shorter side of the image, in pixels.
    """
    family = next(family for family in _FAMILIES if family.has_arch(arch))
    return family.describe(arch, width, in_channels, side)
