"""Float segments by litert-torch: the slow part, done once for each spelling of a segment."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from msd_edge.bundle.manifest import Precision
from msd_edge.converters.garbage import no_garbage_collection
from msd_edge.converters.rewrites import REWRITES, Rewrite, SpelledSegment, cut_copy, spell
from msd_edge.errors import ExportError
from msd_edge.models.network import MultiExitNetwork

from .census import refuse_transposes
from .compose import join
from .flatbuffer import read, rename_io, write
from .layout import fold_transposes
from .names import name_layers
from .quiet import first_sentence, quiet

Step = Callable[[str], None]


class FloatSegments:
    """A network's segments as float .tflite files, in the spelling that each precision wants.

    Precisions that want the same spelling share a segment's file: most networks are converted once.
    """

    def __init__(self, network: MultiExitNetwork, rewrites: Sequence[Rewrite] = REWRITES) -> None:
        self._segments = cut_copy(network)
        self._image_shape = network.image_shape
        self._rewrites = rewrites
        self._spelled: dict[Precision, tuple[SpelledSegment, ...]] = {}
        self._files: dict[tuple[int, tuple[tuple[int, str], ...]], bytes] = {}

    def files(self, precision: Precision, step: Step) -> tuple[bytes, ...]:
        """Return the float files that a precision is made from, converting what was not converted yet.

        Raises:
            ExportError: litert-torch is not installed, cannot convert a segment, or needs a TRANSPOSE for it.
        """
        if precision not in self._spelled:
            self._spelled[precision] = spell(self._segments, self._image_shape, "tflite", precision, self._rewrites)
        return tuple(self._file(one, precision, step) for one in self._spelled[precision])

    def _file(self, one: SpelledSegment, precision: Precision, step: Step) -> bytes:
        key = (one.segment.index, one.spelling)
        if key not in self._files:
            where = f"segment {one.segment.index} of {len(self._segments)}"
            step(f"{where} → tflite float32{' for int8' if precision == 'int8' else ''}")
            self._files[key] = _convert(one, where)
        return self._files[key]


@contextlib.contextmanager
def named(where: str) -> Iterator[None]:
    """Say which file an error is about."""
    try:
        yield
    except ExportError as problem:
        raise ExportError(f"{where}: {problem}") from problem


def _convert(one: SpelledSegment, where: str) -> bytes:
    """Return one segment with our names for layers, inputs and outputs, without a TRANSPOSE."""
    segment = one.segment
    model = read(_run_litert_torch(one, where))
    with named(where):
        rename_io(model, segment.input_names, segment.output_names)
    fold_transposes(model)
    model = join([model], outputs=segment.output_names)
    name_layers(model)
    refuse_transposes(model, where)
    return write(model)


def _run_litert_torch(one: SpelledSegment, where: str) -> bytes:
    """Return one segment as litert-torch makes it, taking and giving NHWC."""
    inputs = [place for place, value in enumerate(one.inputs) if value.ndim == 4]
    maps = [place for place, output in enumerate(one.outputs) if output.ndim == 4]
    try:
        with quiet(), no_garbage_collection():
            import litert_torch

            nhwc = litert_torch.to_channel_last_io(one.module, args=inputs, outputs=maps).eval()
            taken = tuple(x.permute(0, 2, 3, 1).contiguous() if x.ndim == 4 else x for x in one.inputs)
            model = litert_torch.convert(nhwc, taken)
            return bytes(model.model_content())
    except ImportError as problem:
        raise ExportError(f"TFLite needs {problem.name}; install it with: pip install 'msd-edge[export]'.") from None
    except Exception as problem:
        raise ExportError(f"{where}: conversion to TFLite failed: {first_sentence(problem)}") from problem
