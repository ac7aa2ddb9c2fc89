"""A small SVG writer: nodes that escape what they hold, scales with round ticks, marks.

    >>> node("text", "a < b", x=1.5, text_anchor="end").render()
    '<text x="1.5" text-anchor="end">a &lt; b</text>'

The pictures are written into an HTML page, so no namespace is needed. Colours come from the page's style sheet
through classes and custom properties; that is how one drawing serves light, dark and paper.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

Value = str | int | float


@dataclass(frozen=True)
class Node:
    """An element: name, attributes in order, children (text is escaped when it is written)."""

    name: str
    attributes: tuple[tuple[str, Value], ...] = ()
    children: tuple["Node | str", ...] = ()

    def render(self) -> str:
        """Return the element as markup."""
        attributes = "".join(f' {name}="{escape(_number(value), quote=True)}"' for name, value in self.attributes)
        inner = "".join(clean(child) if isinstance(child, str) else child.render() for child in self.children)
        return f"<{self.name}{attributes}>{inner}</{self.name}>"


def node(name: str, *children: "Node | str", **attributes: Value | None) -> Node:
    """Make an element. ``class_`` becomes ``class``, ``text_anchor`` ``text-anchor``; None leaves an attribute out."""
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    return Node(name, tuple(pairs), children)


def picture(
    identifier: str,
    title: str,
    description: str,
    *children: Node,
    width: Value,
    height: Value,
    scaled: bool = True,
    class_: str | None = None,
) -> str:
    """Return a whole SVG with the title and description that screen readers speak.

    Args:
        identifier: unique in the page.
        title: what it shows, in a few words.
        description: the same values in words.
        children: what is drawn.
        width: pixels, or a share of the room (``100%``).
        height: pixels.
        scaled: keep the drawing's proportions when the page gives it less room; else sizes are taken as they are.
        class_: for the style sheet.
    """
    names = f"{identifier}-title {identifier}-text"
    root = Node(
        "svg",
        tuple(
            (key, value)
            for key, value in (
                ("class", class_),
                ("role", "img"),
                ("aria-labelledby", names),
                ("viewBox", f"0 0 {_number(width)} {_number(height)}" if scaled else None),
                ("width", width),
                ("height", height),
            )
            if value is not None
        ),
        (
            node("title", title, id=f"{identifier}-title"),
            node("desc", description, id=f"{identifier}-text"),
            *children,
        ),
    )
    return root.render()


def clean(text: str) -> str:
    """Return ``text`` escaped for markup, without the control characters that no markup may hold."""
    return escape("".join(c if c >= " " and not "\x7f" <= c <= "\x9f" else " " for c in text), quote=False)


@dataclass(frozen=True)
class Scale:
    """Maps data to pixels.

    Attributes:
        low: data at ``start``.
        high: data at ``end``.
        start: pixel of ``low``.
        end: pixel of ``high`` (smaller than ``start`` for an axis that grows upwards).
        log: whether equal ratios, not equal differences, take equal room; then ``low`` is above 0.
        ticks: round values inside the range.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    ticks: tuple[float, ...] = field(default=())

    def __call__(self, value: float) -> float:
        """Return the pixel of ``value``; on a logarithmic scale what lies below ``low`` is drawn at it."""
        if self.log:
            part = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)


def linear(low: float, high: float, start: float, end: float, *, ticks: int = 5) -> Scale:
    """Return a scale from ``low`` to ``high`` with about so many round ``ticks`` between; equal ends are set apart."""
    if low == high:
        low, high = low - (abs(low) or 1.0) * 0.1, high + (abs(high) or 1.0) * 0.1
    step = nice_step((high - low) / max(1, ticks))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Scale(low, high, start, end, ticks=tuple(round(index * step, 12) for index in range(first, last + 1)))


def logarithmic(values: Iterable[float], start: float, end: float, *, ticks: int = 6) -> Scale:
    """Return a logarithmic scale that holds the positive ``values`` with a little room on both sides."""
    known = [value for value in values if value > 0]
    low, high = min(known) / 1.15, max(known) * 1.15
    return Scale(low, high, start, end, log=True, ticks=log_ticks(low, high, ticks))


def nice_step(rough: float) -> float:
    """Return 1, 2, 2.5 or 5 times a power of ten, the least that is not below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1.0, 2.0, 2.5, 5.0):
        if rough <= factor * power * (1 + 1e-9):
            return factor * power
    return 10 * power


def log_ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Return round values in [low, high]: 1-2-5 steps, fewer where there would be more than ``most``."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: tuple[float, ...] = ()
    for factors in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = tuple(f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high)
        if len(found) <= most:
            return found
    return found[:: math.ceil(len(found) / most)]


def tick_text(value: float, ticks: tuple[float, ...]) -> str:
    """Return a tick's label with as many decimals as its neighbours need, and no more."""
    digits = max((len(f"{tick:.6f}".rstrip("0").split(".")[1]) for tick in ticks), default=0)
    steps = {round(b - a, 9) for a, b in pairwise(ticks)}
    return f"{value:,.{digits}f}" if len(steps) == 1 else f"{value:,.6f}".rstrip("0").rstrip(".")


SHAPES = ("circle", "square", "triangle", "diamond", "down", "cross")


def mark(shape: str, x: float, y: float, radius: float, **attributes: Value | None) -> Node:
    """Return one of ``SHAPES`` around (x, y), all of about the area of a circle of ``radius``."""
    if shape == "circle":
        return node("circle", cx=x, cy=y, r=radius, **attributes)
    corners = _corners(shape, radius)
    path = "M" + "L".join(f"{_number(x + dx)} {_number(y + dy)}" for dx, dy in corners) + "Z"
    return node("path", d=path, **attributes)


def _corners(shape: str, r: float) -> list[tuple[float, float]]:
    if shape == "square":
        a = 0.89 * r
        return [(-a, -a), (a, -a), (a, a), (-a, a)]
    if shape == "diamond":
        a = 1.25 * r
        return [(0, -a), (a, 0), (0, a), (-a, 0)]
    if shape in ("triangle", "down"):
        a, sign = 1.3 * r, 1 if shape == "triangle" else -1
        return [(0, -a * sign), (a * 0.95, 0.72 * a * sign), (-a * 0.95, 0.72 * a * sign)]
    if shape == "cross":
        a, b = 1.2 * r, 0.42 * r
        return [
            (-b, -a),
            (b, -a),
            (b, -b),
            (a, -b),
            (a, b),
            (b, b),
            (b, a),
            (-b, a),
            (-b, b),
            (-a, b),
            (-a, -b),
            (-b, -b),
        ]
    raise ValueError(f"{shape!r} is no mark; marks are {', '.join(SHAPES)}")


def _number(value: Value) -> str:
    if isinstance(value, float):
        return (
            f"{value:.2f}".rstrip("0").rstrip(".").replace("-0", "0")
            if abs(value) < 0.005
            else f"{value:.2f}".rstrip("0").rstrip(".")
        )
    return str(value)
