"""Exact respellings of a network before conversion: the same values from operators that the kernels take.

``spell(segments, image_shape, target, precision)`` gives a network's segments in the spelling that wins there. The
network itself and its weights are never changed.
"""

from .chain import SpelledSegment, cut_copy, spell
from .respell import Find, Respelled, Respelling, respell
from .table import REWRITES, Rewrite, finds

__all__ = [
    "REWRITES",
    "Find",
    "Respelled",
    "Respelling",
    "Rewrite",
    "SpelledSegment",
    "cut_copy",
    "finds",
    "respell",
    "spell",
]
