"""``msd-edge bench``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msd_edge.cli import common
from msd_edge.cli.bench_shell import bench_shell
from msd_edge.cli.bench_text import plan_json, say_plan, say_results
from msd_edge.cli.common import ConfigOption, JsonOption, OverwriteOption, VerboseOption
from msd_edge.errors import ConfigError

if TYPE_CHECKING:
    from msd_edge.benchmarks.devices import BenchDevice
    from msd_edge.benchmarks.devices.android import PhoneOptions
    from msd_edge.benchmarks.harness import BenchOptions
    from msd_edge.benchmarks.job import Step

EXAMPLES = """Measure a bundle on real test images, each variant in a fresh process, here or on a device.

Examples:

  msd-edge bench

  msd-edge bench bundles/resnet20-cifar10 --threads 2 --overwrite

  msd-edge bench --variant tflite-int8 --variant tflite-float32 --images 1000 --seconds 30

  msd-edge bench --device pixel --apk app-debug.apk --paced 30 --sustain 10

  msd-edge bench --device pixel --benchmark-model ~/Downloads/android_aarch64_benchmark_model

  msd-edge bench --device ssh:pi@board.local

A device is cpu, a phone by serial number, model or product (`msd-edge devices`), or a Linux board over SSH.
Accuracy and the cascade see all test images (or --images of them); --seconds is for what serves latency only.
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("bench", help=EXAMPLES)(bench)


def bench(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle; default the newest under bundles/.")] = None,
    device: Annotated[str, typer.Option(metavar="cpu|NAME|SERIAL|ssh:HOST", help="Where to measure.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    runtime: Annotated[
        str | None, typer.Option(help="litert, tflite-runtime, tensorflow or onnxruntime; default the first installed.")
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="tflite-int8, onnx-float32, …; repeatable; default all that run there.")
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="At most so many test images, the shares of the classes kept.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, max=86400, help="Time per variant for what serves latency only.")
    ] = 10.0,
    apk: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Phones: the demo app, installed unless exactly it is there.")
    ] = None,
    paced: Annotated[
        float | None, typer.Option(metavar="FPS", min=0.1, max=1000, help="Phones: also measure at this frame rate.")
    ] = None,
    sustain: Annotated[
        float | None, typer.Option(metavar="MINUTES", min=0.01, max=600, help="Phones: also work so long without rest.")
    ] = None,
    delegate: Annotated[str | None, typer.Option(metavar="cpu|gpu", help="Phones: what computes; default cpu.")] = None,
    benchmark_model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Phones without the app: the official binary; times single files."),
    ] = None,
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
    from msd_edge.benchmarks.devices import find_device
    from msd_edge.benchmarks.harness import BenchOptions

    del config, verbose
    if benchmark_model is not None:
        if apk is not None or paced is not None or sustain is not None or delegate is not None:
            raise ConfigError(
                "--benchmark-model goes without the app: leave out --apk, --paced, --sustain, --delegate."
            )
        bench_shell(
            device,
            bundle,
            benchmark_model,
            tuple(variant or ()),
            threads,
            seconds,
            out,
            overwrite=overwrite,
            dry_run=dry_run,
            as_json=json,
        )
        return
    where = find_device(device, _phone_options(apk, paced, sustain, delegate))
    options = BenchOptions(
        threads=threads, runtime=runtime, variants=tuple(variant or ()), images=images, seconds=seconds
    )
    try:
        _bench(where, bundle, options, data, out, overwrite=overwrite, dry_run=dry_run, json=json)
    finally:
        where.close()


def _bench(
    where: "BenchDevice",
    bundle: Path | None,
    options: "BenchOptions",
    data: str | None,
    out: Path | None,
    *,
    overwrite: bool,
    dry_run: bool,
    json: bool,
) -> None:
    from msd_edge.benchmarks.data import bundle_dataset
    from msd_edge.benchmarks.harness import check_options, plan_bench, run_bench
    from msd_edge.benchmarks.results_io import check_path, raw_path, write_results
    from msd_edge.bundle.reader import read_bundle
    from msd_edge.files import refuse_existing
    from msd_edge.locks import hold

    chosen = common.newest_bundle() if bundle is None else bundle
    opened = read_bundle(chosen)
    target = common.bench_target(chosen, where.name) if out is None else out
    check_path(target)
    if not dry_run:
        refuse_existing(target, overwrite=overwrite)
        refuse_existing(raw_path(target), overwrite=overwrite)
    check_options(opened, options, where)  # before the data is loaded, which takes longer
    dataset = bundle_dataset(opened, data)
    plan = plan_bench(opened, dataset, options, where)
    if not json:
        say_plan(common.tell_choice(chosen, bundle), dataset, plan, options, where, target)
    if dry_run:
        if json:
            common.say_json({"bundle": str(chosen), "out": str(target), **plan_json(plan, options)})
        return
    # Held before it is measured, so that a place that cannot be written to is known at once.
    with (
        hold(target, work="is benching into these results"),
        common.progress(len(plan.variants) * len(plan.places), "starting") as bar,
    ):
        refuse_existing(target, overwrite=overwrite)

        def show(name: str, step: "Step") -> None:
            place = [each.name for each in plan.variants].index(name)
            bar.done = place * len(plan.places) + step.done
            bar.note(f"{name}: {step.text}")

        try:
            results, raw = run_bench(opened, dataset, plan, options, where, show)
        finally:
            log = _keep_log(where, target)
        if log is not None and results.circumstances is not None:
            kept = results.circumstances.model_copy(update={"log": log.name})
            results = results.model_copy(update={"circumstances": kept})
        results = write_results(target, results, raw)
    if json:
        common.say_json(results.model_dump(mode="json"))
    else:
        say_results(results, target, chosen, plan.notes)


def _phone_options(
    apk: Path | None, paced: float | None, sustain: float | None, delegate: str | None
) -> "PhoneOptions | None":
    """Return what only a phone can be asked; None if nothing of it was."""
    if apk is None and paced is None and sustain is None and delegate is None:
        return None
    from msd_edge.benchmarks.devices.android import PhoneOptions

    chosen = common.choose("--delegate", delegate or "cpu", ("cpu", "gpu"))
    return PhoneOptions(apk=apk, paced=paced, sustain=sustain, delegate="gpu" if chosen == "gpu" else "cpu")


def _keep_log(device: "BenchDevice", target: Path) -> Path | None:
    """Write what the device logged beside the results, however the bench ended; None if it logged nothing."""
    from msd_edge.files import write_text

    said = device.said()
    if not said:
        return None
    path = target.with_suffix(".log")
    write_text(path, said)
    return path
