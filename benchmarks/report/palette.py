"""Colours: a categorical set for variants, an ordered ramp for exits, each for light and for dark surfaces.

The sets were searched for: at least 3:1 against the surface, and as far apart as could be for people with full, protan,
deutan and tritan vision. Every use pairs a colour with a mark or a word.
"""

import math
from typing import Literal

Theme = Literal["light", "dark"]

SURFACES: dict[Theme, str] = {"light": "#fcfcfb", "dark": "#16171a"}
SERIES: dict[Theme, tuple[str, ...]] = {
    "light": ("#405ad8", "#b08832", "#8f2305", "#532e70", "#3d92d3", "#ba4e75"),
    "dark": ("#586cef", "#efb31a", "#ca4780", "#76e2da", "#9799fb", "#cd8655"),
}
# Lightness of the first and the last exit: the later an exit, the further it stands off the surface.
_RAMP: dict[Theme, tuple[float, float]] = {"light": (0.82, 0.40), "dark": (0.44, 0.86)}
# With pure black and white one of the two always reaches 4.5:1.
_INK = ("#ffffff", "#000000")


def ramp(exits: int, theme: Theme) -> tuple[str, ...]:
    """Return a colour per exit, from early to late, evenly spaced in lightness (OKLCH)."""
    first, last = _RAMP[theme]
    steps = [index / (exits - 1) if exits > 1 else 0.6 for index in range(exits)]
    return tuple(_oklch(first + step * (last - first), 0.085, 205 + 45 * step) for step in steps)


def ink_on(colour: str) -> str:
    """Return white or black, whichever reads better on ``colour``."""
    return max(_INK, key=lambda ink: contrast(ink, colour))


def contrast(a: str, b: str) -> float:
    """Return the contrast ratio of two colours as WCAG defines it, 1 to 21."""
    lighter, darker = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def style(exits: int) -> str:
    """Return ``--series-1``.., ``--exit-1``.. and ``--exit-1-ink``.. as CSS for both themes; paper is light."""
    dark = _properties(exits, "dark")
    return f":root{{{_properties(exits, 'light')}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def _properties(exits: int, theme: Theme) -> str:
    pairs = [(f"series-{index}", colour) for index, colour in enumerate(SERIES[theme], 1)]
    for index, colour in enumerate(ramp(exits, theme), 1):
        pairs += [(f"exit-{index}", colour), (f"exit-{index}-ink", ink_on(colour))]
    return "".join(f"--{name}:{colour};" for name, colour in pairs)


def linear_rgb(colour: str) -> tuple[float, float, float]:
    """Return linear-light red, green and blue, 0 to 1, of ``#rrggbb``."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return red, green, blue


def _luminance(colour: str) -> float:
    red, green, blue = linear_rgb(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _oklch(lightness: float, chroma: float, hue: float) -> str:
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )
    return "#" + "".join(f"{round(255 * _encode(part)):02x}" for part in linear)


def _encode(part: float) -> float:
    part = min(1.0, max(0.0, part))
    return 12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055
