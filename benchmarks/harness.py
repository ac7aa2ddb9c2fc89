"""Benches a bundle: every variant in a fresh process on a device, put together as results."""

import base64
import functools
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msd_edge import __version__
from msd_edge.benchmarks.devices import BenchDevice
from msd_edge.benchmarks.images import store_images
from msd_edge.benchmarks.job import Answers, Job, Report, Step
from msd_edge.benchmarks.notes import write_notes
from msd_edge.benchmarks.results import Circumstances, Example, Results
from msd_edge.benchmarks.results_io import Raw
from msd_edge.bundle.manifest import Manifest, Variant
from msd_edge.bundle.reader import Bundle
from msd_edge.commands import suggest_command
from msd_edge.data.dataset import Dataset
from msd_edge.data.select import select_images
from msd_edge.errors import BundleError, DataError
from msd_edge.locks import scratch_folder
from msd_edge.runtime.open import RUNTIMES

_EXAMPLES = 4  # an exit, at each operating point
_EXAMPLE_SIDE = 96


@dataclass(frozen=True)
class BenchOptions:
    """How to measure.

    Attributes:
        threads: of the runtime.
        runtime: its name; None: each target's first that is installed.
        variants: names, empty for all that this runtime runs, or whose runtime is there.
        images: at most so many test images, None for all.
        seconds: per variant, for what serves latency only.
        warmup: images run through everything before times are kept.
        block: images before the next contender has its turn.
    """

    threads: int = 1
    runtime: str | None = None
    variants: tuple[str, ...] = ()
    images: int | None = None
    seconds: float = 10.0
    warmup: int = 10
    block: int = 16


@dataclass(frozen=True)
class Plan:
    """What will be measured: variants, the places of the test images, and what to say before."""

    variants: tuple[Variant, ...]
    places: NDArray[np.int64]
    notes: tuple[str, ...]


def plan_bench(bundle: Bundle, dataset: Dataset, options: BenchOptions, device: BenchDevice) -> Plan:
    """Check everything that can be checked before work starts.

    Args:
        bundle: what is to be measured.
        dataset: from ``bundle_dataset``.
        options: how.
        device: where.

    Raises:
        BundleError: a variant is not there or not calibrated.
        ConfigError: more threads than cores are allowed, or a variant does not run on that runtime.
        DataError: there are no test images.
        RuntimeUnavailable: a runtime is not installed.
    """
    variants, notes = check_options(bundle, options, device)
    if not len(dataset.test):
        raise DataError(f"{dataset.name}: the test split is empty; there is nothing to measure on.")
    return Plan(variants, select_images(dataset.test.labels, options.images), notes)


def check_options(
    bundle: Bundle, options: BenchOptions, device: BenchDevice
) -> tuple[tuple[Variant, ...], tuple[str, ...]]:
    """Check what can be checked without data, before it is loaded.

    Returns:
        The variants to measure, and what to say before.

    Raises:
        BundleError: a variant is not there or not calibrated.
        ConfigError: more threads than cores are allowed, or a variant does not run on that runtime.
        RuntimeUnavailable: a runtime is not installed.
    """
    variants, notes = choose_variants(bundle, options, device)
    return variants, (*device.check(options.threads), *notes)


def choose_variants(
    bundle: Bundle, options: BenchOptions, device: BenchDevice
) -> tuple[tuple[Variant, ...], tuple[str, ...]]:
    """Return the variants to measure, and notes on those that the device cannot run.

    Raises:
        BundleError: one is not there, not calibrated, or calibrated on other images than the run kept for that.
        ConfigError: one that was named does not run on the runtime that was asked for, or none does.
        RuntimeUnavailable: its runtime is not installed.
    """
    named = tuple(dict.fromkeys(options.variants))
    chosen = [bundle.variant(name) for name in named] if named else list(bundle.manifest.variants)
    if options.runtime is not None:
        fitting = [variant for variant in chosen if options.runtime in RUNTIMES[variant.target]]
        # A named variant that does not fit is an error; of all variants those that fit are taken.
        chosen = chosen if named or not fitting else fitting
    selected, notes = device.select(chosen, options.runtime, named=bool(named))
    bare = [variant.name for variant in selected if variant.calibration is None]
    if bare:
        raise BundleError(
            f"{bundle.path}: {', '.join(bare)} {'has' if len(bare) == 1 else 'have'} no operating points; "
            f"run `{suggest_command('calibrate', bundle.path)}`.{''.join(f' ({note})' for note in notes)}"
        )
    kept = bundle.manifest.source.calibration_sha256
    strange = [v.name for v in selected if v.calibration is not None and v.calibration.split_sha256 != kept]
    if strange:
        raise BundleError(
            f"{bundle.path}: {', '.join(strange)} {'was' if len(strange) == 1 else 'were'} calibrated on other images "
            "than the run's calibration split, so figures might flatter; "
            f"run `{suggest_command('calibrate', bundle.path)}`."
        )
    return selected, notes


def run_bench(
    bundle: Bundle,
    dataset: Dataset,
    plan: Plan,
    options: BenchOptions,
    device: BenchDevice,
    on_step: Callable[[str, Step], None],
) -> tuple[Results, Raw]:
    """Measure every variant of the plan, one fresh process after the other.

    Args:
        bundle: what is measured.
        dataset: its test split is used.
        plan: from ``plan_bench``.
        options: how.
        device: where.
        on_step: called with the variant's name and its progress.

    Raises:
        DeviceRunError: a process died or fell silent; nothing is returned for any variant.
        MsdEdgeError: as a process said itself.
    """
    labels = tuple(int(label) for label in dataset.test.labels[plan.places])
    reports: list[Report] = []
    with scratch_folder("msd-edge-bench-") as folder:
        store_images(dataset.test, plan.places, dataset.image_shape, folder / "images.npy")
        for variant in plan.variants:
            job = Job(
                bundle=str(bundle.path.resolve()),
                manifest_sha256=bundle.manifest_sha256,
                variant=variant.name,
                runtime=options.runtime,
                threads=options.threads,
                images=str(folder / "images.npy"),
                labels=labels,
                seconds=options.seconds,
                warmup=options.warmup,
                block=options.block,
                report=str(folder / f"{variant.name}.json"),
            )
            reports.append(device.run(job, functools.partial(on_step, variant.name)))
    return _assemble(bundle, dataset, plan, options, device, reports)


def _assemble(
    bundle: Bundle,
    dataset: Dataset,
    plan: Plan,
    options: BenchOptions,
    device: BenchDevice,
    reports: Sequence[Report],
) -> tuple[Results, Raw]:
    created = datetime.now(UTC).isoformat(timespec="microseconds")
    variants = tuple(
        report.variant.model_copy(update={"examples": _pick_examples(bundle.manifest, dataset, plan, report.answers)})
        for report in reports
    )
    chosen, total = len(plan.places), len(dataset.test)
    circumstances = device.circumstances()
    results = Results(
        created=created,
        bundle=bundle.manifest.name,
        manifest_sha256=bundle.manifest_sha256,
        classes=bundle.manifest.classes,
        # A report is passed on: it names the data, not the folders above it.
        data=f"{Path(dataset.name).name}, {'all' if chosen == total else f'{chosen:,} of'} {total:,} test images",
        device=device.describe(),
        versions={"msd-edge": __version__, **device.versions()},
        options={
            "device": device.address,
            "threads": options.threads,
            "runtime": options.runtime,
            "images": chosen,
            "seconds": options.seconds,
            "warmup": options.warmup,
            "block": options.block,
        },
        warmup=options.warmup,
        variants=variants,
        notes=(*_warn_of_stand_in(circumstances), *plan.notes, *write_notes(variants)),
        circumstances=circumstances,
    )
    raw = Raw(
        created=created,
        times={name: times for report in reports for name, times in report.raw.items()},
        images=tuple(plan.places.tolist()),
        labels=tuple(int(label) for label in dataset.test.labels[plan.places]),
        answers={report.variant.name: report.answers for report in reports},
    )
    return results, raw


def _warn_of_stand_in(circumstances: Circumstances | None) -> tuple[str, ...]:
    if circumstances is None or circumstances.played_by is None:
        return ()
    return (
        f"No phone was measured: the app was played by {circumstances.played_by}. These times say nothing of phones.",
    )


def _pick_examples(
    manifest: Manifest, dataset: Dataset, plan: Plan, answers: dict[str, Answers]
) -> tuple[Example, ...]:
    """Return the first images that took each exit at each point: the order is mixed, so they are a random sample."""
    found = []
    for point, said in answers.items():
        for exit_index in range(1, len(manifest.exits) + 1):
            for place in [i for i, taken in enumerate(said.exits) if taken == exit_index][:_EXAMPLES]:
                index = int(plan.places[place])
                found.append(
                    Example(
                        point=point,
                        index=index,
                        label=int(dataset.test.labels[index]),
                        predicted=said.predicted[place],
                        probability=said.probabilities[place],
                        exit=exit_index,
                        png=_encode(dataset.test.read(np.array([index]))[0]),
                    )
                )
    return tuple(found)


def _encode(image: NDArray[np.uint8]) -> str:
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    picture.thumbnail((_EXAMPLE_SIDE, _EXAMPLE_SIDE))
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
