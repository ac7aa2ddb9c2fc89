"""Bars: shares of images per exit, and where a cascade's time goes. They fill the width that the page gives them."""

from msd_edge.benchmarks.report import svg, text
from msd_edge.benchmarks.report.measures import Point
from msd_edge.benchmarks.report.svg import Node, node

# A part narrower than this share of the bar has no room for a label.
_LABELLED = 0.13
PARTS = ("preprocess", "inference", "decision")


def mini_shares(shares: tuple[float, ...]) -> str:
    """Return a small bar for a table cell; the numbers stand beside it, so it is hidden from screen readers."""
    width, nodes, left = 96.0, [], 0.0
    for exit_, part in enumerate(shares, 1):
        if part > 0:
            nodes.append(
                node(
                    "rect",
                    x=left * width,
                    y=0,
                    width=part * width,
                    height=10,
                    fill=f"var(--exit-{exit_})",
                    class_="part",
                )
            )
        left += part
    return node("svg", *nodes, class_="mini", width=96, height=10, viewBox="0 0 96 10", aria_hidden="true").render()


def share_bar(point: Point, identifier: str) -> str:
    """Return the stacked bar of one operating point: above, measured; the thin one below, what calibration expected."""
    measured = _stack(point.shares, 0, 22, labelled=True)
    expected = _stack(point.bench.expected_shares, 25, 5, labelled=False)
    said = ", ".join(f"exit {index} {text.share(part)} %" for index, part in enumerate(point.shares, 1))
    hoped = ", ".join(f"exit {index} {text.share(part)} %" for index, part in enumerate(point.bench.expected_shares, 1))
    return svg.picture(
        identifier,
        f"Exits taken at {point.bench.point}",
        f"Measured: {said}. Expected: {hoped}.",
        *measured,
        *expected,
        width="100%",
        height=30,
        scaled=False,
        class_="bar",
    )


def time_bar(point: Point, longest: float, identifier: str) -> str:
    """Return the bar of one operating point's mean time by part; ``longest`` ms fill the whole width."""
    means = times_of(point)
    nodes, left = [], 0.0
    for number, (name, value) in enumerate(zip(PARTS, means, strict=True), 1):
        width = 100 * value / longest if longest else 0.0
        nodes.append(_rect(left, width, 0, 16, f"var(--part-{number})", f"{name} {text.ms(value)} ms", "part thin"))
        left += width
    said = ", ".join(f"{name} {text.ms(value)} ms" for name, value in zip(PARTS, means, strict=True))
    return svg.picture(
        identifier,
        f"Where the time goes at {point.bench.point}",
        f"Mean per image: {said}.",
        *nodes,
        width="100%",
        height=16,
        scaled=False,
        class_="bar",
    )


def times_of(point: Point) -> tuple[float, float, float]:
    """Return mean milliseconds of pre-processing, inference and decision."""
    return point.bench.preprocess.mean, point.bench.inference.mean, point.bench.decision.mean


def _stack(shares: tuple[float, ...], top: float, height: float, *, labelled: bool) -> list[Node]:
    nodes, left = [], 0.0
    total = sum(shares) or 1.0
    for index, raw in enumerate(shares, 1):
        part = raw / total
        if part <= 0:
            continue
        said = f"exit {index}: {text.share(part)} %"
        nodes.append(_rect(100 * left, 100 * part, top, height, f"var(--exit-{index})", said))
        if labelled and part >= _LABELLED:
            middle = f"{100 * (left + part / 2):.2f}%"
            nodes.append(
                node(
                    "text",
                    f"{text.share(part)} %",
                    x=middle,
                    y=top + height / 2 + 4.5,
                    text_anchor="middle",
                    class_="inside",
                    style=f"fill:var(--exit-{index}-ink)",
                )
            )
        left += part
    return nodes


def _rect(left: float, width: float, top: float, height: float, fill: str, said: str, class_: str = "part") -> Node:
    return node(
        "rect",
        node("title", said),
        x=f"{left:.3f}%",
        y=top,
        width=f"{width:.3f}%",
        height=height,
        fill=fill,
        class_=class_,
    )
