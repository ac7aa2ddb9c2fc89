"""The segments of one variant, loaded and checked against the manifest, run in order without ever leaving early."""

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from msd_edge.bundle.choices import closest
from msd_edge.bundle.manifest import SegmentFile, TensorSpec
from msd_edge.bundle.reader import Bundle
from msd_edge.errors import BundleError, RuntimeUnavailable
from msd_edge.runtime.open import choose_runtime, choose_variant, open_session
from msd_edge.runtime.preprocess import Image, to_tensor
from msd_edge.runtime.session import Array, Session, TensorInfo, dequantize


@dataclass(frozen=True)
class Step:
    """One segment, ready to run: its session, its inputs' names, and the names and quantization of what it gives."""

    session: Session
    inputs: tuple[str, ...]
    logits: str
    scale: float | None
    zero_point: int | None
    features: tuple[str, ...]


class Chain:
    """All segments of one variant.

    Invariants: features go from one segment to the next as they came out, never converted; not for use by several
    threads at once, because the sessions reuse their buffers.

    Attributes:
        bundle: where the files come from.
        variant: the variant that runs.
        runtime: the name of the runtime; ``runtime_version`` its version.
        threads: how many threads it may use.
        steps: the segments, in the manifest's order.
        load_ms: per segment, the milliseconds to read, verify and load its file.
    """

    def __init__(
        self, bundle: Bundle, *, variant: str | None = None, runtime: str | None = None, threads: int = 1
    ) -> None:
        """Load every segment.

        Args:
            bundle: the opened bundle.
            variant: its name; None: the one that ``choose_variant`` takes.
            runtime: litert, tflite-runtime, tensorflow or onnxruntime; None: the preferred installed one.
            threads: how many threads the runtime may use.

        Raises:
            BundleError: no such variant, or a file is not as the manifest says.
            ConfigError: the runtime does not fit the variant, or there is no such thing.
            RuntimeUnavailable: the runtime is not installed, cannot start or cannot run a file.
        """
        self.bundle = bundle
        self.variant = choose_variant(bundle, variant, runtime)
        self.runtime = choose_runtime(self.variant.target, runtime)
        self.threads = threads
        self.classes = bundle.manifest.classes
        steps, load_ms = [], []
        for segment in self.variant.segments:
            start = time.perf_counter_ns()
            data = bundle.read(segment)
            path = bundle.path / segment.path
            try:
                session = open_session(data, self.variant.target, runtime=self.runtime, threads=threads)
            except (BundleError, RuntimeUnavailable) as problem:
                raise type(problem)(f"{path}: {problem}") from None
            load_ms.append((time.perf_counter_ns() - start) / 1e6)
            check_tensors(path, session, segment)
            steps.append(_step(session, segment))
        for step, following in itertools.pairwise(steps):
            step.session.join(following.session, dict(zip(step.features, following.inputs, strict=True)))
        self.steps = tuple(steps)
        self.load_ms = tuple(load_ms)
        self.runtime_version = steps[0].session.runtime_version
        self._image = self.variant.segments[0].inputs[0]
        self._entry: Array = np.empty(self._image.shape, self._image.dtype)
        self._dtype = np.dtype(self.variant.segments[0].logits.dtype)

    def enter(self, image: Image) -> dict[str, Array]:
        """Return the first segment's input for a raw image, uint8 (H, W, C); it lives until the next call.

        Raises:
            DataError: the image is not uint8 or not of the bundle's size.
        """
        return {self._image.name: to_tensor(image, self._image, self._entry)}

    def raw_logits(self, image: Image, upto: int | None = None) -> Array:
        """Run segments 1..``upto`` (None: all) on a raw image, uint8 (H, W, C), without leaving early.

        Returns:
            (upto, classes), as the files give them: not dequantized.

        Raises:
            DataError: the image is not uint8 or not of the bundle's size.
        """
        steps = self.steps[:upto]
        found = np.empty((len(steps), len(self.classes)), self._dtype)
        values = self.enter(image)
        for place, step in enumerate(steps):
            outputs = step.session.run(values)
            found[place] = outputs[step.logits][0]
            if place + 1 < len(steps):
                values = hand_over(step, steps[place + 1], outputs)
        return found

    def logits(self, image: Image, upto: int | None = None) -> NDArray[np.float32]:
        """Run segments 1..``upto`` (None: all) on a raw image, uint8 (H, W, C), without leaving early.

        Returns:
            (upto, classes) float32.

        Raises:
            DataError: the image is not uint8 or not of the bundle's size.
        """
        raw = self.raw_logits(image, upto)
        rows = [dequantize(row, step.scale, step.zero_point) for row, step in zip(raw, self.steps, strict=False)]
        return np.stack(rows)

    def close(self) -> None:
        """Let the loaded files go."""
        self.steps = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def hand_over(step: Step, following: Step, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the next segment's inputs: the very arrays that came out, under the names it takes them by."""
    return {taken: outputs[given] for taken, given in zip(following.inputs, step.features, strict=True)}


def check_tensors(path: Path, session: Session, segment: SegmentFile) -> None:
    """Raise unless a loaded file has exactly the tensors that the manifest describes.

    Raises:
        BundleError: a name, shape, dtype, scale or zero point differs; both values are in the message.
    """
    _check(path, "input", session.inputs, segment.inputs)
    _check(path, "output", session.outputs, (segment.logits, *segment.features))


def _check(path: Path, kind: str, found: Mapping[str, TensorInfo], specs: tuple[TensorSpec, ...]) -> None:
    for spec in specs:
        if spec.name not in found:
            raise BundleError(f"{path}: the file has no {kind} {spec.name!r}{closest(spec.name, found)}.")
        info = found[spec.name]
        if info.shape != spec.shape or info.dtype != spec.dtype:
            raise BundleError(
                f"{path}: {kind} {spec.name!r} is {info.dtype} {info.shape} in the file, "
                f"{spec.dtype} {spec.shape} in the manifest."
            )
        if info.scale is None or spec.scale is None:
            continue  # ONNX files hold the scale in their nodes; the manifest's hash vouches for it
        # The file holds the scale as float32, the manifest its decimal form.
        if np.float32(info.scale) != np.float32(spec.scale) or info.zero_point != spec.zero_point:
            raise BundleError(
                f"{path}: {kind} {spec.name!r} has scale {info.scale} and zero point {info.zero_point} in the file, "
                f"{spec.scale} and {spec.zero_point} in the manifest."
            )
    if len(found) != len(specs):
        extra = ", ".join(sorted(found.keys() - {spec.name for spec in specs}))
        raise BundleError(f"{path}: the file has {kind}s that the manifest does not know: {extra}.")


def _step(session: Session, segment: SegmentFile) -> Step:
    return Step(
        session=session,
        inputs=tuple(spec.name for spec in segment.inputs),
        logits=segment.logits.name,
        scale=segment.logits.scale,
        zero_point=segment.logits.zero_point,
        features=tuple(spec.name for spec in segment.features),
    )
