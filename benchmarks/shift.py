"""What corrupted images do to a cascade: ``python -m msd_edge.benchmarks.shift BUNDLE``.

Thresholds are fitted on clean images. Accuracy of the last exit and of the cascade, exit shares and the runner's own
watch over them are measured on test images with noise, blur, brightness and contrast at five levels.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from msd_edge.benchmarks.corruptions import CORRUPTIONS, LEVELS
from msd_edge.benchmarks.data import bundle_dataset
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.cli import common
from msd_edge.data.select import select_images
from msd_edge.exits.watch import ShareWatch
from msd_edge.files import write_json
from msd_edge.runtime.cascade import find_point, rule_of
from msd_edge.runtime.chain import Chain
from msd_edge.runtime.open import choose_variant


@dataclass(frozen=True)
class Shift:
    """A corruption at a level.

    Attributes:
        corruption: "none" for the clean images.
        level: 1..5; 0 for the clean images.
        last: accuracy of the last exit.
        cascade: accuracy at the operating point.
        shares: of images leaving at each exit.
        milliseconds: expected by the calibration's latency of each segment at these shares.
        alarms: share of the watch's windows that raised an alarm.
    """

    corruption: str
    level: int
    last: float
    cascade: float
    shares: tuple[float, ...]
    milliseconds: float
    alarms: float


def measure_shifts(
    bundle: Bundle,
    variant: str | None,
    point: str | None,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    step: Callable[[str], None],
) -> Iterator[Shift]:
    """Measure clean images, then every corruption at every level.

    Args:
        bundle: calibrated.
        variant, point: as for ``predict``.
        images: raw (images, H, W, C), in a mixed order.
        labels: (images,).
        step: told what is going on.
    """
    found = choose_variant(bundle, variant)
    chosen = find_point(bundle, found, point)
    rule = rule_of(found, chosen)
    assert found.calibration is not None
    cumulated = np.cumsum(found.calibration.latency.segment_ms)
    with Chain(bundle, variant=found.name) as chain:
        for name, level in [("none", 0), *((name, level) for name in CORRUPTIONS for level in LEVELS)]:
            step(f"{name} {level or ''}")
            shown = CORRUPTIONS[name](images, level) if level else images
            logits = np.stack([chain.logits(image) for image in shown])
            exits = rule.take(logits)
            watch = ShareWatch(chosen.exit_shares, found.calibration.images)
            alarms = []
            for exit_ in exits.tolist():
                watch.add(exit_ + 1)
                if watch.images % watch.window == 0:
                    alarms.append(watch.drift is not None)
            answers = rule.name_classes(logits)[np.arange(len(logits)), exits]
            shares = np.bincount(exits, minlength=logits.shape[1]) / len(exits)
            yield Shift(
                corruption=name,
                level=level,
                last=float((logits[:, -1].argmax(-1) == labels).mean()),
                cascade=float((answers == labels).mean()),
                shares=tuple(shares.tolist()),
                milliseconds=float(cumulated[exits].mean()),
                alarms=float(np.mean(alarms)) if alarms else 0.0,
            )


def draw_shifts(shifts: list[Shift]) -> str:
    """Return the table as Markdown."""
    lines = [
        "| corruption | level | last exit, % | cascade, % | lost by leaving early | shares, % | ms | alarms, % |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for shift in shifts:
        shares = " / ".join(f"{100 * share:.0f}" for share in shift.shares)
        lost = 100 * (shift.last - shift.cascade)
        lines.append(
            f"| {shift.corruption} | {shift.level or ''} | {100 * shift.last:.2f} | {100 * shift.cascade:.2f} | "
            f"{lost:.2f} | {shares} | {shift.milliseconds:.3f} | {100 * shift.alarms:.0f} |"
        )
    return "\n".join(lines)


def main(
    bundle: Annotated[Path, typer.Argument(help="A calibrated bundle.")],
    variant: Annotated[str | None, typer.Option(help="Target and precision; default tflite-int8.")] = None,
    point: Annotated[str | None, typer.Option(help="Operating point; default lossless.")] = None,
    images: Annotated[int, typer.Option(min=200, help="Test images, classes' shares kept.")] = 2000,
    data: Annotated[str | None, typer.Option(help="Where the data is now, if it has moved.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Keep the figures.")] = None,
) -> None:
    """Print what corrupted test images do to a bundle's cascade."""
    opened = read_bundle(bundle)
    test = bundle_dataset(opened, data).test
    places = select_images(test.labels, images)
    with common.progress(0, "shift") as bar:
        shifts = list(measure_shifts(opened, variant, point, test.read(places), test.labels[places], bar.note))
    common.say(draw_shifts(shifts))
    if out is not None:
        write_json(out, [asdict(shift) for shift in shifts])


if __name__ == "__main__":
    common.run_script(main)
