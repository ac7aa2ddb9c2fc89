"""Places the words of a plot beside their marks, off each other and off lines; what finds no room is left out."""

import math
import unicodedata
from dataclasses import dataclass

LINE = 13.0


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether the two overlap."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def distance(self, x: float, y: float) -> float:
        """Return how far the point (x, y) is from this; 0 inside."""
        return math.hypot(max(self.left - x, 0.0, x - self.right), max(self.top - y, 0.0, y - self.bottom))

    def inside(self, other: "Box") -> bool:
        """Whether this lies within ``other``."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True)
class Wish:
    """A word that wants to stand near (x, y). ``kind`` is handed through; wishes are granted in the order given."""

    words: str
    x: float
    y: float
    kind: str
    gap: float = 8.0


@dataclass(frozen=True)
class Placed:
    """A word with its place: baseline at ``y``, ``anchor`` as in SVG's text-anchor."""

    words: str
    x: float
    y: float
    anchor: str
    kind: str


def width_of(words: str, size: float = 12.0) -> float:
    """Return about how wide ``words`` are in the system's sans serif at ``size`` pixels."""
    units = sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.58 for c in words)
    return units * size


def shorten(words: str, most: int = 22) -> str:
    """Return ``words``, cut with an ellipsis when there are more than ``most`` characters."""
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"


def around(x: float, y: float, radius: float) -> Box:
    """Return the square around a mark."""
    return Box(x - radius, y - radius, x + radius, y + radius)


def along(start: tuple[float, float], end: tuple[float, float], step: float = 6.0) -> list[Box]:
    """Return small squares along a line, so that words keep off it."""
    (x1, y1), (x2, y2) = start, end
    count = max(1, round(max(abs(x2 - x1), abs(y2 - y1)) / step))
    return [around(x1 + (x2 - x1) * i / count, y1 + (y2 - y1) * i / count, 1.5) for i in range(count + 1)]


def place(wishes: list[Wish], marks: list[Box], lines: list[Box], frame: Box) -> list[Placed]:
    """Return the words that found room, in the order of ``wishes``.

    Args:
        wishes: the words.
        marks: no word may cover one, nor stand nearer to one than to its own.
        lines: no word may cover one.
        frame: all words stay inside.
    """
    full = [*marks, *lines]
    placed = []
    for wish in wishes:
        for candidate, box in _candidates(wish):
            free = box.inside(frame) and not any(box.meets(other) for other in full)
            if free and not _belongs_elsewhere(box, wish, marks):
                placed.append(candidate)
                full.append(box)
                break
    return placed


def _belongs_elsewhere(box: Box, wish: Wish, marks: list[Box]) -> bool:
    own = box.distance(wish.x, wish.y)
    centres = [((mark.left + mark.right) / 2, (mark.top + mark.bottom) / 2) for mark in marks]
    return any(box.distance(x, y) < own - 0.5 for x, y in centres)


def _candidates(wish: Wish) -> list[tuple[Placed, Box]]:
    wide = width_of(wish.words)
    return [found for gap in (wish.gap, 2.6 * wish.gap) for found in _around_mark(wish, wide, gap)]


def _around_mark(wish: Wish, wide: float, gap: float) -> list[tuple[Placed, Box]]:
    found = []
    for anchor, dx, dy in (
        ("start", gap, 4.0),
        ("middle", 0.0, -gap - 1),
        ("middle", 0.0, gap + 10),
        ("end", -gap, 4.0),
        ("start", gap * 0.7, -gap * 0.7),
        ("start", gap * 0.7, gap * 0.7 + 9),
        ("end", -gap * 0.7, -gap * 0.7),
        ("end", -gap * 0.7, gap * 0.7 + 9),
    ):
        x, y = wish.x + dx, wish.y + dy
        left = x if anchor == "start" else x - wide if anchor == "end" else x - wide / 2
        found.append((Placed(wish.words, x, y, anchor, wish.kind), Box(left, y - LINE + 3, left + wide, y + 3)))
    return found
