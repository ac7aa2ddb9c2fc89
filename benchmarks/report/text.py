"""How the report writes numbers: one way each for milliseconds, shares, ratios, sizes and counts."""

import math
from datetime import UTC, datetime

NOTHING = "–"
MINUS = "−"


def ms(value: float | None) -> str:
    """Return milliseconds with two or three significant digits, without the unit: ``0.614``, ``12.3``, ``1,240``."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    if value < 0.001:
        return "<0.001"
    if value < 0.1:
        return f"{value:.3f}"
    if value < 10:
        return f"{value:.2f}" if value >= 1 else f"{value:.3f}"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage without the sign: ``91.2``."""
    return NOTHING if share is None else f"{100 * share:.{digits}f}"


def share(value: float) -> str:
    """Return a share of images as a whole percentage; what is there but small is never shown as none."""
    if 0 < value < 0.005:
        return "<1"
    if 0.995 <= value < 1:
        return ">99"
    return f"{100 * value:.0f}"


def points(difference: float | None, digits: int = 1) -> str:
    """Return a difference of two shares in percentage points, signed: ``+0.3``, ``−1.2``, ``0.0``."""
    if difference is None:
        return NOTHING
    rounded = round(100 * difference, digits)
    if rounded == 0:
        return f"{0:.{digits}f}"
    return f"{'+' if rounded > 0 else MINUS}{abs(rounded):.{digits}f}"


def times(ratio: float | None) -> str:
    """Return a ratio of speeds without the sign ×: ``1.93``, ``12.4``."""
    if ratio is None:
        return NOTHING
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def kilobytes(size: int | None) -> str:
    """Return bytes as kB (1000 bytes), without the unit: ``0.84``, ``12.4``, ``13,120``."""
    if size is None:
        return NOTHING
    value = size / 1000
    if value < 1:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def macs(value: float) -> str:
    """Return multiply-accumulate operations with their unit: ``41.2 M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            scaled = value / size
            return (
                f"{scaled:.2f} {unit}"
                if scaled < 10
                else f"{scaled:.1f} {unit}"
                if scaled < 100
                else f"{scaled:,.0f} {unit}"
            )
    return f"{value:.0f}"


def count(value: int) -> str:
    """Return a whole number with thousands apart."""
    return f"{value:,}"


def significant(value: float | None, digits: int = 3) -> str:
    """Return a number of any size with ``digits`` significant digits, very small ones as ``2.1e−7``."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if exponent < -4 or exponent >= 7:
        return (
            f"{value:.{digits - 1}e}".replace("e-0", "e−")
            .replace("e-", "e−")
            .replace("e+0", "e")
            .replace("e+", "e")
            .replace("-", MINUS)
        )
    return f"{value:,.{max(0, digits - 1 - exponent)}f}".replace("-", MINUS)


def p_value(value: float) -> str:
    """Return a probability as it is quoted: ``0.31``, ``0.004``, ``<0.001``."""
    if value < 0.001:
        return "<0.001"
    return f"{value:.3f}" if value < 0.095 else f"{value:.2f}"


def moment(written: str) -> str:
    """Return an ISO 8601 time to the minute, ``2026-01-02 03:04 UTC``; what is none is returned as it is."""
    try:
        when = datetime.fromisoformat(written)
    except ValueError:
        return written
    if when.tzinfo is None:
        return f"{when:%Y-%m-%d %H:%M}"
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def listed(items: list[str], word: str = "and") -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return ``1 exit``, ``3 exits``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"
