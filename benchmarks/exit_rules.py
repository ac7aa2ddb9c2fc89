"""Which exit rule leaves best: ``python -m msd_edge.benchmarks.exit_rules BUNDLE``.

Every rule is fitted on the calibration split from the outputs of the same files, as ``calibrate`` does it, and held
against the test images at its operating points. Beside them stands what no rule that picks an exit's answer can beat:
hindsight, which sends every image to the first exit that is right about it.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from msd_edge.benchmarks.calibrate import MOST_IMAGES, OnStep, collect_logits
from msd_edge.benchmarks.data import bundle_dataset
from msd_edge.bundle.manifest import Calibration
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.cli import common
from msd_edge.commands import suggest_command
from msd_edge.converters.accuracy import sign_test
from msd_edge.data.dataset import Dataset
from msd_edge.data.select import select_images
from msd_edge.errors import BundleError, ConfigError
from msd_edge.exits.fit import fit_calibration
from msd_edge.exits.metrics import Labels
from msd_edge.exits.rules import RULES, ExitRule, Exits, Floats
from msd_edge.files import write_json
from msd_edge.runtime.open import choose_variant

POINTS = ("lossless", "balanced", "fast")
HINDSIGHT = "hindsight"


@dataclass(frozen=True)
class RuleFigures:
    """A rule at an operating point, on test images.

    Attributes:
        bundle: its name.
        variant: whose files gave the logits.
        rule: its name, or ``hindsight``.
        point: the operating point; empty for ``hindsight``.
        last: accuracy of the last exit by itself.
        accuracy: of the cascade.
        gained, lost: images right in the cascade and wrong at the last exit by itself, and the other way round.
        shares: of images leaving at each exit.
        milliseconds: by the calibration's latency of each segment at these shares.
        speed_up: over sending every image through all segments.
    """

    bundle: str
    variant: str
    rule: str
    point: str
    last: float
    accuracy: float
    gained: int
    lost: int
    shares: tuple[float, ...]
    milliseconds: float
    speed_up: float


@dataclass(frozen=True)
class Outputs:
    """What a variant's files said of both splits.

    Attributes:
        bundle, variant: names.
        calibration: the bundle's own, for its latency and its split.
        chain_macs: multiply-accumulates until each exit.
        fitting: logits of the calibration split, (images, exits, classes).
        fitting_labels: (images,).
        test: logits of the test images, (images, exits, classes).
        test_labels: (images,).
    """

    bundle: str
    variant: str
    calibration: Calibration
    chain_macs: tuple[int, ...]
    fitting: Floats
    fitting_labels: Labels
    test: Floats
    test_labels: Labels


def collect_outputs(
    bundle: Bundle, variant: str | None, dataset: Dataset, images: int | None, on_step: OnStep
) -> Outputs:
    """Run a variant's files on the calibration split and on test images.

    Args:
        bundle: calibrated.
        variant: its name; None: the one that ``choose_variant`` takes.
        dataset: from ``bundle_dataset``.
        images: of the test split, classes' shares kept; None: all.
        on_step: called with progress.

    Raises:
        BundleError: the variant is not calibrated, so that nothing says what a segment takes.
    """
    found = choose_variant(bundle, variant)
    if found.calibration is None:
        raise BundleError(
            f"{bundle.path}: {found.name} is not calibrated, so that nothing says what its segments take; "
            f"run `{suggest_command('calibrate', bundle.path)}`."
        )
    fitting = select_images(dataset.calibration.labels, MOST_IMAGES)
    tested = select_images(dataset.test.labels, images)
    return Outputs(
        bundle.manifest.name,
        found.name,
        found.calibration,
        tuple(info.chain_macs for info in bundle.manifest.exits),
        collect_logits(bundle, found.name, dataset.calibration, fitting, 1, on_step),
        dataset.calibration.labels[fitting],
        collect_logits(bundle, found.name, dataset.test, tested, 1, on_step),
        dataset.test.labels[tested],
    )


def compare_rules(outputs: Outputs) -> Iterator[RuleFigures]:
    """Fit each rule on the calibration split and hold its operating points against the test images."""
    for rule in RULES:
        fitted = fit_calibration(
            rule,
            outputs.fitting,
            outputs.fitting_labels,
            latency=outputs.calibration.latency,
            chain_macs=outputs.chain_macs,
            split_sha256=outputs.calibration.split_sha256,
        )
        for point in fitted.points:
            if point.name in POINTS:
                found = ExitRule.of(fitted, point)
                yield _describe(outputs, rule, point.name, found.name_classes(outputs.test), found.take(outputs.test))
    named = outputs.test.argmax(-1)
    right = named == outputs.test_labels[:, None]
    # Who is wrong at every exit leaves at the first.
    yield _describe(outputs, HINDSIGHT, "", named, right.argmax(1))


def draw_rules(figures: list[RuleFigures]) -> str:
    """Return the table as Markdown: a line a rule, accuracy and milliseconds at each operating point."""
    lines = [
        f"| network | rule | {' | '.join(POINTS)} |",
        f"|---|---|{'---:|' * len(POINTS)}",
    ]
    lines_of: dict[tuple[str, str], dict[str, RuleFigures]] = {}
    for one in figures:
        lines_of.setdefault((one.bundle, one.rule), {})[one.point] = one
    for (bundle, rule), points in lines_of.items():
        if rule == RULES[0]:
            first = next(iter(points.values()))
            whole = f"{100 * first.last:.2f} % at {first.milliseconds * first.speed_up:.3f} ms"
            lines.append(f"| {bundle} | every image to the last exit | {whole} |{' |' * (len(POINTS) - 1)}")
        # Hindsight has no points.
        cells = [points[name] for name in ("", *POINTS) if name in points]
        texts = [_draw_cell(one) for one in cells] + [""] * (len(POINTS) - len(cells))
        lines.append(f"| {bundle} | {rule} | {' | '.join(texts)} |")
    return "\n".join(lines)


def _draw_cell(one: RuleFigures) -> str:
    """Return accuracy, the difference to the last exit with McNemar's exact p (two-sided), and milliseconds."""
    p_value = min(1.0, 2 * sign_test(max(one.gained, one.lost), min(one.gained, one.lost)))
    chance = "p < 0.01" if p_value < 0.01 else f"p {p_value:.2f}"
    difference = 100 * (one.accuracy - one.last)
    return f"{100 * one.accuracy:.2f} % ({difference:+.2f}, {chance}) at {one.milliseconds:.3f} ms"


def _describe(outputs: Outputs, rule: str, point: str, named: Exits, taken: Exits) -> RuleFigures:
    costs: NDArray[np.float64] = np.cumsum(outputs.calibration.latency.segment_ms)
    right = named[np.arange(len(named)), taken] == outputs.test_labels
    last = outputs.test[:, -1].argmax(-1) == outputs.test_labels
    milliseconds = float(costs[taken].mean())
    return RuleFigures(
        bundle=outputs.bundle,
        variant=outputs.variant,
        rule=rule,
        point=point,
        last=float(last.mean()),
        accuracy=float(right.mean()),
        gained=int((right & ~last).sum()),
        lost=int((last & ~right).sum()),
        shares=tuple((np.bincount(taken, minlength=named.shape[1]) / len(taken)).tolist()),
        milliseconds=milliseconds,
        speed_up=float(costs[-1]) / milliseconds,
    )


def main(
    bundles: Annotated[list[Path], typer.Argument(help="Calibrated bundles.")],
    variant: Annotated[str | None, typer.Option(help="Target and precision; default tflite-int8.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Test images, classes' shares kept; default all.")] = None,
    data: Annotated[str | None, typer.Option(help="Where the data is now, if it has moved.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Keep the figures.")] = None,
) -> None:
    """Print what each exit rule costs and gets right at its operating points."""
    figures: list[RuleFigures] = []
    opened = [read_bundle(bundle) for bundle in bundles]
    names = [bundle.manifest.name for bundle in opened]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{name}: two bundles have this name, which tells them apart; compare one of them.")
    with common.progress(0, "exit rules") as bar:

        def on_step(name: str, done: int, total: int, text: str) -> None:
            bar.note(f"{text} of {name} · {done} of {total} images")

        for bundle in opened:
            figures += compare_rules(collect_outputs(bundle, variant, bundle_dataset(bundle, data), images, on_step))
    common.say(draw_rules(figures))
    if out is not None:
        write_json(out, [asdict(one) for one in figures])


if __name__ == "__main__":
    common.run_script(main)
