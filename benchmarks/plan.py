"""Weighs every subset of a bundle's exits by the milliseconds measured on its own files."""

from dataclasses import dataclass

from msd_edge.benchmarks.calibrate import CalibrateOptions, OnStep, collect_logits, plan_calibration
from msd_edge.benchmarks.segment_times import time_exits
from msd_edge.bundle.reader import Bundle
from msd_edge.data.dataset import Dataset
from msd_edge.errors import BundleError
from msd_edge.exits.fit import fit_exits
from msd_edge.exits.subsets import Subset, weigh_subsets


@dataclass(frozen=True)
class PlanOutcome:
    """What was found.

    Attributes:
        variant: name of the files that ran.
        images: of the calibration split.
        reference: accuracy of the last trained exit on them.
        segment_ms, exit_ms: measured, of every segment in the chain and of every exit alone.
        subsets: all of them, the best first.
    """

    variant: str
    images: int
    reference: float
    segment_ms: tuple[float, ...]
    exit_ms: tuple[float, ...]
    subsets: tuple[Subset, ...]


def plan_exits(
    bundle: Bundle, dataset: Dataset, options: CalibrateOptions, *, max_drop: float, on_step: OnStep
) -> PlanOutcome:
    """Weigh every subset of a bundle's exits, for one variant.

    Args:
        bundle: the opened bundle, with every trained exit in it.
        dataset: from ``bundle_dataset``; only its calibration split is read.
        options: rule, time allowed, the variant, threads, images, seconds.
        max_drop: share of accuracy that may be lost against the last exit.
        on_step: called with progress.

    Raises:
        BundleError: the variant is not there, or has no stand-alone exits to be timed.
        ConfigError, DataError: as ``weigh_subsets``.
        RuntimeUnavailable: the runtime is missing or cannot run a file.
    """
    variant = bundle.variant(options.variants[0] if options.variants else None)
    if len(variant.exits) != len(variant.segments):
        raise BundleError(f"{bundle.path}: {variant.name} has no stand-alone exits to be timed; export the run again.")
    named = CalibrateOptions(**{**vars(options), "variants": (variant.name,)})
    places = plan_calibration(bundle, dataset, named, {}).places
    labels = dataset.calibration.labels[places]
    logits = collect_logits(bundle, variant.name, dataset.calibration, places, options.threads, on_step)
    on_step(variant.name, len(labels), len(labels), "timing segments and exits")
    segment_ms, exit_ms = time_exits(
        bundle, variant.name, options.rule, threads=options.threads, seconds=options.seconds
    )
    on_step(variant.name, len(labels), len(labels), "weighing subsets")
    temperatures = [part.temperature for part in fit_exits(logits, labels)]
    subsets = weigh_subsets(
        options.rule,
        logits,
        labels,
        temperatures,
        segment_ms,
        exit_ms,
        max_drop=max_drop,
        max_ms=options.max_ms,
    )
    reference = float((logits[:, -1].argmax(-1) == labels).mean())
    return PlanOutcome(variant.name, len(labels), reference, segment_ms, exit_ms, subsets)
