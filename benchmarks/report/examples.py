"""Example images by the exit they took, checked before they enter the page."""

import base64
import binascii
import struct
from dataclasses import dataclass

from msd_edge.benchmarks.report.measures import Series
from msd_edge.benchmarks.results import Example

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIDE = 96


@dataclass(frozen=True)
class Thumb:
    """An example with the size to show it at. ``source``: a data address, empty when the image is no PNG."""

    example: Example
    source: str
    width: int
    height: int
    pixelated: bool

    @property
    def right(self) -> bool:
        """Whether the prediction is the label."""
        return self.example.label == self.example.predicted


@dataclass(frozen=True)
class Album:
    """The examples of one operating point of one variant. ``exits``: per exit that was taken, its images."""

    series: Series
    point: str
    exits: tuple[tuple[int, tuple[Thumb, ...]], ...]


def albums(series: Series) -> list[Album]:
    """Return the examples of a variant by operating point, in the order of its points."""
    order = [point.bench.point for point in series.points]
    names = dict.fromkeys([*order, *(example.point for example in series.bench.examples)])
    found = []
    for name in names:
        mine = [thumb(example) for example in series.bench.examples if example.point == name]
        exits = sorted({shown.example.exit for shown in mine})
        grouped = tuple((exit_, tuple(shown for shown in mine if shown.example.exit == exit_)) for exit_ in exits)
        if grouped:
            found.append(Album(series, name, grouped))
    return found


def thumb(example: Example) -> Thumb:
    """Return an example ready to be shown: small images enlarged by a whole factor so that pixels stay pixels."""
    size = _png_size(example.png)
    if size is None:
        return Thumb(example, "", _SIDE, _SIDE, pixelated=False)
    width, height = size
    longest = max(width, height)
    factor = _SIDE // longest if longest <= _SIDE else _SIDE / longest
    shown = max(1, round(width * factor)), max(1, round(height * factor))
    return Thumb(example, f"data:image/png;base64,{example.png}", *shown, pixelated=longest <= _SIDE // 2)


def _png_size(encoded: str) -> tuple[int, int] | None:
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(data) < 33 or not data.startswith(_SIGNATURE) or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return (width, height) if width and height else None
