"""Calibrates a bundle: runs its files on the calibration split, fits temperatures and thresholds, writes them down."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from msd_edge.benchmarks import environment
from msd_edge.benchmarks.results import Results
from msd_edge.benchmarks.results_io import read_results
from msd_edge.benchmarks.segment_times import time_segments
from msd_edge.bundle.choices import closest
from msd_edge.bundle.manifest import Calibration, LatencySource, RuleName, Variant
from msd_edge.bundle.reader import Bundle
from msd_edge.bundle.writer import replace_calibration
from msd_edge.data.dataset import Dataset, ImageSet
from msd_edge.data.select import select_images
from msd_edge.errors import BundleError, ConfigError, DataError
from msd_edge.exits.fit import fit_calibration
from msd_edge.exits.limits import sharpest, unreachable
from msd_edge.exits.metrics import Labels
from msd_edge.exits.rules import RULES, ExitRule, Floats, never
from msd_edge.locks import hold
from msd_edge.runtime.cascade import rule_of
from msd_edge.runtime.chain import Chain
from msd_edge.runtime.open import choose_runtime, keep_runnable

MOST_IMAGES = 5000

_PIECE = 64
_BLUNT = 0.99  # an exit that cannot even say this much is worth a note


@dataclass(frozen=True)
class CalibrateOptions:
    """What to fit, and on what.

    Attributes:
        rule: max-softmax, entropy, patience or averaged.
        min_accuracy: a share; adds the point ``custom``.
        max_ms: expected milliseconds; adds the point ``custom``.
        latency: a results file to take the milliseconds from; None: measure on this machine.
        variants: names, empty for all whose runtime is installed.
        threads: of the runtime.
        images: at most so many images of the calibration split, None for all up to 5,000.
        seconds: of measurement per variant.
    """

    rule: RuleName = "max-softmax"
    min_accuracy: float | None = None
    max_ms: float | None = None
    latency: Path | None = None
    variants: tuple[str, ...] = ()
    threads: int = 1
    images: int | None = None
    seconds: float = 1.5


@dataclass(frozen=True)
class CalibratePlan:
    """What will be done.

    Attributes:
        variants: to be calibrated.
        places: of the images in the split.
        latencies: that are known, by variant.
        notes: what to say before, such as which variants are left out and why.
    """

    variants: tuple[Variant, ...]
    places: Labels
    latencies: dict[str, LatencySource]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CalibrateOutcome:
    """The bundle as rewritten, the calibrations by variant, sentences the user should read."""

    bundle: Bundle
    calibrations: dict[str, Calibration]
    notes: tuple[str, ...]


# Called with the variant's name, steps done, steps in all, what is going on.
OnStep = Callable[[str, int, int, str], None]


def check_options(bundle: Bundle, options: CalibrateOptions) -> dict[str, LatencySource]:
    """Check what can be checked without data, before it is loaded.

    Returns:
        The latencies from ``options.latency`` by variant; empty when they are to be measured.

    Raises:
        BundleError: a variant is not in the bundle.
        ConfigError: an option is out of its range, or the results lack a variant or are of other files.
        RuntimeUnavailable: the runtime of a variant that was named is not installed, or none is.
    """
    if options.rule not in RULES:
        raise ConfigError(f"--rule {options.rule}: no such rule{closest(options.rule, RULES)}.")
    if options.min_accuracy is not None and not 0 < options.min_accuracy <= 1:
        raise ConfigError(f"--min-accuracy {options.min_accuracy:g}: give a share (0.93) or percent (93).")
    if options.max_ms is not None and not 0 < options.max_ms < float("inf"):
        raise ConfigError(f"--max-ms {options.max_ms:g}: give milliseconds above 0.")
    if options.images is not None and options.images < 1:
        raise ConfigError(f"--images {options.images}: at least 1 is needed.")
    allowed = environment.read_cores().allowed
    if not 1 <= options.threads <= allowed:
        raise ConfigError(f"--threads {options.threads}: this process may use 1 to {allowed}.")
    variants, _ = _variants(bundle, options)
    if options.latency is None:
        return {}
    results = read_results(options.latency)
    return {variant.name: latency_from(results, options.latency, bundle, variant) for variant in variants}


def plan_calibration(
    bundle: Bundle, dataset: Dataset, options: CalibrateOptions, latencies: dict[str, LatencySource]
) -> CalibratePlan:
    """Choose variants and images; no image is read, the test split is not touched.

    Args:
        bundle: the opened bundle.
        dataset: from ``bundle_dataset``.
        options: what to fit.
        latencies: from ``check_options``.

    Raises:
        BundleError: a variant is not in the bundle.
        DataError: the calibration split is empty.
        RuntimeUnavailable: the runtime of a variant that was named is not installed, or none is.
    """
    split = dataset.calibration
    if not len(split):
        raise DataError(f"{dataset.name}: the calibration split is empty.")
    limit = MOST_IMAGES if options.images is None else options.images
    variants, notes = _variants(bundle, options)
    return CalibratePlan(variants, select_images(split.labels, limit), latencies, notes)


def calibrate_bundle(
    bundle: Bundle, dataset: Dataset, plan: CalibratePlan, options: CalibrateOptions, on_step: OnStep
) -> CalibrateOutcome:
    """Calibrate variants of a bundle on the outputs of their own files; written whole or not at all.

    A wish is for the variants that were named. Where none was, those that cannot meet it do without the point
    ``custom``, and a note says what they can reach.

    Args:
        bundle: the opened bundle.
        dataset: from ``bundle_dataset``; only its calibration split is read.
        plan: from ``plan_calibration``.
        options: what to fit.
        on_step: called with progress.

    Raises:
        BundleError: a file is damaged, the bundle was changed meanwhile, or another process holds it.
        ConfigError: a variant that was named, or every variant, cannot meet the wish: the message says what can.
        DataError: outputs are not finite.
        RuntimeUnavailable: a runtime is missing or cannot run a file.
    """
    with hold(bundle.path, work="is calibrating this bundle", error=BundleError):
        return _calibrate(bundle, dataset, plan, options, on_step)


def _calibrate(
    bundle: Bundle, dataset: Dataset, plan: CalibratePlan, options: CalibrateOptions, on_step: OnStep
) -> CalibrateOutcome:
    macs = [info.chain_macs for info in bundle.manifest.exits]
    labels = dataset.calibration.labels[plan.places]
    found: dict[str, Calibration] = {}
    unmet: dict[str, str] = {}
    notes: list[str] = []
    for variant in plan.variants:
        name = variant.name
        logits = collect_logits(bundle, name, dataset.calibration, plan.places, options.threads, on_step)
        latency = plan.latencies.get(name)
        if latency is None:
            on_step(name, len(labels), len(labels), "timing segments")
            latency = time_segments(bundle, name, options.rule, threads=options.threads, seconds=options.seconds)
        on_step(name, len(labels), len(labels), "fitting")
        sentences: list[str] = []
        try:
            found[name] = fit_calibration(
                options.rule,
                logits,
                labels,
                latency=latency,
                chain_macs=macs,
                split_sha256=bundle.manifest.source.calibration_sha256,
                min_accuracy=options.min_accuracy,
                max_ms=options.max_ms,
                unmet=None if options.variants else sentences,
            )
        except (ConfigError, DataError) as problem:
            raise type(problem)(f"{bundle.path}: {name}: {problem}") from None
        if sentences:
            unmet[name] = sentences[0]
            notes.append(f"{name}: it has no point custom: {sentences[0]}")
        notes += describe_limits(variant, found[name])
    if len(unmet) == len(plan.variants):
        said = [f"{name}: {sentence.removesuffix('.')}" for name, sentence in unmet.items()]
        raise ConfigError(f"{bundle.path}: {'; '.join(said)}.")
    return CalibrateOutcome(replace_calibration(bundle, found), found, tuple(notes))


def collect_logits(
    bundle: Bundle, variant: str, split: ImageSet, places: Labels, threads: int, on_step: OnStep
) -> Floats:
    """Run a variant's files on images of a split, never leaving early.

    Args:
        bundle: the opened bundle.
        variant: its name.
        split: raw images.
        places: which of them, in this order.
        threads: of the runtime.
        on_step: called with progress.

    Returns:
        (images, exits, classes) float32.

    Raises:
        BundleError: a file is not as the manifest says.
        RuntimeUnavailable: the runtime is missing or cannot run a file.
    """
    with Chain(bundle, variant=variant, threads=threads) as chain:
        logits = np.empty((len(places), len(chain.steps), len(bundle.manifest.classes)), dtype=np.float32)
        for start in range(0, len(places), _PIECE):
            on_step(variant, start, len(places), "running the files")
            for place, image in enumerate(split.read(places[start : start + _PIECE]), start):
                logits[place] = chain.logits(image)
    return logits


def latency_from(results: Results, path: Path, bundle: Bundle, variant: Variant) -> LatencySource:
    """Take the milliseconds of each segment from a bench's results.

    They are the differences of the median whole times, pre-processing and decision included, when every image leaves at
    exit 1, 2, …; where noise makes a later exit cheaper, its segment counts as free.

    Raises:
        ConfigError: the results are of another bundle or of other files, or lack the variant.
    """
    if results.bundle != bundle.manifest.name:
        raise ConfigError(f"{path}: these results are of the bundle {results.bundle}, not of {bundle.manifest.name}.")
    bench = next((one for one in results.variants if one.name == variant.name), None)
    if bench is None:
        alone = _latency_from_shell(results, path, bundle, variant)
        if alone is not None:
            return alone
        held = ", ".join(one.name for one in results.variants) or "none"
        raise ConfigError(
            f"{path}: there are no times of {variant.name} (it has {held}); bench it, or choose with --variant."
        )
    if len(bench.exits) != len(variant.segments):
        raise ConfigError(
            f"{path}: {variant.name} has {len(bench.exits)} exits there, {len(variant.segments)} in {bundle.path}."
        )
    for part, info in zip(bench.exits, bundle.manifest.exits, strict=True):
        size = sum(segment.bytes for segment in variant.segments[: info.index])
        if (part.chain_bytes, part.chain_macs) != (size, info.chain_macs):
            raise ConfigError(
                f"{path}: these results were measured on other files (exit {info.index} of {variant.name}: "
                f"{part.chain_bytes:,} bytes and {part.chain_macs:,} MACs there, {size:,} and {info.chain_macs:,} in "
                f"{bundle.path}); bench this bundle."
            )
    whole = np.maximum.accumulate([(part.total or part.chain).median for part in bench.exits])
    return LatencySource(
        device=f"{results.device.name}, {results.device.processor}",
        threads=bench.threads,
        runtime=f"{bench.runtime} {bench.runtime_version}",
        segment_ms=tuple(np.diff(whole, prepend=0.0).tolist()),
    )


def _latency_from_shell(results: Results, path: Path, bundle: Bundle, variant: Variant) -> LatencySource | None:
    """Take the milliseconds of the segments that a phone's shell timed one by one; None if there are none."""
    timed = {each.file: each for each in results.shell if each.variant == variant.name}
    segments = [timed.get(f"segment-{segment.index}") for segment in variant.segments]
    known = [each for each in segments if each is not None]
    if not known or len(known) < len(segments):
        return None
    if [each.sha256 for each in known] != [segment.sha256 for segment in variant.segments]:
        raise ConfigError(
            f"{path}: these results were measured on other files than {bundle.path} has; bench this bundle."
        )
    return LatencySource(
        device=f"{results.device.name}, {results.device.processor} (shell, segments alone)",
        threads=known[0].threads,
        runtime=f"benchmark_model {results.versions.get('benchmark_model', '')}".strip(),
        segment_ms=tuple(each.typical for each in known),
    )


def describe_limits(variant: Variant, calibration: Calibration) -> list[str]:
    """Return notes on exits whose quantized logits cannot express a sure answer, and on thresholds out of reach."""
    notes = []
    specs = [segment.logits for segment in variant.segments]
    averaged = calibration.rule == "averaged"
    asked = ExitRule.of(calibration, calibration.points[0])
    if not averaged:  # how sure an exit can be is asked in probability, whatever the rule
        asked = ExitRule("max-softmax", (never("max-softmax", asked.exits),) * (asked.exits - 1), asked.temperatures)
    for place, (fitted, spec) in enumerate(zip(calibration.exits, specs, strict=True)):
        best = sharpest(asked, place, specs)
        if best is not None and best < _BLUNT:
            reason = (
                f"its {spec.dtype} logits span {255 * (spec.scale or 0):.1f}, at temperature {fitted.temperature:.2f}"
            )
            if averaged:
                reason = f"the {spec.dtype} logits of the exits up to it, weighed, span no more"
            notes.append(f"{variant.name}: exit {fitted.exit} can at most say {100 * best:.1f} %: {reason}.")
    for point in calibration.points:
        for exit_ in unreachable(rule_of(variant.model_copy(update={"calibration": calibration}), point), specs):
            notes.append(
                f"{variant.name}: point {point.name}: no image can reach the threshold of exit {exit_}; "
                f"{specs[exit_ - 1].dtype} logits cannot express it."
            )
    return notes


def _variants(bundle: Bundle, options: CalibrateOptions) -> tuple[tuple[Variant, ...], tuple[str, ...]]:
    """Return those that were named, else all that run here, and notes on those left out."""
    if not options.variants:
        return keep_runnable(bundle.manifest.variants)
    named = tuple(bundle.variant(name) for name in dict.fromkeys(options.variants))
    for variant in named:
        choose_runtime(variant.target, None)
    return named, ()
