"""Exact respellings of a network before conversion: the same values from operators that the kernels take.

``respell(segment, inputs, finds(target, precision))`` gives the network in the spelling that wins there. The network
itself and its weights are never changed.
"""

from .respell import Find, Respelled, Respelling, respell
from .table import REWRITES, Rewrite, finds

__all__ = ["REWRITES", "Find", "Respelled", "Respelling", "Rewrite", "finds", "respell"]
