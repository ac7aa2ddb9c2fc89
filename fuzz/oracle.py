"""What counts as a good answer to a bad input: an error of ours that a person can act on, and nothing else."""

import re
from collections.abc import Callable

from msd_edge.errors import MsdEdgeError


class Unclear(AssertionError):
    """An error was raised on purpose, but its message is no clear sentence."""


# A class name of Python's or a library's in a message is no sentence for a person.
_RAW_ERROR = re.compile(r"Traceback|<class '|object at 0x|\b(?:Key|Index|Attribute|Type|Recursion|Assertion)Error\b")


def refuses(call: Callable[[], object]) -> bool:
    """Run a call; tell whether it refused, and let through everything that is no error of ours.

    Raises:
        Unclear: it refused without a clear sentence.
    """
    try:
        call()
    except MsdEdgeError as error:
        check_sentence(str(error))
        return True
    return False


def check_sentence(message: str) -> None:
    """Raise unless a message is a sentence: it says something, ends as sentences do, and shows no insides.

    Raises:
        Unclear: it is not.
    """
    text = " ".join(message.split())
    if len(text) < 15:
        raise Unclear(f"too short: {text!r}")
    if not text.endswith((".", "?")):
        raise Unclear(f"no full stop: {text[-300:]!r}")
    if text.endswith("..") and not text.endswith("..."):
        raise Unclear(f"two full stops: {text[-300:]!r}")
    found = _RAW_ERROR.search(text)
    if found:
        raise Unclear(f"shows {found[0]!r}: {text[:300]!r}")
