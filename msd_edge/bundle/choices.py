"""Wrong names are answered with the closest right one."""

import difflib
from collections.abc import Iterable


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def closest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X? (known: X, Y)`` for a name that is not known; without a close one only the list."""
    names = list(known)
    return f"{suggest(name, names)} (known: {', '.join(names) or 'none'})"
