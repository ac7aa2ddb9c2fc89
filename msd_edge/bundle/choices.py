"""Wrong names are answered with the closest right one."""

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X? (known: X, Y)`` for a name that is not known; without a close one only the list."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"{f'; did you mean {close[0]}?' if close else ''} (known: {', '.join(names) or 'none'})"
