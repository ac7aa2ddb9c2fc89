"""The plot of cascades beside smaller networks: accuracy against milliseconds, a panel for each variant."""

from collections.abc import Sequence

from msd_edge.benchmarks.evidence.collect import Figures, VariantFigures
from msd_edge.benchmarks.report import svg
from msd_edge.benchmarks.report.svg import Node, Scale, mark, node

_PANEL = (460.0, 330.0)
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 14.0, 34.0, 40.0
_COLOURS = ("#0b62c4", "#c2410c", "#15803d", "#7e22ce")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.title{font-weight:600;font-size:13px}.grid{stroke:#e3e3e3}"
    ".small{font-size:10px;fill:#666}"
)


def draw_plot(figures: Figures) -> str:
    """Return the drawing: a line through the single-exit networks, one through each cascade's operating points."""
    names = sorted({variant.variant for variant in figures.variants})
    cascades = sorted({variant.bundle for variant in figures.variants if variant.points})
    width, height = 2 * _PANEL[0], ((len(names) + 1) // 2) * _PANEL[1] + 30
    y = _accuracy_scale(figures)
    panels = []
    for number, name in enumerate(names):
        shift = f"translate({(number % 2) * _PANEL[0]} {(number // 2) * _PANEL[1]})"
        drawn = _draw_panel(name, [v for v in figures.variants if v.variant == name], cascades, y)
        panels.append(node("g", *drawn, transform=shift))
    drawing = svg.picture(
        "rivals",
        "Accuracy against milliseconds: cascades and smaller networks",
        "The tables of docs/results.md hold the same values.",
        node("style", _STYLE),
        node("rect", width=width, height=height, fill="#fff"),
        *panels,
        *_key(cascades, height - 14),
        width=width,
        height=height,
    )
    return drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def _accuracy_scale(figures: Figures) -> Scale:
    found = [100 * point.accuracy for variant in figures.variants for point in variant.points]
    found += [100 * variant.exits[-1].accuracy for variant in figures.variants if not variant.points]
    return svg.linear(min(found) - 0.5, max(found) + 0.5, _PANEL[1] - _BOTTOM, _TOP, ticks=7)


def _draw_panel(name: str, variants: Sequence[VariantFigures], cascades: Sequence[str], y: Scale) -> list[Node]:
    times = [point.ms for variant in variants for point in variant.points]
    times += [variant.exits[-1].ms for variant in variants if not variant.points]
    x = svg.logarithmic(times, _LEFT, _PANEL[0] - _RIGHT)
    floor = _PANEL[1] - _BOTTOM
    nodes = [node("text", name, x=_LEFT, y=18, class_="title")]
    for tick in y.ticks:
        nodes.append(node("line", x1=_LEFT, x2=_PANEL[0] - _RIGHT, y1=y(tick), y2=y(tick), class_="grid"))
        nodes.append(node("text", svg.tick_text(tick, y.ticks), x=_LEFT - 6, y=y(tick) + 4, text_anchor="end"))
    for tick in x.ticks:
        nodes.append(node("line", x1=x(tick), x2=x(tick), y1=floor, y2=floor + 4, stroke="#999"))
        nodes.append(node("text", svg.tick_text(tick, x.ticks), x=x(tick), y=floor + 17, text_anchor="middle"))
    nodes.append(node("text", "ms for an image, mean", x=_PANEL[0] - _RIGHT, y=floor + 33, text_anchor="end"))
    nodes.append(node("text", "accuracy, %", x=_LEFT + 4, y=_TOP + 2, class_="small"))
    alone = sorted((v.exits[-1].ms, 100 * v.exits[-1].accuracy, v.bundle) for v in variants if not v.points)
    nodes += _line([(x(ms), y(accuracy)) for ms, accuracy, _ in alone], "#777")
    for ms, accuracy, bundle in alone:
        nodes.append(mark("circle", x(ms), y(accuracy), 4, fill="#fff", stroke="#555", stroke_width=1.5))
        width = bundle.split("--")[0].removeprefix("alone-")
        nodes.append(node("text", width, x=x(ms) + 7, y=y(accuracy) + 12, class_="small"))
    for variant in variants:
        if variant.points:
            place = cascades.index(variant.bundle)
            points = sorted((x(point.ms), y(100 * point.accuracy)) for point in variant.points)
            nodes += _line(points, _COLOURS[place % len(_COLOURS)])
            nodes += [_mark(place, *point) for point in points]
    return nodes


def _line(points: Sequence[tuple[float, float]], colour: str) -> list[Node]:
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return [node("polyline", points=path, fill="none", stroke=colour, stroke_width=1.3)] if points else []


def _mark(place: int, x: float, y: float) -> Node:
    return mark(svg.SHAPES[1 + place % (len(svg.SHAPES) - 1)], x, y, 5, fill=_COLOURS[place % len(_COLOURS)])


def _key(cascades: Sequence[str], y: float) -> list[Node]:
    nodes = [mark("circle", _LEFT, y, 4, fill="#fff", stroke="#555", stroke_width=1.5)]
    nodes.append(node("text", "one exit (its width)", x=_LEFT + 10, y=y + 4))
    for place, name in enumerate(cascades):
        x = _LEFT + 170 + 190 * place
        nodes += [_mark(place, x, y), node("text", name, x=x + 10, y=y + 4)]
    return nodes
