"""``msd-edge bench --benchmark-model``: single files timed on a phone without the app."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msd_edge.cli import common
from msd_edge.commands import suggest_command
from msd_edge.errors import ConfigError

if TYPE_CHECKING:
    from msd_edge.benchmarks.devices.shell_model import ShellModel
    from msd_edge.benchmarks.results import Results, ShellBench
    from msd_edge.bundle.manifest import Variant
    from msd_edge.bundle.reader import Bundle

_WARMUP = 10
_NOTE = (
    "Timed from the shell, file by file: no accuracy, no cascade. On one phone, app and shell differ by up to twice;"
    " with the app installed, bench without --benchmark-model."
)


def bench_shell(
    device: str,
    bundle: Path | None,
    binary: Path,
    names: tuple[str, ...],
    threads: int,
    seconds: float,
    out: Path | None,
    *,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Prove and time the TFLite files of a bundle on a phone with the user's ``benchmark_model``.

    Raises:
        ConfigError: the device is no phone, a variant is none of TFLite, the results exist, or another process is
            benching into them.
        DeviceError: the phone does not answer, or the binary is not for it.
        ParityError: a file does not compute there what it computes here.
    """
    from msd_edge import __version__
    from msd_edge.benchmarks.devices.discover import connect
    from msd_edge.benchmarks.devices.phone import check_phone, describe_condition, read_condition, read_phone
    from msd_edge.benchmarks.devices.shell_model import ShellModel, check_binary
    from msd_edge.benchmarks.results import Circumstances, Results
    from msd_edge.benchmarks.results_io import Raw, check_path, raw_path, write_results
    from msd_edge.bundle.android import folder_name
    from msd_edge.bundle.reader import read_bundle
    from msd_edge.files import refuse_existing
    from msd_edge.locks import hold

    if device == "cpu" or device.startswith("ssh:"):
        raise ConfigError(f"--device {device}: --benchmark-model is for phones.")
    chosen = common.newest_bundle() if bundle is None else bundle
    opened = read_bundle(chosen)
    named = [opened.variant(name) for name in dict.fromkeys(names)] or list(opened.manifest.variants)
    variants = [variant for variant in named if variant.target == "tflite"]
    if not variants or (names and len(variants) < len(named)):
        raise ConfigError("--benchmark-model runs TFLite files; choose such variants with --variant.")
    adb, found = connect(device)
    phone = read_phone(adb, found)
    target = out or Path("results") / f"{chosen.resolve().name}-{folder_name(phone.device.name)}-shell.json"
    check_path(target)
    if not dry_run:
        refuse_existing(target, overwrite=overwrite)
        refuse_existing(raw_path(target), overwrite=overwrite)
    check_binary(binary, phone.abi)
    before = read_condition(adb)
    notes = check_phone(phone, before, found.serial)
    if not as_json:
        common.facts(
            [
                ("bundle", common.tell_choice(chosen, bundle)),
                ("device", f"{phone.device.name} · {phone.device.processor} · {phone.device.system}"),
                ("phone", f"serial {found.serial} · {describe_condition(before)}"),
                ("variants", ", ".join(variant.name for variant in variants)),
                ("results", str(target)),
            ]
        )
    if dry_run:
        return
    # Held before anything is measured, as `bench` without the binary does.
    with hold(target, work="is benching into these results"):
        refuse_existing(target, overwrite=overwrite)
        runner = ShellModel(adb, binary)
        log = target.with_suffix(".log")
        timed = _time(runner, opened, variants, threads, seconds, log)
        after = read_condition(adb)
        created = datetime.now(UTC).isoformat(timespec="microseconds")
        results = Results(
            created=created,
            bundle=opened.manifest.name,
            manifest_sha256=opened.manifest_sha256,
            classes=opened.manifest.classes,
            data="random input, proven on golden images",
            device=phone.device,
            versions={"msd-edge": __version__, "benchmark_model": runner.sha256[:16]},
            options={"device": folder_name(phone.device.name), "threads": threads, "seconds": seconds},
            warmup=_WARMUP,
            variants=(),
            notes=(_NOTE, *notes),
            circumstances=Circumstances(way="shell", burst=True, before=before, after=after, log=log.name),
            shell=tuple(timed),
        )
        results = write_results(target, results, Raw(created=created, times={}, images=(), labels=(), answers={}))
    if as_json:
        common.say_json(results.model_dump(mode="json"))
    else:
        _say(results, target, bundle)


def _time(
    runner: "ShellModel", bundle: "Bundle", variants: "list[Variant]", threads: int, seconds: float, log: Path
) -> "list[ShellBench]":
    """Time all variants, and keep what was said there however it ends."""
    from msd_edge.files import write_text

    timed: list[ShellBench] = []
    try:
        with common.progress(0, "starting") as bar:
            for variant in variants:
                timed += runner.measure(bundle, variant, threads, seconds, bar.note)
    finally:
        runner.close()
        if runner.log:
            write_text(log, "".join(runner.log))
    return timed


def _say(results: "Results", target: Path, bundle: Path | None) -> None:
    common.say()
    common.table(
        ["shell", "file", "median ms", "mean", "p95", "min", "max", "runs", "init ms", "first ms"],
        [
            [
                each.variant,
                each.file,
                "-" if each.median is None else f"{each.median:.3f}",
                f"{each.mean:.3f}",
                "-" if each.p95 is None else f"{each.p95:.3f}",
                f"{each.minimum:.3f}",
                f"{each.maximum:.3f}",
                str(each.count),
                f"{each.init:.1f}",
                f"{each.first:.3f}",
            ]
            for each in results.shell
        ],
    )
    for note in results.notes:
        common.say(f"note     {note}")
    named = [] if bundle is None else [bundle]
    common.facts([("results", str(target)), ("next", suggest_command("calibrate", *named, "--latency", target))])
