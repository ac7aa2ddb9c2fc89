"""``msd-edge calibrate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msd_edge.cli import common
from msd_edge.cli.common import ConfigOption, JsonOption, VerboseOption
from msd_edge.errors import ConfigError

if TYPE_CHECKING:
    from msd_edge.benchmarks.calibrate import CalibrateOptions, CalibrateOutcome, CalibratePlan
    from msd_edge.bundle.manifest import Calibration
    from msd_edge.bundle.reader import Bundle
    from msd_edge.data.dataset import Dataset

EXAMPLES = """Fit temperatures and exit thresholds on the outputs of a bundle's files, and choose operating points.

Points: full (never leaves early), lossless (trusted to lose nothing against the last exit), balanced and fast (trusted
to stay within 0.5 and 2.0 points of it), custom (with --min-accuracy or --max-ms; where no --variant is named, those
that cannot meet the wish do without it).

Rules: an image leaves when the top probability is high enough (max-softmax), when the entropy is low enough (entropy),
when exits in a row agree (patience), or by the top probability of what all exits so far say together (averaged), which
is then the answer too: usually more accurate for the same time. Its weights are fitted on the calibration split; full
is then all exits together, and what must not be lost is still the last exit's own accuracy.

Examples:

  msd-edge calibrate

  msd-edge calibrate --rule averaged

  msd-edge calibrate bundles/resnet20-cifar10 --max-ms 1.2

  msd-edge calibrate --rule entropy --min-accuracy 93 --variant tflite-int8

  msd-edge calibrate --latency results/pixel.json
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("calibrate", help=EXAMPLES)(calibrate)


def calibrate(
    bundle: Annotated[Path | None, typer.Argument(metavar="[BUNDLE]", help="Default: the newest in bundles/.")] = None,
    rule: Annotated[str, typer.Option(help="max-softmax, entropy, patience or averaged.")] = "max-softmax",
    min_accuracy: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Add the cheapest point with this accuracy: 0.93 and 93 both mean 93 %."),
    ] = None,
    max_ms: Annotated[
        float | None, typer.Option(metavar="MS", help="Add the most accurate point within this expected time.")
    ] = None,
    latency: Annotated[
        Path | None, typer.Option(metavar="RESULTS", help="Take the times from a bench; default: measure them here.")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this one (tflite-int8); repeatable; default all that run here."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    images: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most so many calibration images; default 5,000.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Where the training data is now; default: where it was.")] = None,
    json_: JsonOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be done, stop.")] = False,
    config: ConfigOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Fit temperatures and exit thresholds, and choose operating points."""
    wanted = None if min_accuracy is None else read_share(min_accuracy)
    path = bundle or common.newest_bundle()

    from msd_edge.benchmarks.calibrate import CalibrateOptions, check_options, plan_calibration
    from msd_edge.benchmarks.data import bundle_dataset
    from msd_edge.bundle.reader import read_bundle

    opened = read_bundle(path)
    options = CalibrateOptions(
        rule=rule,  # type: ignore[arg-type]
        min_accuracy=wanted,
        max_ms=max_ms,
        latency=latency,
        variants=tuple(variant or ()),
        threads=threads,
        images=images,
    )
    latencies = check_options(opened, options)  # before the data is loaded, which may take a while
    dataset = bundle_dataset(opened, data)
    plan = plan_calibration(opened, dataset, options, latencies)
    if not json_:
        _describe(common.tell_choice(path, bundle), opened, dataset, plan, options)
    if dry_run:
        if json_:
            common.say_json(_plan_json(opened, plan))
        return
    outcome = _run(opened, dataset, options, plan)
    if json_:
        common.say_json(_outcome_json(outcome, plan))
        return
    for name, calibration in outcome.calibrations.items():
        _show(name, calibration, _wish(options))
    for note in outcome.notes:
        common.warn(note)
    common.say()
    common.facts([("next", common.suggest_bench(path, "cpu", *([] if bundle is None else [bundle])))])


def read_share(value: float) -> float:
    """Read an accuracy: up to 1 it is a share, above it is percent.

    Raises:
        ConfigError: it is not within 0..100 %.
    """
    share = value / 100 if value > 1 else value
    if not 0 < share <= 1:
        raise ConfigError(f"--min-accuracy {value:g}: give a share (0.93) or percent (93).")
    return share


def _run(
    bundle: "Bundle", dataset: "Dataset", options: "CalibrateOptions", plan: "CalibratePlan"
) -> "CalibrateOutcome":
    from msd_edge.benchmarks.calibrate import calibrate_bundle

    names = [one.name for one in plan.variants]
    with common.progress(len(names) * len(plan.places), "calibrating") as bar:

        def on_step(name: str, done: int, total: int, text: str) -> None:
            bar.done = names.index(name) * total + done
            bar.note(f"{name}: {text}")

        return calibrate_bundle(bundle, dataset, plan, options, on_step)


def _describe(
    taken: str, bundle: "Bundle", dataset: "Dataset", plan: "CalibratePlan", options: "CalibrateOptions"
) -> None:
    exits = len(bundle.manifest.exits)
    chosen, total = len(plan.places), len(dataset.calibration)
    some = f"{total:,}" if chosen == total else f"{chosen:,} of {total:,}"
    threads = f"{options.threads} thread{'s' if options.threads > 1 else ''}"
    source = f"from {options.latency}" if options.latency else f"measured on this machine, {threads}"
    common.facts(
        [
            ("bundle", f"{taken} · {exits} exit{'s' if exits > 1 else ''}"),
            ("files", ", ".join(one.name for one in plan.variants)),
            ("data", f"{dataset.name} · {some} calibration images · test images not touched"),
            ("rule", f"{options.rule} · milliseconds {source}"),
            *(("note", note) for note in plan.notes),
        ]
    )


def _wish(options: "CalibrateOptions") -> str:
    parts = [] if options.min_accuracy is None else [f"--min-accuracy {options.min_accuracy:g}"]
    return " ".join(parts if options.max_ms is None else [*parts, f"--max-ms {options.max_ms:g}"])


def _show(name: str, calibration: "Calibration", wish: str) -> None:
    common.say()
    common.say(name)
    weighed = any(part.weights for part in calibration.exits)
    common.table(
        ["exit", "accuracy", "temperature", "NLL before → after", "ECE before → after", *(["weights"] * weighed)],
        [
            [
                str(part.exit),
                f"{100 * part.accuracy:.2f} %",
                f"{part.temperature:.3f}",
                f"{part.nll_before:.4f} → {part.nll_after:.4f}",
                f"{100 * part.ece_before:.2f} → {100 * part.ece_after:.2f} %",
                *([" / ".join(f"{weight:.2f}" for weight in part.weights or ())] * weighed),
            ]
            for part in calibration.exits
        ],
    )
    if weighed:
        common.say("each exit by itself; the sum of weighed logits answers")
    common.say()
    common.table(
        ["point", "accuracy", "expected ms", "exits taken", ""],
        [
            [
                point.name,
                f"{100 * point.accuracy:.2f} %",
                f"{point.expected_ms:.3f}",
                f"{' / '.join(f'{100 * share:.0f}' for share in point.exit_shares)} %",
                f"← {wish}" if point.name == "custom" else "",
            ]
            for point in calibration.points
        ],
    )
    source = calibration.latency
    common.say(
        f"calibration split, {calibration.images:,} images; times of {source.device}, {source.runtime}, "
        f"{source.threads} thread{'s' if source.threads > 1 else ''}"
    )


def _plan_json(bundle: "Bundle", plan: "CalibratePlan") -> dict[str, Any]:
    return {
        "bundle": str(bundle.path),
        "variants": [one.name for one in plan.variants],
        "images": len(plan.places),
        "split_sha256": bundle.manifest.source.calibration_sha256,
        "notes": list(plan.notes),
        "dry_run": True,
    }


def _outcome_json(outcome: "CalibrateOutcome", plan: "CalibratePlan") -> dict[str, Any]:
    return {
        "bundle": str(outcome.bundle.path),
        "manifest_sha256": outcome.bundle.manifest_sha256,
        "variants": {name: one.model_dump(mode="json") for name, one in outcome.calibrations.items()},
        "notes": [*plan.notes, *outcome.notes],
    }
