"""A network's segments in the spelling of one target and precision, with example inputs."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from msd_edge.bundle.manifest import Precision, Target
from msd_edge.errors import ExportError
from msd_edge.models.network import MultiExitNetwork
from msd_edge.segments import Segment, cut

from .equalize import equalize_concatenations
from .fold import fold_batch_norms
from .respell import Respelled, respell
from .table import REWRITES, Rewrite, finds
from .trace import record, record_network


@dataclass(frozen=True)
class SpelledSegment:
    """One segment as it is converted.

    Attributes:
        segment: as written; it has the names of inputs and outputs.
        module: computes the same, in the wanted spelling: the segment itself where nothing is respelled.
        inputs: an example of what it takes, batch 1.
        outputs: what it makes of that.
    """

    segment: Segment
    module: nn.Module
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def spelling(self) -> tuple[tuple[int, str], ...]:
        """What is respelled and how; equal for precisions that want the same, empty for a segment as written."""
        return self.module.chosen if isinstance(self.module, Respelled) else ()


def cut_copy(network: MultiExitNetwork) -> tuple[Segment, ...]:
    """Return the segments of a copy of a network, in float32, on the processor, in evaluation mode.

    Concatenations have their channels equalized, and batch normalizations behind convolutions are folded into them: the
    copy computes the same.
    """
    own = copy.deepcopy(network).cpu().float().eval()
    trace = record_network(own)
    equalize_concatenations(own, trace)
    fold_batch_norms(own, trace)
    return cut(own)


def spell(
    segments: Sequence[Segment],
    image_shape: tuple[int, int, int],
    target: Target,
    precision: Precision,
    rewrites: Iterable[Rewrite] = REWRITES,
) -> tuple[SpelledSegment, ...]:
    """Respell the segments of a network for a target and precision.

    Args:
        segments: the whole chain, in evaluation mode; they and their weights stay as they are.
        image_shape: (channels, height, width).
        target: the file format.
        precision: of weights and activations.
        rewrites: the table.

    Raises:
        ExportError: a segment has no use for what the one before hands on.
    """
    inputs: tuple[Tensor, ...] = (torch.zeros(1, *image_shape),)
    wanted = finds(target, precision, rewrites)
    made = []
    for segment in segments:
        _refuse_unused(segment, inputs)
        module = respell(segment, inputs, wanted)
        with torch.no_grad():
            outputs = segment(*inputs)
        made.append(SpelledSegment(segment, module, inputs, outputs))
        inputs = outputs[1:]
    return tuple(made)


def _refuse_unused(segment: Segment, inputs: tuple[Tensor, ...]) -> None:
    if len(inputs) == 1:
        return
    trace = record(segment, inputs)
    for name, value in zip(segment.input_names, trace.inputs, strict=True):
        if value not in trace.users:
            raise ExportError(
                f"segment {segment.index} has no use for {name}, which segment {segment.index - 1} hands on to it; "
                f"let piece {segment.index - 1} of the trunk give what is needed behind it and no more."
            )
