"""What ``msd-edge train`` prints."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msd_edge.cli import common
from msd_edge.cli.network import print_costs
from msd_edge.commands import suggest_command

if TYPE_CHECKING:
    from msd_edge.training.config import RunInfo
    from msd_edge.training.report import EpochReport
    from msd_edge.training.setup import Plan


def end_dry_run(plan: "Plan", *, as_json: bool) -> None:
    """Print that nothing was written and how the training is started, or all that was planned as a JSON document."""
    done = len(plan.folder.read_metrics()) if plan.resumed else 0
    config = plan.info.config
    if as_json:
        document = {
            "run": str(plan.folder.path),
            "epochs_done": done,
            "images": {name: len(getattr(plan.dataset, name)) for name in ("train", "calibration", "test")},
            "exits": [vars(cost) for cost in plan.costs],
            "config": config.model_dump(mode="json"),
        }
        common.say(json.dumps(document))
        return
    start = f"goes on from epoch {done} of {config.optim.all_epochs}" if plan.resumed else "starts the training"
    common.say()
    common.say(f"This was a dry run: no run was written; the same command without --dry-run {start}.")


def describe(plan: "Plan") -> None:
    """Print what is about to be trained: data, network, method, run, and what each exit costs."""
    from msd_edge.training.methods import FEATURE_METHODS
    from msd_edge.training.schedule import freezing_epochs, image_sides

    config, dataset = plan.info.config, plan.dataset
    height, width, channels = dataset.image_shape
    last = plan.costs[-1]
    shares = ", ".join(f"{100 * cost.macs / last.macs:.0f}" for cost in plan.costs)
    loss, optim = config.loss, config.optim
    epochs = f"{optim.epochs} epoch{'s' if optim.epochs != 1 else ''}"
    epochs += f", {optim.qat_epochs} more in int8 arithmetic" if optim.qat_epochs else ""
    settings = "" if loss.method in ("joint", "single") else f" · α {loss.alpha:g} · τ {loss.tau:g}"
    settings += " · gradient equilibrium" if loss.equilibrium else ""
    if loss.method in FEATURE_METHODS:
        settings += f" · β {loss.beta_start:g}→{loss.beta_end:g}"
    first = image_sides((height, width), optim.initial_scale, 0, optim.epochs)
    ways = "" if first == (height, width) else f" · images from {first[0]}×{first[1]}, growing"
    if optim.freeze_early < 1:
        ends = freezing_epochs(len(plan.costs), optim.freeze_early, optim.epochs)
        early = ", ".join(str(end) for end in ends if end < optim.epochs)  # none: gone on with for fewer epochs
        ways += f" · trunk frozen piece by piece after epoch{'s' if ',' in early else ''} {early}" if early else ""
    ways += " · first layer whitened" if optim.whiten else ""
    ways += f" · label smoothing {loss.smoothing:g}" if loss.smoothing else ""
    ways += f" · cutout {config.augment.cutout}" if config.augment.cutout else ""
    ways += f" · averaged by {optim.ema:g}" if optim.ema else ""
    usual = type(optim)(epochs=optim.epochs)
    for name in ("weight_decay", "momentum", "warmup"):
        if getattr(optim, name) != getattr(usual, name):
            ways += f" · {name.replace('_', ' ')} {getattr(optim, name):g}"
    common.facts(
        [
            (
                "data",
                f"{dataset.name} · {len(dataset.train):,} train · {len(dataset.calibration):,} calibration · "
                f"{len(dataset.test):,} test (not touched) · {len(dataset.classes)} classes · "
                f"{height}×{width} {'RGB' if channels == 3 else 'grey'}",
            ),
            (
                "network",
                f"{config.network.arch}, exits at {', '.join(plan.info.places)} · after {shares} % of "
                f"{last.macs / 1e6:.1f} M MACs, each alone · {last.parameters / 1e6:.2f} M parameters",
            ),
            (
                "method",
                f"{loss.method}{settings} · {epochs} · batch {optim.batch_size} · "
                f"lr {optim.lr:g} {optim.schedule}{ways} · seed {config.seed}",
            ),
            ("run", f"{plan.folder.path} · stop with Ctrl-C, go on with --resume"),
        ]
    )
    print_costs(plan.costs)


def print_header(info: "RunInfo") -> None:
    """Print the head of the epochs' lines."""
    exits = "".join(f"  exit {k:<2}" for k in range(1, len(info.places) + 1))
    common.say(f"\n{'epoch':>9}   {'loss':>7} {exits}   {'img/s':>6}   left")


def print_epoch(report: "EpochReport", weights: Sequence[float], size: tuple[int, int]) -> None:
    """Print the line of an epoch.

    Args:
        report: the epoch.
        weights: what each epoch of the training costs, to tell how long is left.
        size: height and width of whole images.
    """
    exits = "".join(f"  {100 * a:6.2f} " for a in report.accuracy)
    number = f"{report.epoch}/{report.epochs}"
    done = report.epoch
    left = _clock(report.seconds / weights[done - 1] * sum(weights[done:]))
    ways = ["int8"] if report.int8 else []
    if report.size != size:
        ways.append("{}×{}".format(*report.size))
    if report.frozen:
        ways.append(f"{report.frozen} piece{'s' if report.frozen > 1 else ''} frozen")
    way = f"   {' · '.join(ways)}" if ways else ""
    common.say(f"{number:>9}   {report.loss:7.4f} {exits}   {report.speed:6.0f}   {left}{way}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def print_end(plan: "Plan", best: int) -> None:
    """Print the best epoch and what comes next."""
    rows = [row for row in plan.folder.read_metrics() if row["epoch"] == best]
    found = "".join(f" · exit {k} {100 * a:.2f} %" for row in rows for k, a in enumerate(row["accuracy"], 1))
    named = [] if plan.folder.path.parent == Path("runs") else [plan.folder.path]
    single = plan.info.config.loss.method == "single"
    onward = common.suggest_export(plan.folder.path, *named, "--int8", "--target", "tflite", "--target", "onnx")
    following = suggest_command("eval", *named) if single else onward
    common.say()
    common.facts([("best", f"epoch {best}{found} on the calibration split"), ("next", following)])
