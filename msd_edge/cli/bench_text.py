"""What ``msd-edge bench`` prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msd_edge.cli import common
from msd_edge.commands import suggest_command

if TYPE_CHECKING:
    from msd_edge.benchmarks.devices import BenchDevice
    from msd_edge.benchmarks.harness import BenchOptions, Plan
    from msd_edge.benchmarks.results import CascadeBench, Results, Timing, VariantBench
    from msd_edge.data.dataset import Dataset


def say_plan(
    bundle: str, dataset: "Dataset", plan: "Plan", options: "BenchOptions", device: "BenchDevice", target: Path
) -> None:
    """Print what will be measured, before it is; ``bundle``: its path, and whether it was chosen as the newest."""
    about = device.describe()
    threads = f"{options.threads} {'thread' if options.threads == 1 else 'threads'}"
    common.facts(
        [
            ("bundle", bundle),
            (
                "device",
                f"{about.name} · {about.processor} · {' '.join(about.features) or 'no known features'} · "
                f"{about.cores} cores allowed · {threads}",
            ),
            (
                "data",
                f"{dataset.name} · {len(plan.places):,} of {len(dataset.test):,} test images · "
                f"{options.seconds:g} s a variant for latency only",
            ),
            *_phone_facts(device),
            ("variants", ", ".join(variant.name for variant in plan.variants)),
            ("results", str(target)),
        ]
    )
    for note in plan.notes:
        common.say(f"note     {note}")


def _phone_facts(device: "BenchDevice") -> list[tuple[str, str]]:
    from msd_edge.benchmarks.devices.android import AndroidDevice

    return [("phone", device.state())] if isinstance(device, AndroidDevice) else []


def plan_json(plan: "Plan", options: "BenchOptions") -> dict[str, object]:
    """Return what will be measured, for machines."""
    return {
        "variants": [variant.name for variant in plan.variants],
        "images": len(plan.places),
        "threads": options.threads,
        "runtime": options.runtime,
        "seconds": options.seconds,
        "notes": list(plan.notes),
    }


def say_results(results: "Results", target: Path, bundle: Path, told: Sequence[str] = ()) -> None:
    """Print the figures of every variant, notes but for those told already, and what comes next."""
    for variant in results.variants:
        common.say()
        _say_variant(variant)
    common.say()
    common.say(
        f"One image at a time. A chain's and a file's milliseconds are inference alone; a point's are pre-processing, "
        f"inference and decision. {results.warmup} images warm up, nothing is clipped."
    )
    for note in results.notes:
        if note not in told:
            common.say(f"note     {note}")
    about = results.circumstances
    if about is not None:
        from msd_edge.benchmarks.devices.phone import describe_condition

        common.facts([("before", describe_condition(about.before)), ("after", describe_condition(about.after))])
    named = [] if target.parent == Path("results") else [target]
    # A report looks for the bundle under bundles/ only.
    where: list[str | Path] = [] if bundle.resolve().parent == Path("bundles").resolve() else ["--bundle", bundle]
    following = suggest_command("report", *named, *where, writes=[Path("report.html")])
    common.facts([("results", str(target)), ("next", following)])


def _say_variant(variant: "VariantBench") -> None:
    golden = variant.golden
    near = "equal bit for bit" if golden.bit_equal else f"equal classes, largest difference {golden.max_difference:g}"
    common.say(
        f"{variant.name} · {variant.runtime} {variant.runtime_version} · {variant.threads} "
        f"{'thread' if variant.threads == 1 else 'threads'} · load {variant.load:.1f} ms · "
        f"peak memory +{variant.peak_memory:.1f} MiB · {golden.images} golden images {near}"
    )
    common.table(
        ["exit", "accuracy", "chain MACs", "chain ms", "p90", "p99", "alone ms", "init ms", "first ms", "chain kB"],
        [
            [
                str(each.index),
                f"{each.accuracy:.2%}",
                _count(each.chain_macs),
                f"{each.chain.median:.3f}",
                f"{each.chain.p90:.3f}",
                f"{each.chain.p99:.3f}",
                "-" if each.alone is None else f"{each.alone.median:.3f}",
                f"{sum(segment.init for segment in variant.segments[: each.index]):.1f}",
                f"{sum(segment.first for segment in variant.segments[: each.index]):.3f}",
                f"{each.chain_bytes / 1000:,.0f}",
            ]
            for each in variant.exits
        ],
    )
    common.table(
        ["point", "accuracy", "expected", "total ms", "p90", "p99", "mean", "expected ms", "exits taken %", "× faster"],
        [
            [
                names,
                f"{point.accuracy:.2%}",
                f"{point.expected_accuracy:.2%}",
                f"{point.total.median:.3f}",
                f"{point.total.p90:.3f}",
                f"{point.total.p99:.3f}",
                f"{point.total.mean:.3f}",
                f"{point.expected_ms:.3f}",
                " / ".join(f"{count / point.images * 100:.0f}" for count in point.exit_counts),
                "-" if point.speedup is None else f"{point.speedup:.2f}",
            ]
            for names, point in _measured(variant)
        ],
    )
    _say_device(variant)


def _measured(variant: "VariantBench") -> "list[tuple[str, CascadeBench]]":
    """Return what was measured at operating points, once each: all names that stand for it, and its figures."""
    from msd_edge.benchmarks.points import measured_with

    first = measured_with(variant.cascade)
    same: dict[tuple[object, ...], list[CascadeBench]] = {}
    for point in variant.cascade:
        same.setdefault((first[point.point], point.expected_accuracy, point.expected_ms), []).append(point)
    return [(", ".join(point.point for point in points), points[0]) for points in same.values()]


def _say_device(variant: "VariantBench") -> None:
    """Print what only devices are asked for."""
    agreement, sustained = variant.agreement, variant.sustained
    if agreement is not None:
        near = (
            "equal bit for bit"
            if agreement.bit_equal
            else f"largest difference {agreement.max_difference:g}, {agreement.top1_agreement:.2%} the same class"
        )
        common.say(f"logits of {agreement.images:,} images beside {agreement.runtime} here: {near}")
    if variant.paced:
        common.table(
            [f"at {variant.paced[0].fps:g} frames/s", "median ms", "p90", "p99", "frames", "missed"],
            [[each.contender, *_times(each.total), str(each.total.count), str(each.missed)] for each in variant.paced],
        )
    if sustained is not None:
        common.table(
            [f"{sustained.contender}, minute", "median ms", "p90", "p99", "images", "thermal"],
            [
                [
                    str(each.minute),
                    *_times(each.total),
                    str(each.total.count),
                    "-" if each.thermal is None else str(each.thermal),
                ]
                for each in sustained.minutes
            ],
        )


def _times(timing: "Timing") -> list[str]:
    return [f"{timing.median:.3f}", f"{timing.p90:.3f}", f"{timing.p99:.3f}"]


def _count(number: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
