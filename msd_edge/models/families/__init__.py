"""The known networks: a module a family, each describing itself as stem + stages of blocks + head."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from msd_edge.models.families import (
    airbench,
    densenet,
    efficientnet,
    mobilenet,
    mobilenetv3,
    preresnet,
    regnet,
    resnet,
    shufflenet,
    vgg,
)
from msd_edge.models.network import BackboneSpec


@dataclass(frozen=True)
class Family:
    """Networks of one kind.

    Attributes:
        title: as its paper calls it.
        archs: the names to offer.
        has_arch: whether a name, offered or not, is one of the family.
        describe: (name, width or None, image channels, shorter side in pixels) to the backbone.
        more: which other names there are.
    """

    title: str
    archs: tuple[str, ...]
    has_arch: Callable[[str], bool]
    describe: Callable[[str, int | None, int, int], BackboneSpec]
    more: str = ""


def _fixed(title: str, archs: tuple[str, ...], describe: Callable[[str, int | None, int, int], BackboneSpec]) -> Family:
    return Family(title, archs, archs.__contains__, describe)


FAMILIES = (
    Family("ResNet", resnet.ARCHS, resnet.has_arch, resnet.describe, "any depth of 6n+2"),
    Family("SE-ResNet", resnet.SE_ARCHS, resnet.has_se_arch, resnet.describe_se, "any depth of 6n+2"),
    Family("ResNeXt", resnet.NEXT_ARCHS, resnet.has_next_arch, resnet.describe_next, "any depth of 9n+2, any groups"),
    Family("PreActResNet", preresnet.ARCHS, preresnet.has_arch, preresnet.describe, "any depth of 6n+2"),
    Family(
        "WideResNet",
        preresnet.WIDE_ARCHS,
        preresnet.has_wide_arch,
        preresnet.describe_wide,
        "any depth of 6n+4, any width",
    ),
    _fixed("VGG-BN", vgg.ARCHS, vgg.describe),
    Family(
        "DenseNet-BC", densenet.ARCHS, densenet.has_arch, densenet.describe, "densenet-bc-L-K, any L of 6n+4, any K"
    ),
    Family(
        "MobileNetV1",
        mobilenet.V1_ARCHS,
        partial(mobilenet.has_arch, 1),
        mobilenet.describe_v1,
        "mobilenetv1-0.5, any factor",
    ),
    Family(
        "MobileNetV2",
        mobilenet.V2_ARCHS,
        partial(mobilenet.has_arch, 2),
        mobilenet.describe_v2,
        "mobilenetv2-0.5, any factor",
    ),
    Family(
        "MobileNetV3",
        mobilenetv3.ARCHS,
        mobilenetv3.has_arch,
        mobilenetv3.describe,
        "mobilenetv3-small-0.75, any factor",
    ),
    _fixed("EfficientNet", efficientnet.ARCHS, efficientnet.describe),
    _fixed("ShuffleNetV2", shufflenet.ARCHS, shufflenet.describe),
    _fixed("RegNet", regnet.ARCHS, regnet.describe),
    _fixed("airbench", airbench.ARCHS, airbench.describe),
)


def list_archs() -> tuple[str, ...]:
    """Return the names to offer; ``outline`` tells of more."""
    return tuple(arch for family in FAMILIES for arch in family.archs)


def outline() -> tuple[str, ...]:
    """Return a line a family: the names to offer, and which others there are."""
    return tuple(" ".join(family.archs) + (f" ({family.more})" if family.more else "") for family in FAMILIES)


def has_arch(arch: str) -> bool:
    """Return whether ``arch`` names a network of a family."""
    return any(family.has_arch(arch) for family in FAMILIES)


def describe_arch(arch: str, width: int | None, in_channels: int, side: int) -> BackboneSpec:
    """Describe the backbone called ``arch``.

    Args:
        arch: its name, one that ``has_arch`` knows.
        width: channels of the first stage; None for the family's own.
        in_channels: of the image.
        side: the shorter side of the image, in pixels.
    """
    family = next(family for family in FAMILIES if family.has_arch(arch))
    return family.describe(arch, width, in_channels, side)
