"""The ONNX converter: float32 and int8, the chain of segments and every exit alone."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from msd_edge.bundle.choices import suggest
from msd_edge.bundle.manifest import Precision, Target
from msd_edge.converters.base import ConvertedFile, ConvertedVariant, ignore
from msd_edge.converters.capability import check_capability
from msd_edge.converters.onnx.calibrate import Range, measure_ranges
from msd_edge.converters.onnx.check import finish, require_int8, require_seams
from msd_edge.converters.onnx.floats import FloatGraphs
from msd_edge.converters.onnx.graph import LOGITS, chain
from msd_edge.converters.onnx.pixels import Scale, take_pixels
from msd_edge.converters.onnx.quantize import quantize, read_scale
from msd_edge.converters.onnx.seams import turn_seams
from msd_edge.converters.rewrites import REWRITES, Rewrite
from msd_edge.data.dataset import Images
from msd_edge.errors import ExportError, MsdEdgeError
from msd_edge.models.network import MultiExitNetwork


class OnnxConverter:
    """Converts multi-exit networks to ONNX, batch 1: NCHW, but for maps at an int8 seam, in NHWC.

    A float32 file takes raw pixel values 0..255 as float32, an int8 one as uint8. Tensors are called ``image``,
    ``features``, ``logits``; what a segment hands on is ``features_out``, as no two tensors of an ONNX graph may share
    a name.
    """

    target: Target = "onnx"

    def __init__(self, rewrites: Sequence[Rewrite] = REWRITES) -> None:
        """Make a converter.

        Args:
            rewrites: the table of respellings; other tables than the package's are for measurements.
        """
        self._rewrites = rewrites

    def prepare(self, network: MultiExitNetwork, step: Callable[[str], None] = ignore) -> "OnnxPrepared":
        """Export the chain of segments once and slice it at the seams.

        Raises:
            UnsupportedTarget: a package is missing.
            ExportError: a segment cannot be exported; segment and cause are named.
        """
        check_capability(self.target, "float32")
        step(f"torch → onnx, {network.exits} segments")
        floats = FloatGraphs(network, self._rewrites)
        floats.graph("float32")
        normalize = network.normalize
        return OnnxPrepared(
            floats,
            network.image_shape,
            normalize.mean.detach().cpu().numpy().reshape(-1),
            normalize.inverse_std.detach().cpu().numpy().reshape(-1),
        )


class OnnxPrepared:
    """A network as float ONNX graphs; ranges of activations are measured once for the same images."""

    target: Target = "onnx"

    def __init__(
        self,
        floats: FloatGraphs,
        image_shape: tuple[int, int, int],
        mean: NDArray[np.float32],
        inverse_std: NDArray[np.float32],
    ) -> None:
        self._floats = floats
        channels, height, width = image_shape
        self._image = (height, width, channels)
        self._mean = mean
        self._inverse_std = inverse_std
        self._ranges: tuple[str, dict[str, Range]] = ("", {})

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of layers that can be kept in float, ``segment-2/trunk.1.conv1``."""
        return tuple(name for piece in self._floats.graph("int8").pieces for name in piece.layers())

    def variant(
        self,
        precision: Precision,
        activations: Images | None,
        keep_float: frozenset[str] = frozenset(),
        step: Callable[[str], None] = ignore,
    ) -> ConvertedVariant:
        """Make the chain and every stand-alone exit in one precision.

        Args:
            precision: ``float32`` or ``int8``.
            activations: raw training images (images, H, W, C), uint8; int8 needs them.
            keep_float: names from ``layers`` that stay in float in an int8 variant.
            step: told one line before each piece of work.

        Raises:
            UnsupportedTarget: the precision is not offered for ONNX.
            ExportError: the conversion failed, or the result is not what was asked.
        """
        check_capability(self.target, precision)
        if precision == "float32":
            models = [piece.model for piece in self._floats.graph("float32").pieces]
        else:
            self._refuse_unknown(keep_float)
            models = self._quantized(self._images(activations), keep_float, step)
        kept = keep_float if precision == "int8" else frozenset()
        segments = tuple(
            self._finish(turn_seams(model) if precision == "int8" else model, precision, kept, index)
            for index, model in enumerate(models, 1)
        )
        require_seams(segments, f"onnx {precision}")
        step(f"stand-alone exits → onnx {precision}")
        exits = tuple(self._exit(models[:count], precision, kept) for count in range(1, len(models) + 1))
        return ConvertedVariant(
            target=self.target,
            precision=precision,
            segments=segments,
            exits=exits,
            float_layers=tuple(name for name in self.layers if name in kept) if kept else (),
        )

    def _quantized(self, images: Images, keep_float: frozenset[str], step: Callable[[str], None]) -> list[ModelProto]:
        graph = self._floats.graph("int8", step)
        ranges = self._measure(graph.whole, images, step)
        models: list[ModelProto] = []
        scales: list[Scale] = []
        for piece in graph.pieces:
            step(f"segment {piece.index} of {len(graph.pieces)} → onnx int8")
            try:
                model, inner, kept = piece.model, {**ranges}, piece.own(keep_float)
                if piece.index == 1:
                    taken = take_pixels(model, self._mean, self._inverse_std)
                    model, scales, kept = taken.model, [taken.scale], kept | taken.float_nodes
                    inner |= taken.ranges
                inner |= {name: ranges[whole] for name, whole in piece.whole.items() if whole in ranges}
                inputs = {value.name: scale for value, scale in zip(model.graph.input, scales, strict=True)}
                result = quantize(model, inner, inputs, kept)
                scales = [read_scale(result, value.name) for value in result.graph.output if value.name != LOGITS]
            except MsdEdgeError:
                raise
            except Exception as problem:
                raise ExportError(f"segment {piece.index} → onnx int8: {_first_line(problem)}.") from problem
            models.append(result)
        return models

    def _measure(self, whole: ModelProto, images: Images, step: Callable[[str], None]) -> dict[str, Range]:
        key = hashlib.sha256(repr(images.shape).encode() + np.ascontiguousarray(images).tobytes()).hexdigest()
        if self._ranges[0] != key:
            step(f"activation ranges of {len(images)} images")
            try:
                self._ranges = (key, measure_ranges(whole, images))
            except MsdEdgeError:
                raise
            except Exception as problem:
                raise ExportError(f"onnx int8: measuring activations failed: {_first_line(problem)}.") from problem
        return self._ranges[1]

    def _finish(self, model: ModelProto, precision: Precision, kept: frozenset[str], index: int) -> ConvertedFile:
        where = f"segment {index} → onnx {precision}"
        file = finish(model, where)
        if precision == "int8":
            require_int8(file, where, self._floats.graph("int8").pieces[index - 1].own(kept))
        return file

    def _exit(self, models: list[ModelProto], precision: Precision, kept: frozenset[str]) -> ConvertedFile:
        where = f"exit {len(models)} alone → onnx {precision}"
        file = finish(chain(models, f"exit-{len(models)}"), where)
        if precision == "int8":
            require_int8(file, where, kept)
        return file

    def _images(self, activations: Images | None) -> Images:
        if activations is None or not len(activations):
            raise ExportError("onnx int8: the calibration set is empty; int8 takes its activation ranges from images.")
        if activations.dtype != np.uint8 or activations.shape[1:] != self._image:
            raise ExportError(
                f"onnx int8: calibration images are {activations.dtype} {list(activations.shape[1:])}; this network "
                f"takes uint8 {list(self._image)} (height, width, channels)."
            )
        return activations

    def _refuse_unknown(self, keep_float: frozenset[str]) -> None:
        for name in sorted(keep_float.difference(self.layers if keep_float else ())):
            raise ExportError(f"{name}: there is no such layer to keep in float{suggest(name, self.layers) or '.'}")


def _first_line(problem: BaseException) -> str:
    text = str(problem).strip() or type(problem).__name__
    return text.splitlines()[0].rstrip(".")
