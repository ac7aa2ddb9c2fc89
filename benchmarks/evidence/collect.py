"""``python -m msd_edge.benchmarks.evidence.collect RESULTS.json… --out FILE``: what tables need of many benches."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import AliasChoices, Field

from msd_edge.benchmarks.results import Results, VariantBench
from msd_edge.benchmarks.results_io import read_results
from msd_edge.cli import common
from msd_edge.files import write_json
from msd_edge.typed import Model

Share = Annotated[float, Field(ge=0, le=1)]


class ExitFigures(Model):
    """An exit when every image leaves there. ``ms``: mean of an image, the exit alone where there is a file of it."""

    index: int
    accuracy: Share
    ms: float
    macs: int


class PointFigures(Model):
    """An operating point of a cascade, mean of an image in milliseconds.

    Attributes:
        preprocess, inference, decision: parts of ``ms``; what is left of it is handing on and the loop around.
        expected: by calibration, measured then, at the shares it expected; older files call it promised.
        predicted: from the times that the exits took in this bench, at the shares that came.
        speedup: against the last exit, in turns on the same images.
    """

    point: str
    accuracy: Share
    shares: tuple[Share, ...]
    ms: float
    macs: float
    preprocess: float
    inference: float
    decision: float
    expected: Annotated[float, Field(validation_alias=AliasChoices("expected", "promised"))]
    predicted: float
    speedup: float | None


class VariantFigures(Model):
    """A variant of a bundle. ``memory``: MiB that the loaded segments take; ``load``: milliseconds to load them."""

    bundle: str
    variant: str
    load: float
    memory: float
    segments: tuple[float, ...]
    exits: tuple[ExitFigures, ...]
    points: tuple[PointFigures, ...]


class Figures(Model):
    """Benches of one machine: what it is, and all variants."""

    machine: str
    images: int
    threads: int
    versions: dict[str, str]
    variants: tuple[VariantFigures, ...]


def collect_figures(benches: list[Results]) -> Figures:
    """Return what tables need of benches of one machine."""
    first = benches[0]
    variants = tuple(_read_variant(bench, variant) for bench in benches for variant in bench.variants)
    return Figures(
        machine=f"{first.device.processor}, {first.device.cores} cores, {first.device.system}",
        images=first.variants[0].exits[-1].images,
        threads=first.variants[0].threads,
        versions=first.versions,
        variants=variants,
    )


def _read_variant(bench: Results, variant: VariantBench) -> VariantFigures:
    exits = []
    for found in variant.exits:
        total = found.alone_total or found.total or found.chain
        exits.append(ExitFigures(index=found.index, accuracy=found.accuracy, ms=total.mean, macs=found.macs))
    through = [(found.total or found.chain).mean for found in variant.exits]
    points = []
    for point in variant.cascade if len(exits) > 1 else ():
        shares = tuple(count / point.images for count in point.exit_counts)
        points.append(
            PointFigures(
                point=point.point,
                accuracy=point.accuracy,
                shares=shares,
                ms=point.total.mean,
                macs=point.mean_macs,
                preprocess=point.preprocess.mean,
                inference=point.inference.mean,
                decision=point.decision.mean,
                expected=point.expected_ms,
                predicted=sum(share * ms for share, ms in zip(shares, through, strict=True)),
                speedup=point.speedup,
            )
        )
    return VariantFigures(
        bundle=Path(bench.bundle).name,
        variant=variant.name,
        load=variant.load,
        memory=variant.peak_memory,
        segments=tuple(segment.warm.mean for segment in variant.segments),
        exits=tuple(exits),
        points=tuple(points),
    )


def main(
    results: Annotated[list[Path], typer.Argument(help="Results of benches on one machine.")],
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="Where the figures go.")],
) -> None:
    """Keep what tables need of benches: means, shares, costs; not the single times."""
    figures = collect_figures([read_results(path) for path in results])
    write_json(out, figures.model_dump(mode="json"))
    common.say(f"{out}: {len(figures.variants)} variants of {len(results)} benches")


if __name__ == "__main__":
    common.run_script(main)
