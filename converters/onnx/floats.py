"""A network as float ONNX graphs: exported once for each spelling, sliced at the seams."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnx import ModelProto

from msd_edge.bundle.manifest import Precision
from msd_edge.converters.base import ignore
from msd_edge.converters.onnx.export import IMAGE, export_float, output_name, refuse_batch_statistics
from msd_edge.converters.onnx.graph import LOGITS, slice_model
from msd_edge.converters.onnx.tidy import LAYERS
from msd_edge.converters.rewrites import REWRITES, Rewrite, cut_copy, spell
from msd_edge.errors import ExportError
from msd_edge.models.network import MultiExitNetwork
from msd_edge.segments import Segment


@dataclass(frozen=True)
class Piece:
    """A float segment. ``whole``: what each of its inputs and outputs is called in the whole graph."""

    index: int
    model: ModelProto
    whole: dict[str, str]

    @property
    def prefix(self) -> str:
        """What its layers' names begin with."""
        return f"segment-{self.index}/"

    def layers(self) -> tuple[str, ...]:
        """Return the names of layers that can be kept in float."""
        return tuple(self.prefix + node.name for node in self.model.graph.node if node.op_type in LAYERS)

    def own(self, names: frozenset[str]) -> frozenset[str]:
        """Return those of ``segment-2/layer`` that are in this segment, without the prefix."""
        return frozenset(name.removeprefix(self.prefix) for name in names if name.startswith(self.prefix))


@dataclass(frozen=True)
class FloatGraph:
    """The whole chain as one graph, and its segments."""

    whole: ModelProto
    pieces: tuple[Piece, ...]


class FloatGraphs:
    """A network as a float graph in the spelling that each precision wants; precisions that want the same share it."""

    def __init__(self, network: MultiExitNetwork, rewrites: Sequence[Rewrite] = REWRITES) -> None:
        refuse_batch_statistics(network)
        self._segments = cut_copy(network)
        self._image_shape = network.image_shape
        self._rewrites = rewrites
        self._by_precision: dict[Precision, FloatGraph] = {}
        self._by_spelling: dict[tuple[tuple[tuple[int, str], ...], ...], FloatGraph] = {}

    def graph(self, precision: Precision, step: Callable[[str], None] = ignore) -> FloatGraph:
        """Return the float graph that a precision is made from, exporting it if no other precision has it.

        Raises:
            ExportError: a segment cannot be exported; segment and cause are named.
        """
        if precision not in self._by_precision:
            spelled = spell(self._segments, self._image_shape, "onnx", precision, self._rewrites)
            key = tuple(one.spelling for one in spelled)
            if key not in self._by_spelling:
                if self._by_spelling:
                    step(f"torch → onnx, {len(spelled)} segments, in the spelling for {precision}")
                whole = export_float(spelled)
                self._by_spelling[key] = FloatGraph(whole, tuple(_slice(whole, self._segments)))
            self._by_precision[precision] = self._by_spelling[key]
        return self._by_precision[precision]


def _slice(whole: ModelProto, segments: Sequence[Segment]) -> list[Piece]:
    pieces: list[Piece] = []
    given = {IMAGE: IMAGE}
    for segment in segments:
        made = {
            output_name(segment.index, output): output if output == LOGITS else f"{output}_out"
            for output in segment.output_names
        }
        try:
            model = slice_model(whole, f"segment-{segment.index}", given, made)
        except ValueError as problem:
            raise ExportError(f"segment {segment.index} cannot be cut out of the ONNX graph: {problem}.") from problem
        names = {inside: outside for outside, inside in (given | made).items()}
        pieces.append(Piece(segment.index, model, names))
        given = {output_name(segment.index, output): output for output in segment.output_names if output != LOGITS}
    return pieces
