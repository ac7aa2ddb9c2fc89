"""Accuracy against time: exits joined by a line (hollow marks), operating points of the cascade (filled marks)."""

from dataclasses import dataclass
from itertools import pairwise

from msd_edge.benchmarks.report import svg, text
from msd_edge.benchmarks.report.labels import Box, Placed, Wish, along, around, place, shorten
from msd_edge.benchmarks.report.measures import Run, Series, mean_of
from msd_edge.benchmarks.report.svg import Node, Scale, mark, node

# A spread beyond this ratio of times leaves the fast half of a linear axis in a corner.
_LOG_FROM = 8.0
_EXIT_RADIUS, _POINT_RADIUS = 4.0, 5.6


@dataclass(frozen=True)
class Frame:
    """A drawing's size and margins in pixels."""

    width: float
    height: float
    left: float = 46.0
    right: float = 14.0
    top: float = 30.0
    bottom: float = 44.0


WIDE, NARROW = Frame(960.0, 440.0), Frame(360.0, 380.0, left=40.0, right=8.0)


def shape_of(slot: int) -> str:
    """Return the mark of a slot; where colours repeat, marks do not repeat with them."""
    colours = 6
    return svg.SHAPES[(slot + slot // colours) % len(svg.SHAPES)]


def colour_of(slot: int) -> str:
    """Return the colour of a slot as a custom property."""
    return f"var(--series-{slot % 6 + 1})"


def key_mark(slot: int) -> str:
    """Return the mark of a slot alone, for a key or a table; words beside it say what it is."""
    drawn = mark(shape_of(slot), 8.0, 8.0, 5.2, fill=colour_of(slot))
    return node("svg", drawn, class_="key", width=16, height=16, aria_hidden="true", viewBox="0 0 16 16").render()


def uses_log(runs: list[Run]) -> bool:
    """Whether times are spread so far that the axis of the plots is logarithmic."""
    times = [value for value in _times(runs) if value > 0]
    return bool(times) and min(times) * _LOG_FROM < max(times)


def draw(run: Run, runs: list[Run], frame: Frame, identifier: str, emphasis: Series | None) -> str:
    """Return the plot of one device; the axes are those of all ``runs``, so that plots can be compared.

    Args:
        emphasis: the variant whose operating points are named first.
    """
    x, y = _scales(runs, frame)
    marks: list[Node] = []
    spots: list[Box] = []
    lines: list[Box] = []
    for series in run.series:
        marks += _exit_line(series, x, y, spots, lines)
    for series in run.series:
        marks += _point_marks(series, x, y, spots)
    inner = Box(frame.left + 2, frame.top - 12, frame.width - 2, frame.height - frame.bottom - 2)
    words = place(_wishes(run, x, y, emphasis), spots, lines, inner)
    return svg.picture(
        identifier,
        f"Accuracy against mean time per image on {run.label}",
        "Hollow marks joined by a line: every image leaves at that exit. Filled marks: operating points of the "
        "cascade. The tables hold the same values.",
        *_axes(x, y, frame),
        *marks,
        *[_word(placed) for placed in words],
        width=frame.width,
        height=frame.height,
        class_="plot",
    )


def _times(runs: list[Run]) -> list[float]:
    exits = [mean_of(exit_) for run in runs for series in run.series for exit_ in series.bench.exits]
    return exits + [p.bench.total.mean for run in runs for series in run.series for p in series.points]


def _accuracies(runs: list[Run]) -> list[float]:
    exits = [exit_.accuracy for run in runs for series in run.series for exit_ in series.bench.exits]
    return exits + [p.bench.accuracy for run in runs for series in run.series for p in series.points]


def _scales(runs: list[Run], frame: Frame) -> tuple[Scale, Scale]:
    start, end = frame.left, frame.width - frame.right
    ticks = 9 if frame.width > 600 else 5
    times = _times(runs)
    longest = max(times) * (1.1 if frame.width > 600 else 1.2)  # room for the names at the right end
    if uses_log(runs):
        x = svg.logarithmic([*times, longest], start, end, ticks=ticks)
    else:
        x = svg.linear(0.0, longest, start, end, ticks=ticks)
    percents = [100 * value for value in _accuracies(runs)]
    spare = max(0.2, 0.07 * (max(percents) - min(percents)))
    low, high = max(0.0, min(percents) - spare), min(100.0, max(percents) + spare)
    y = svg.linear(low, high, frame.height - frame.bottom, frame.top, ticks=7)
    return x, y


def _axes(x: Scale, y: Scale, frame: Frame) -> list[Node]:
    floor = frame.height - frame.bottom
    nodes = []
    for tick in y.ticks:
        nodes.append(node("line", x1=frame.left, x2=frame.width - frame.right, y1=y(tick), y2=y(tick), class_="grid"))
        label = svg.tick_text(tick, y.ticks)
        nodes.append(node("text", label, x=frame.left - 7, y=y(tick) + 4, text_anchor="end", class_="tick"))
    for tick in x.ticks:
        nodes.append(node("line", x1=x(tick), x2=x(tick), y1=floor, y2=floor + 4, class_="axis"))
        nodes.append(
            node("text", svg.tick_text(tick, x.ticks), x=x(tick), y=floor + 18, text_anchor="middle", class_="tick")
        )
    nodes.append(node("line", x1=frame.left, x2=frame.width - frame.right, y1=floor, y2=floor, class_="axis"))
    scale = "mean ms per image, logarithmic" if x.log else "mean ms per image"
    nodes.append(
        node("text", scale, x=frame.width - frame.right, y=frame.height - 6, text_anchor="end", class_="label")
    )
    nodes.append(node("text", "accuracy, %", x=2.0, y=12.0, class_="label"))
    return nodes


def _exit_line(series: Series, x: Scale, y: Scale, spots: list[Box], lines: list[Box]) -> list[Node]:
    places = [(x(mean_of(e)), y(100 * e.accuracy)) for e in series.bench.exits]
    colour = colour_of(series.slot)
    nodes = []
    for start, end in pairwise(places):
        nodes.append(node("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], stroke=colour, class_="joined"))
        lines.extend(along(start, end))
    for exit_, (left, top) in zip(series.bench.exits, places, strict=True):
        spots.append(around(left, top, _EXIT_RADIUS + 1))
        said = f"{series.label}, exit {exit_.index}: {text.percent(exit_.accuracy)} % at {text.ms(mean_of(exit_))} ms"
        nodes.append(
            _titled(mark(shape_of(series.slot), left, top, _EXIT_RADIUS, stroke=colour, class_="hollow"), said, series)
        )
    return nodes


def _point_marks(series: Series, x: Scale, y: Scale, spots: list[Box]) -> list[Node]:
    nodes = []
    for point in series.points:
        bench = point.bench
        left, top = x(bench.total.mean), y(100 * bench.accuracy)
        spots.append(around(left, top, _POINT_RADIUS + 1))
        said = f"{series.label} at {bench.point}: {text.percent(bench.accuracy)} % at {text.ms(bench.total.mean)} ms"
        drawn = mark(shape_of(series.slot), left, top, _POINT_RADIUS, fill=colour_of(series.slot), class_="filled")
        nodes.append(_titled(drawn, said, series))
    return nodes


def _titled(drawn: Node, said: str, series: Series) -> Node:
    return node("g", node("title", said), drawn, data_variant=series.label)


def _wishes(run: Run, x: Scale, y: Scale, emphasis: Series | None) -> list[Wish]:
    wishes = []
    for series in run.series:
        last = series.last
        wishes.append(Wish(shorten(series.label), x(mean_of(last)), y(100 * last.accuracy), "name", 9))
    ordered = sorted(run.series, key=lambda series: series is not emphasis)
    for series in ordered:
        for point in series.points:
            left, top = x(point.bench.total.mean), y(100 * point.bench.accuracy)
            wishes.append(Wish(shorten(point.bench.point), left, top, "point", 9))
    for series in run.series:
        for exit_ in series.bench.exits[:-1]:
            wishes.append(Wish(f"exit {exit_.index}", x(mean_of(exit_)), y(100 * exit_.accuracy), "exit", 8))
    return wishes


def _word(placed: Placed) -> Node:
    return node("text", placed.words, x=placed.x, y=placed.y, text_anchor=placed.anchor, class_=f"word {placed.kind}")
