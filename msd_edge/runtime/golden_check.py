"""Does this machine compute what the exporting machine computed? The golden samples tell, before any timing."""

from dataclasses import dataclass

import numpy as np

from msd_edge.bundle.golden import read_golden
from msd_edge.bundle.reader import Bundle
from msd_edge.errors import ParityError
from msd_edge.runtime.chain import Chain
from msd_edge.runtime.session import Array


@dataclass(frozen=True)
class GoldenComparison:
    """How near the outputs here are to those stored at export.

    Attributes:
        images: how many images were compared, at every exit.
        max_difference: the largest difference of a logit: in steps where the files give integers, else in logits.
        top1_agreement: the share of images and exits with the same class on top.
        bit_equal: whether every value is the same.
    """

    images: int
    max_difference: float
    top1_agreement: float
    bit_equal: bool


def check_golden(
    bundle: Bundle, variant: str | None = None, runtime: str | None = None, threads: int = 1
) -> GoldenComparison:
    """Load a variant and compare its logits with the golden samples.

    Raises:
        BundleError: no such variant, or a file is missing or not as the manifest says.
        ConfigError: the runtime does not fit the variant.
        ParityError: an output is not finite.
        RuntimeUnavailable: the runtime is not installed, cannot start or cannot run a file.
    """
    with Chain(bundle, variant=variant, runtime=runtime, threads=threads) as chain:
        return compare_golden(chain)


def compare_golden(chain: Chain) -> GoldenComparison:
    """Compare the logits of loaded segments with the golden samples.

    Raises:
        BundleError: the golden samples are missing, damaged or of another dtype than the files' outputs.
        ParityError: an output is not finite.
    """
    golden = read_golden(chain.bundle, chain.variant.name)
    found = np.stack([chain.raw_logits(image) for image in golden.images])
    if not np.isfinite(found).all():
        image, exit = np.argwhere(~np.isfinite(found))[0][:2]
        raise ParityError(
            f"{chain.bundle.path}: {chain.variant.name} on {chain.runtime} {chain.runtime_version}: exit {exit + 1} "
            f"gives a logit that is no finite number for golden image {image + 1}."
        )
    return compare_logits(found, golden.outputs)


def compare_logits(found: Array, expected: Array) -> GoldenComparison:
    """Compare finite logits of one dtype, (images, exits, classes) each, as the files give them."""
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    agree = found.argmax(axis=2) == expected.argmax(axis=2)
    return GoldenComparison(
        images=len(found),
        max_difference=float(difference.max()),
        top1_agreement=float(agree.mean()),
        bit_equal=found.tobytes() == expected.tobytes(),
    )
