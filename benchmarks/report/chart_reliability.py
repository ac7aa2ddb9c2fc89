"""Reliability diagrams: how often images of a given calibrated confidence are right."""

from msd_edge.benchmarks.report import svg, text
from msd_edge.benchmarks.report.svg import Node, Scale, node
from msd_edge.benchmarks.results import ExitBench, ReliabilityBin

_WIDTH, _HEIGHT = 216.0, 246.0
_LEFT, _RIGHT, _TOP, _FLOOR = 30.0, 208.0, 8.0, 186.0
_STRIP_TOP, _STRIP = 210.0, 22.0


def draw(exit_: ExitBench, label: str, identifier: str) -> str:
    """Return the diagram of one exit: accuracy over confidence, and below it how many images fell into each bin."""
    x, y = Scale(0, 1, _LEFT, _RIGHT), Scale(0, 1, _FLOOR, _TOP)
    bins = [part for part in exit_.reliability if part.count > 0]
    return svg.picture(
        identifier,
        f"Reliability of {label}, exit {exit_.index}",
        f"Expected calibration error {text.percent(exit_.ece)} %. " + _spoken(bins),
        *_axes(x, y),
        *[drawn for part in bins for drawn in _bin(part, x, y)],
        *_strip(bins, x),
        width=_WIDTH,
        height=_HEIGHT,
        class_="reliability",
    )


def _spoken(bins: list[ReliabilityBin]) -> str:
    return "; ".join(
        f"confidence {text.percent(part.confidence, 0)} %: {text.percent(part.accuracy, 0)} % right of {part.count}"
        for part in bins
    )


def _axes(x: Scale, y: Scale) -> list[Node]:
    nodes = []
    for value in (0.0, 0.5, 1.0):
        nodes.append(node("line", x1=_LEFT, x2=_RIGHT, y1=y(value), y2=y(value), class_="grid"))
        nodes.append(node("text", f"{100 * value:.0f}", x=_LEFT - 5, y=y(value) + 4, text_anchor="end", class_="tick"))
        anchor = "start" if value == 0 else "end" if value == 1 else "middle"
        nodes.append(node("text", f"{100 * value:.0f}", x=x(value), y=_FLOOR + 15, text_anchor=anchor, class_="tick"))
    nodes.append(node("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="ideal"))
    return nodes


def _bin(part: ReliabilityBin, x: Scale, y: Scale) -> list[Node]:
    said = (
        f"confidence {text.percent(part.confidence)} %, {text.percent(part.accuracy)} % right, "
        f"{text.plural(part.count, 'image')}"
    )
    left, high, ideal = x(part.confidence), y(part.accuracy), y(part.confidence)
    return [
        node("line", x1=left, x2=left, y1=ideal, y2=high, class_="gap"),
        node("g", node("title", said), node("circle", cx=left, cy=high, r=3.6, class_="dot")),
    ]


def _strip(bins: list[ReliabilityBin], x: Scale) -> list[Node]:
    most = max((part.count for part in bins), default=1)
    nodes = [node("line", x1=_LEFT, x2=_RIGHT, y1=_STRIP_TOP + _STRIP, y2=_STRIP_TOP + _STRIP, class_="axis")]
    for part in bins:
        left, right = x(max(0.0, part.low)), x(min(1.0, part.high))
        height = max(1.0, _STRIP * part.count / most)
        nodes.append(
            node(
                "rect",
                node("title", text.plural(part.count, "image")),
                x=left + 0.5,
                y=_STRIP_TOP + _STRIP - height,
                width=max(1.0, right - left - 1),
                height=height,
                class_="count",
            )
        )
    return nodes
