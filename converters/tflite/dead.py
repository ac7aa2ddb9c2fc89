"""Ranges of activations that hardly are any: a layer whose ReLU gives nothing but zeros on all calibration images.

Taken as measured, such a tensor gets a scale of 4e-12, and XNNPACK refuses the whole file: what a layer's sums are
multiplied by (scales of its input and weights over that of its output) must lie between 2^-32 and 2^8.
"""

from typing import Any

import numpy as np

from .flatbuffer import only_signature, operands, operator_type, text, values
from .ranges import Ranges

_LAYERS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
_DEAD = 2.0**-20  # of what a tensor is made of
_WEIGHT_STEPS = 127  # of a channel's largest weight


def widen_dead(model: Any, ranges: Ranges) -> Ranges:
    """Return ranges in which every tensor reaches as far as int8 can tell.

    A dead tensor gets the span of the widest that it is made of: its values are zero in any scale. A step of a layer's
    output is at least a step of its sums: a finer scale would hold no more.

    Args:
        model: a float segment.
        ranges: {tensor name: (smallest, largest)}, inputs included.
    """
    _, subgraph = only_signature(model)
    found = dict(ranges)

    def span(index: int) -> float:
        low, high = found.get(text(subgraph.tensors[index].name), (0.0, 0.0))
        return max(high, 0.0) - min(low, 0.0)

    for operator in subgraph.operators:
        taken = operands(operator.inputs)
        widest = max(map(span, taken), default=0.0)
        least = 0.0
        if operator_type(model, operator) in _LAYERS:
            weights = values(model, subgraph.tensors[taken[1]])
            if weights is not None:
                least = span(taken[0]) * float(np.abs(weights).max()) / _WEIGHT_STEPS
        for index in operands(operator.outputs):
            name = text(subgraph.tensors[index].name)
            if name not in found:
                continue
            wanted = widest if span(index) < _DEAD * widest else least
            if span(index) < wanted:
                low = min(found[name][0], 0.0)
                found[name] = (low, low + wanted)
    return found
