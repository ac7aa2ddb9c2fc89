"""Wrong names are answered with the closest right one."""

import difflib
import re
from collections.abc import Iterable

_NUMBER = re.compile(r"\d+")


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for the closest known name, or an empty string."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=max(1, len(names)), cutoff=0.6)
    if not close:
        return ""
    # Where names differ in their numbers alone, the nearest number is meant: resnet20 for resnet21, not resnet32.
    alike = [other for other in close if _NUMBER.sub("#", other) == _NUMBER.sub("#", name) != name]
    if alike:
        return f"; did you mean {min(alike, key=lambda other: (_distance(name, other), names.index(other)))}?"
    return f"; did you mean {close[0]}?"


def closest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X? (known: X, Y)`` for a name that is not known; without a close one only the list."""
    names = list(known)
    return f"{suggest(name, names)} (known: {', '.join(names) or 'none'})"


def _distance(name: str, other: str) -> float:
    pairs = zip(_NUMBER.findall(name), _NUMBER.findall(other), strict=True)
    # As floats: numbers of a thousand digits are slow as integers.
    return sum(abs(float(mine) - float(theirs)) for mine, theirs in pairs)
