"""``msd-edge plan``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msd_edge.cli import common
from msd_edge.cli.common import ConfigOption, JsonOption, VerboseOption

if TYPE_CHECKING:
    from msd_edge.benchmarks.plan import PlanOutcome
    from msd_edge.bundle.manifest import Source
    from msd_edge.exits.subsets import Subset

EXAMPLES = """Say which of the trained exits are worth keeping, by measured milliseconds and accuracy of every subset.

Every image that goes on has paid for each branch it passed, so fewer exits can be faster. Thresholds are chosen on one
half of the calibration split and judged on the other, both ways round.

Examples:

  msd-edge plan

  msd-edge plan bundles/resnet20-cifar10 --max-ms 0.8

  msd-edge plan bundles/resnet20-cifar10 --max-drop 0.5 --variant onnx-int8

Then: msd-edge export RUN --keep-exits 1,3
"""

_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("plan", help=EXAMPLES)(plan)


def plan(
    bundle: Annotated[Path | None, typer.Argument(metavar="[BUNDLE]", help="Default: the newest in bundles/.")] = None,
    max_drop: Annotated[
        float, typer.Option(min=0, max=100, metavar="POINTS", help="Accuracy that may be lost against the last exit.")
    ] = 0.0,
    max_ms: Annotated[
        float | None, typer.Option(metavar="MS", help="The most accurate within this expected time instead.")
    ] = None,
    rule: Annotated[str, typer.Option(help="max-softmax, entropy, patience or averaged.")] = "max-softmax",
    variant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose files to time; default tflite-int8.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    images: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="At most so many calibration images; default 5,000.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, max=86400, help="How long to measure.")] = 5.0,
    data: Annotated[str | None, typer.Option(help="Where the training data is now; default: where it was.")] = None,
    json_: JsonOption = False,
    config: ConfigOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Weigh every subset of a bundle's exits."""
    from msd_edge.benchmarks.calibrate import CalibrateOptions, check_options
    from msd_edge.benchmarks.data import bundle_dataset
    from msd_edge.benchmarks.plan import plan_exits
    from msd_edge.bundle.reader import read_bundle

    path = bundle or common.newest_bundle()
    opened = read_bundle(path)
    options = CalibrateOptions(
        rule=rule,  # type: ignore[arg-type]
        max_ms=max_ms,
        variants=(common.choose_variant(opened, variant),),
        threads=threads,
        images=images,
        seconds=seconds,
    )
    check_options(opened, options)
    dataset = bundle_dataset(opened, data)
    if not json_:
        common.facts([("bundle", f"{common.tell_choice(path, bundle)} · {options.variants[0]}")])
    with common.progress(0, "running the files") as bar:
        outcome = plan_exits(
            opened,
            dataset,
            options,
            max_drop=max_drop / 100,
            on_step=lambda _n, done, total, text: bar.note(f"{text} {done:,}/{total:,}"),
        )
    if json_:
        common.say_json({**vars(outcome), "subsets": [vars(one) for one in outcome.subsets]})
        return
    _show(outcome, opened.manifest.source)
    fastest = outcome.subsets[0].ms
    if max_ms is not None and fastest > max_ms:
        common.warn(f"--max-ms {max_ms:g}: nothing is that fast; the best above is the fastest, {fastest:.3f} ms.")


def _show(outcome: "PlanOutcome", source: "Source") -> None:
    count = len(outcome.exit_ms)
    common.facts(
        [
            ("data", f"{outcome.images:,} calibration images · the last exit has {100 * outcome.reference:.2f} %"),
            ("alone", " · ".join(f"exit {k} {ms:.3f} ms" for k, ms in enumerate(outcome.exit_ms, 1))),
            ("chain", " · ".join(f"segment {k} {ms:.3f} ms" for k, ms in enumerate(outcome.segment_ms, 1))),
        ]
    )
    every = next(one for one in outcome.subsets if len(one.exits) == count)
    shown = list(outcome.subsets[:_SHOWN])
    common.say()
    rows = [_row(one, "") for one in shown]
    if every not in shown:
        rows.append(_row(every, "all trained exits"))
    common.table(["exits", "accuracy", "mean ms", "exits taken", ""], rows)
    best = outcome.subsets[0]
    common.say()
    kept = ",".join(map(str, best.exits))
    following = "keeps them all" if best is every else export_words(source, best)
    common.facts([("best", f"exits {kept}: {100 * best.accuracy:.2f} % in {best.ms:.3f} ms"), ("next", following)])


def export_words(source: "Source", best: "Subset") -> str:
    """Return the command that keeps the best exits; a bundle of some exits counts its own, the run counts all."""
    before = str(source.options.get("keep_exits", "all"))
    names = dict(enumerate(before.split(","), 1)) if before != "all" else {}
    kept = ",".join(names.get(index, str(index)) for index in best.exits)
    run = Path("runs") / source.run
    return common.suggest_export(run, run if run.is_dir() else "RUN", "--keep-exits", kept, kept=kept.split(","))


def _row(one: "Subset", note: str) -> list[str]:
    taken = " / ".join(f"{100 * share:.0f}" for share in one.shares)
    return [",".join(map(str, one.exits)), f"{100 * one.accuracy:.2f} %", f"{one.ms:.3f}", f"{taken} %", note]
