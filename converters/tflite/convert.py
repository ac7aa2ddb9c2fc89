"""The TFLite converter: float segments from litert-torch, everything else by moving operators."""

from collections.abc import Callable, Sequence
from typing import Any

from msd_edge.bundle.manifest import Precision, Target
from msd_edge.converters.base import ConvertedFile, ConvertedVariant, ignore
from msd_edge.converters.rewrites import REWRITES, Rewrite
from msd_edge.data.dataset import Images
from msd_edge.errors import ExportError, ParityError
from msd_edge.files import sha256_bytes
from msd_edge.models.network import MultiExitNetwork

from .census import count, refuse_floats
from .compose import join, merge
from .dead import widen_dead
from .flatbuffer import describe, only_signature, quantization, read, tensor_maps, write
from .floats import FloatSegments, named
from .pixels import PixelInput, absorb_normalization
from .quantize import layers, to_float16, to_int8
from .quiet import first_sentence
from .ranges import Ranges, observe


class TfliteConverter:
    """Makes .tflite files: NHWC, tensors named ``image``, ``features`` and ``logits``."""

    target: Target = "tflite"

    def __init__(self, rewrites: Sequence[Rewrite] = REWRITES) -> None:
        """Make a converter.

        Args:
            rewrites: the table of respellings; other tables than the package's are for measurements.
        """
        self._rewrites = rewrites

    def prepare(self, network: MultiExitNetwork, step: Callable[[str], None] = ignore) -> "PreparedTflite":
        """Convert every segment to float TFLite; the network itself is left as it is.

        Args:
            network: what to convert, in any mode, on any device.
            step: told one line before each segment.

        Raises:
            ExportError: litert-torch is not installed, cannot convert a segment, or needs a TRANSPOSE for it.
        """
        floats = FloatSegments(network, self._rewrites)
        floats.files("float32", step)
        return PreparedTflite(floats, network.image_shape)


class PreparedTflite:
    """The float segments, and what int8 needs of them.

    Attributes:
        target: ``tflite``.
    """

    target: Target = "tflite"

    def __init__(self, floats: FloatSegments, image_shape: tuple[int, int, int]) -> None:
        self._floats = floats
        channels, height, width = image_shape
        self._image = (height, width, channels)
        self._ranges: dict[str, tuple[Ranges, ...]] = {}

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of layers that can be kept in float, ``segment-2/branch.classifier``."""
        sources, _ = self._sources(ignore)
        return tuple(f"segment-{place}/{name}" for place, data in enumerate(sources, 1) for name in layers(read(data)))

    def variant(
        self,
        precision: Precision,
        activations: Images | None = None,
        keep_float: frozenset[str] = frozenset(),
        step: Callable[[str], None] = ignore,
    ) -> ConvertedVariant:
        """Make all files of one precision; see ``Prepared.variant``.

        Activation ranges are measured once per set of images, so that further int8 variants cost little.

        Raises:
            ExportError: images are missing or do not fit, a layer is unknown, the quantizer failed, or its result is
                not integer throughout.
            ParityError: two segments' scale or zero point differ at a seam.
        """
        if keep_float and precision != "int8":
            raise ExportError(f"only int8 files can keep layers in float, {precision} ones are float.")
        known = self.layers if keep_float else ()
        unknown = sorted(keep_float.difference(known))
        if unknown:
            raise ExportError(f"there is no layer {unknown[0]!r} to keep in float; the first is {known[0]!r}.")
        if precision == "int8":
            segments = self._int8(activations, keep_float, step)
        elif precision == "float16":
            segments = self._float16(step)
        else:
            segments = list(self._floats.files(precision, step))
        step(f"stand-alone exits and multi-signature file → {precision}")
        return _assemble(precision, segments, tuple(name for name in known if name in keep_float))

    def _float16(self, step: Callable[[str], None]) -> list[bytes]:
        files = []
        sources = self._floats.files("float16", step)
        for place, data in enumerate(sources, 1):
            where = f"segment {place} of {len(sources)}"
            step(f"{where} → float16")
            try:
                files.append(to_float16(data))
            except Exception as problem:
                raise ExportError(f"{where}: converting to float16 failed: {first_sentence(problem)}") from problem
        return files

    def _int8(self, activations: Images | None, keep_float: frozenset[str], step: Callable[[str], None]) -> list[bytes]:
        sources, pixels = self._sources(step)
        total = len(sources)
        ranges = self._observe(activations, step)
        taken = [pixels.range]
        files: list[bytes] = []
        for place, data in enumerate(sources, 1):
            where = f"segment {place} of {total}"
            step(f"{where} → int8")
            prefix = f"segment-{place}/"
            kept = frozenset(name.removeprefix(prefix) for name in keep_float if name.startswith(prefix))
            source = read(data)
            fixed = dict(zip(tensor_maps(only_signature(source)[0].inputs), taken, strict=True))
            try:
                files.append(to_int8(data, widen_dead(source, ranges[place - 1] | fixed), kept))
            except Exception as problem:
                raise ExportError(f"{where}: quantizing to int8 failed: {first_sentence(problem)}") from problem
            model = read(files[-1])
            refuse_floats(model, kept, where)
            if place == 1:
                _check_pixels(model, pixels)
            if place < total:
                taken = _handed_over(model)
        return files

    def _sources(self, step: Callable[[str], None]) -> tuple[tuple[bytes, ...], PixelInput]:
        """Return what int8 starts from: no normalization operators where the input's scale can do their work."""
        files = self._floats.files("int8", step)
        first, pixels = absorb_normalization(read(files[0]))
        return (write(first), *files[1:]), pixels

    def _observe(self, activations: Images | None, step: Callable[[str], None]) -> tuple[Ranges, ...]:
        if activations is None or len(activations) == 0:
            raise ExportError("int8 needs training images to measure the activations on, and there are none.")
        if activations.shape[1:] != self._image or str(activations.dtype) != "uint8":
            raise ExportError(
                f"the images for the activation ranges are {activations.dtype} {list(activations.shape[1:])}; "
                f"the network takes uint8 {list(self._image)}."
            )
        key = sha256_bytes(activations.tobytes())
        if key not in self._ranges:
            step(f"activation ranges over {len(activations)} images")
            self._ranges = {key: observe(self._floats.files("int8", step), activations)}
        return self._ranges[key]


def _handed_over(model: Any) -> list[tuple[float, float]]:
    """Return the range that each int8 feature tensor spans: given to the next input, it makes both exactly equal."""
    signature, subgraph = only_signature(model)
    spans = []
    for name, index in tensor_maps(signature.outputs).items():
        if name == "logits":
            continue
        scale, zero_point = quantization(subgraph.tensors[index])
        if scale is None or zero_point is None:
            raise ParityError(f"{name} is not quantized, so the next segment cannot take it as it is.")
        spans.append((scale * (-128 - zero_point), scale * (127 - zero_point)))
    return spans


def _check_pixels(model: Any, pixels: PixelInput) -> None:
    signature, subgraph = only_signature(model)
    (index,) = tensor_maps(signature.inputs).values()
    scale, zero_point = quantization(subgraph.tensors[index])
    if scale is None or zero_point != pixels.zero_point or abs(scale / pixels.scale - 1) > 1e-6:
        raise ParityError(
            f"segment 1: the image input has scale {scale} and zero point {zero_point}; "
            f"raw pixels need {pixels.scale} and {pixels.zero_point}."
        )


def _assemble(precision: Precision, segments: Sequence[bytes], kept: tuple[str, ...]) -> ConvertedVariant:
    models = [read(data) for data in segments]
    # Written by ourselves in any case: constants inside and aligned, whatever the quantizer chose.
    chain = [join([model], outputs=tensor_maps(only_signature(model)[0].outputs)) for model in models]
    exits = [join(chain[:index]) for index in range(1, len(chain) + 1)]
    named = {f"segment_{index}": model for index, model in enumerate(chain, 1)}
    named |= {f"exit_{index}": model for index, model in enumerate(exits, 1)}
    together = merge(named)
    return ConvertedVariant(
        target="tflite",
        precision=precision,
        segments=tuple(_file(model, f"segment {k} of {len(chain)}") for k, model in enumerate(chain, 1)),
        exits=tuple(_file(model, f"exit {k} alone") for k, model in enumerate(exits, 1)),
        multi_signature=write(together),
        multi_operators=count(together),
        signatures=tuple(named),
        float_layers=kept,
    )


def _file(model: Any, where: str) -> ConvertedFile:
    signature, subgraph = only_signature(model)
    with named(where):
        inputs = [describe(subgraph, index, name) for name, index in tensor_maps(signature.inputs).items()]
        outputs = [describe(subgraph, index, name) for name, index in tensor_maps(signature.outputs).items()]
    return ConvertedFile(
        data=write(model),
        operators=count(model),
        inputs=tuple(inputs),
        logits=next(spec for spec in outputs if spec.name == "logits"),
        features=tuple(spec for spec in outputs if spec.name != "logits"),
    )
