"""Tables of docs/results.md."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from msd_edge.benchmarks.evidence.collect import Figures, PointFigures
from msd_edge.benchmarks.throughput import Speed

_HOLDS = 0.05


def draw_rivals(figures: Figures) -> str:
    """Return, per variant, every single-exit network and every operating point of the cascades, fastest first."""
    parts = []
    for name in sorted({variant.variant for variant in figures.variants}):
        rows: list[tuple[float, str]] = []
        for variant in figures.variants:
            if variant.variant != name:
                continue
            if not variant.points:
                last = variant.exits[-1]
                cells = (variant.bundle, "one exit", f"{100 * last.accuracy:.2f}", "", f"{last.macs / 1e6:.1f}")
                rows.append((last.ms, _row(*cells, f"{last.ms:.3f}")))
            for point in variant.points:
                shares = _draw_shares(point)
                cells = (variant.bundle, point.point, f"{100 * point.accuracy:.2f}", shares, f"{point.macs / 1e6:.1f}")
                rows.append((point.ms, _row(*cells, f"{point.ms:.3f}")))
        parts.append(f"**{name}**\n")
        parts.append(_row("network", "point", "accuracy, %", "shares, %", "M MACs", "ms"))
        parts.append("|---|---|---:|---:|---:|---:|")
        parts += [row for _, row in sorted(rows)]
        parts.append("")
    return "\n".join(parts).rstrip()


def draw_cells(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a row for every finished cell of a study that compares networks: costs and accuracies of all exits."""
    lines = [
        _row(
            "data",
            "network",
            "method",
            "M MACs to each exit",
            "calibration, %",
            "test, %",
            "epochs",
            "million parameters",
        ),
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for result in sorted(results, key=lambda result: (result["data"], result["macs"][-1])):
        if "test" in result:
            costs = " / ".join(f"{macs / 1e6:.0f}" for macs in result["macs"])
            accuracies = (" / ".join(f"{100 * v:.2f}" for v in result[split]) for split in ("calibration", "test"))
            size = f"{result['parameters'] / 1e6:.1f}"
            names = (result["data"], result["network"], result["method"])
            lines.append(_row(*names, costs, *accuracies, str(result["epochs"]), size))
    return "\n".join(lines)


def draw_cascades(figures: Figures) -> str:
    """Return each cascade's operating points beside its last exit, alone and for every image."""
    lines = [
        _row("network", "variant", "point", "accuracy, %", "shares, %", "M MACs", "ms", "times as fast"),
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for variant in figures.variants:
        last = variant.exits[-1]
        alone = (f"{100 * last.accuracy:.2f}", "", f"{last.macs / 1e6:.0f}", f"{last.ms:.2f}", "1")
        lines.append(_row(variant.bundle, variant.variant, "last exit alone", *alone))
        for point in variant.points:
            shares = _draw_shares(point)
            speed = "" if point.speedup is None else f"{point.speedup:.2f}"
            values = (f"{100 * point.accuracy:.2f}", shares, f"{point.macs / 1e6:.0f}", f"{point.ms:.2f}", speed)
            lines.append(_row(variant.bundle, variant.variant, point.point, *values))
    return "\n".join(lines)


def _draw_shares(point: PointFigures) -> str:
    return " / ".join(f"{100 * share:.0f}" for share in point.shares)


def draw_parts(figures: Figures) -> str:
    """Return where an image's time goes in each cascade, and how well it was foretold."""
    lines = [
        _row(
            *("network", "variant", "point", "ms", "segments", "pre-processing", "decision", "hand-over and rest"),
            *("foretold / measured", "speed-up", "memory, MiB"),
        ),
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for variant in figures.variants:
        for point in variant.points:
            parts = (point.inference, point.preprocess, point.decision)
            rest = point.ms - sum(parts)
            lines.append(
                _row(
                    *(variant.bundle, variant.variant, point.point, f"{point.ms:.3f}"),
                    *(f"{100 * part / point.ms:.1f} %" for part in (*parts, rest)),
                    f"{point.predicted / point.ms:.3f}",
                    "" if point.speedup is None else f"{point.speedup:.2f}",
                    f"{variant.memory:.1f}",
                )
            )
    return "\n".join(lines)


def count_foretold(figures: Figures) -> tuple[int, int]:
    """Return how many operating points were foretold within 5 %, and how many there are."""
    ratios = [point.predicted / point.ms for variant in figures.variants for point in variant.points]
    return sum(abs(ratio - 1) <= _HOLDS for ratio in ratios), len(ratios)


def draw_speeds(speeds: Sequence[Speed]) -> str:
    """Return the throughput of cascades on batches."""
    lines = [_row("batch", "way", "images/s", "lowest", "ratio to the last exit"), "|---:|---|---:|---:|---:|"]
    for speed in speeds:
        cells = (f"{speed.batch}", speed.way, f"{speed.speed:.0f}", f"{speed.lowest:.0f}", f"{speed.ratio:.2f}")
        lines.append(_row(*cells))
    return "\n".join(lines)


def describe(figures: Figures, names: Iterable[str]) -> str:
    """Return the machine and the versions of some packages in a line."""
    versions = ", ".join(f"{name} {figures.versions[name]}" for name in names if name in figures.versions)
    threads = f"{figures.threads} thread" + ("s" if figures.threads > 1 else "")
    return f"{figures.machine}; {threads}; {versions}; {figures.images:,} test images."


def accuracy_at(figures: Figures, variant: str, ms: float) -> float | None:
    """Return the accuracy of single-exit networks at a time: on the line between them, over the time's logarithm.

    None where no network is as fast or as slow.
    """
    alone = sorted(
        (one.exits[-1].ms, one.exits[-1].accuracy)
        for one in figures.variants
        if one.variant == variant and not one.points
    )
    best: list[tuple[float, float]] = []  # one that is slower and no better is nobody's choice
    for time, accuracy in alone:
        if not best or accuracy > best[-1][1]:
            best.append((time, accuracy))
    if not best or not best[0][0] <= ms <= best[-1][0]:
        return None
    times, accuracies = zip(*best, strict=True)
    return float(np.interp(math.log(ms), np.log(times), accuracies))


def draw_match(figures: Figures, points: Sequence[str]) -> str:
    """Return each cascade's points beside single-exit networks of the same time."""
    lines = [
        _row("variant", "cascade", "point", "ms", "accuracy, %", "single networks at that time, %", "gain"),
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for variant in figures.variants:
        for point in variant.points:
            rival = accuracy_at(figures, variant.variant, point.ms)
            if point.point not in points or rival is None:
                continue
            lines.append(
                _row(
                    *(variant.variant, variant.bundle, point.point, f"{point.ms:.3f}", f"{100 * point.accuracy:.2f}"),
                    *(f"{100 * rival:.2f}", f"{100 * (point.accuracy - rival):+.2f}"),
                )
            )
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
