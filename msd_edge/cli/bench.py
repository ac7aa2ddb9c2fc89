"""``msd-edge bench``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msd_edge.cli import common
from msd_edge.cli.common import ConfigOption, JsonOption, OverwriteOption, VerboseOption

if TYPE_CHECKING:
    from msd_edge.benchmarks.devices import BenchDevice
    from msd_edge.benchmarks.harness import BenchOptions, Plan
    from msd_edge.benchmarks.job import Step
    from msd_edge.benchmarks.results import Results, VariantBench
    from msd_edge.bundle.reader import Bundle
    from msd_edge.data.dataset import Dataset

EXAMPLES = """Measure a bundle on real test images, each variant in a fresh process.

Examples:

  msd-edge bench

  msd-edge bench bundles/resnet20-cifar10 --threads 2 --overwrite

  msd-edge bench --variant tflite-int8 --variant tflite-float32 --images 1000 --seconds 30

Accuracy and the cascade see all test images (or --images of them); --seconds is for what serves latency only.
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("bench", help=EXAMPLES)(bench)


def bench(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle; default the newest under bundles/.")] = None,
    device: Annotated[str, typer.Option(metavar="cpu|NAME", help="Where to measure.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    runtime: Annotated[
        str | None, typer.Option(help="litert, tflite-runtime, tensorflow or onnxruntime; default the first installed.")
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="tflite-int8, onnx-float32, …; may be repeated; default all.")
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="At most so many test images, the shares of the classes kept.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, max=86400, help="Time per variant for what serves latency only.")
    ] = 10.0,
    data: Annotated[str | None, typer.Option(help="Where the data is now, if it has moved.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default results/BUNDLE-DEVICE.json.", show_default=False)
    ] = None,
    overwrite: OverwriteOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and say what would be measured.")
    ] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Measure a bundle."""
    from msd_edge.benchmarks.data import bundle_dataset
    from msd_edge.benchmarks.devices import find_device
    from msd_edge.benchmarks.harness import BenchOptions, check_options, plan_bench, run_bench
    from msd_edge.benchmarks.results_io import check_path, raw_path, write_results
    from msd_edge.bundle.reader import read_bundle
    from msd_edge.files import refuse_existing

    where = find_device(device)
    chosen = common.newest(Path("bundles"), "manifest.json", "bundle", "msd-edge export") if bundle is None else bundle
    opened = read_bundle(chosen)
    target = Path("results") / f"{chosen.resolve().name}-{where.name}.json" if out is None else out
    check_path(target)
    if not dry_run:
        refuse_existing(target, overwrite=overwrite)
        refuse_existing(raw_path(target), overwrite=overwrite)
    options = BenchOptions(
        threads=threads, runtime=runtime, variants=tuple(variant or ()), images=images, seconds=seconds
    )
    check_options(opened, options, where)  # before the data is loaded, which takes longer
    dataset = bundle_dataset(opened, data)
    plan = plan_bench(opened, dataset, options, where)
    if not json:
        _say_plan(opened, dataset, plan, options, where, target, newest=bundle is None)
    if dry_run:
        if json:
            common.say_json({"bundle": str(chosen), "out": str(target), **_plan_json(plan, options)})
        return
    with common.progress(len(plan.variants) * len(plan.places), "starting") as bar:

        def show(name: str, step: "Step") -> None:
            place = [each.name for each in plan.variants].index(name)
            bar.done = place * len(plan.places) + step.done
            bar.note(f"{name}: {step.text}")

        results, raw = run_bench(opened, dataset, plan, options, where, show)
    results = write_results(target, results, raw)
    if json:
        common.say_json(results.model_dump(mode="json"))
    else:
        _say_results(results, target)


def _say_plan(
    bundle: "Bundle",
    dataset: "Dataset",
    plan: "Plan",
    options: "BenchOptions",
    device: "BenchDevice",
    target: Path,
    *,
    newest: bool,
) -> None:
    about = device.describe()
    threads = f"{options.threads} {'thread' if options.threads == 1 else 'threads'}"
    common.facts(
        [
            ("bundle", f"{bundle.path}{' (newest)' if newest else ''}"),
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
            ("variants", ", ".join(variant.name for variant in plan.variants)),
            ("results", str(target)),
        ]
    )
    for note in plan.notes:
        common.say(f"note     {note}")


def _plan_json(plan: "Plan", options: "BenchOptions") -> dict[str, object]:
    return {
        "variants": [variant.name for variant in plan.variants],
        "images": len(plan.places),
        "threads": options.threads,
        "runtime": options.runtime,
        "seconds": options.seconds,
        "notes": list(plan.notes),
    }


def _say_results(results: "Results", target: Path) -> None:
    for variant in results.variants:
        common.say()
        _say_variant(variant)
    common.say()
    common.say(
        f"One image at a time. A chain's and a file's milliseconds are inference alone; a point's are pre-processing, "
        f"inference and decision. {results.warmup} images warm up, nothing is clipped."
    )
    for note in results.notes:
        common.say(f"note     {note}")
    common.facts([("results", str(target)), ("next", "msd-edge report")])


def _say_variant(variant: "VariantBench") -> None:
    golden = variant.golden
    near = "equal bit for bit" if golden.bit_equal else f"equal classes, largest difference {golden.max_difference:g}"
    common.say(
        f"{variant.name} · {variant.runtime} {variant.runtime_version} · {variant.threads} "
        f"{'thread' if variant.threads == 1 else 'threads'} · load {variant.load:.1f} ms · "
        f"peak memory +{variant.peak_memory:.1f} MiB · {golden.images} golden images {near}"
    )
    common.table(
        ["exit", "accuracy", "MACs", "chain ms", "p90", "p99", "alone ms", "init ms", "first ms", "kB"],
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
        ["point", "accuracy", "promised", "total ms", "p90", "p99", "mean", "promised", "exits taken %", "× faster"],
        [
            [
                point.point,
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
            for point in variant.cascade
        ],
    )


def _count(number: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
