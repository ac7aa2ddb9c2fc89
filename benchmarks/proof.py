"""Proof before figures: what is timed must compute what the exporting machine computed."""

from pathlib import Path

from msd_edge.benchmarks.results import GoldenCheck
from msd_edge.bundle.manifest import Target, Variant
from msd_edge.errors import ParityError
from msd_edge.runtime.chain import Chain
from msd_edge.runtime.golden_check import GoldenComparison, compare_golden

# Other processors and releases of a runtime round differently: by 1 to 3 steps for integers, by 1e-5 of the range of
# the logits for floats, were seen.
STEPS = 4
RANGE_SHARE = 1e-3

# ONNX Runtime adds pairs of uint8 x int8 products in 16 bits on x86 without VNNI. Weights of 7 bits, as we export them,
# fit; with 8 bits sums saturate there, and up to 6 steps were seen between processors (docs/devices.md).
ONNX_STEPS = 8


def limit_steps(target: Target) -> int:
    """Return how many steps an integer logit may be away from the golden one."""
    return ONNX_STEPS if target == "onnx" else STEPS


def prove(chain: Chain) -> GoldenCheck:
    """Compare the loaded segments with the golden samples.

    Raises:
        ParityError: a class differs, or a logit by more than `limit_steps` says (floats: 1/1000 of the logits' range).
    """
    runtime = f"{chain.runtime} {chain.runtime_version}"
    return judge(chain.bundle.path, chain.variant, runtime, compare_golden(chain))


def judge(path: Path, variant: Variant, runtime: str, found: GoldenComparison) -> GoldenCheck:
    """Return the proof that a comparison with the golden samples makes.

    Args:
        path: the bundle's, for the message.
        variant: what was compared.
        runtime: its name and version, for the message.
        found: the comparison.

    Raises:
        ParityError: a class differs, or a logit by more than `limit_steps` says (floats: 1/1000 of the logits' range).
    """
    whole = all(segment.logits.dtype != "float32" for segment in variant.segments)
    limit = (
        limit_steps(variant.target)
        if whole
        else RANGE_SHARE * max(segment.parity.logit_range for segment in variant.segments)
    )
    if found.top1_agreement < 1 or found.max_difference > limit:
        unit = " steps" if whole else ""
        raise ParityError(
            f"{path}: {variant.name} on {runtime} does not compute what it "
            f"computed at export: {found.top1_agreement:.1%} of the golden samples get the same class, and logits "
            f"differ by up to {found.max_difference:g}{unit} (limit {limit:g}); nothing was measured. "
            "Try another --runtime or its release that the manifest names, or export again on this machine."
        )
    return GoldenCheck(
        images=found.images,
        max_difference=found.max_difference,
        top1_agreement=found.top1_agreement,
        bit_equal=found.bit_equal,
    )
