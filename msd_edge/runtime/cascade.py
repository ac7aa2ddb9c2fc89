"""The cascade: run a segment, look at its logits, stop where the exit rule says so."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from msd_edge.bundle.choices import closest
from msd_edge.bundle.manifest import OperatingPoint, Variant
from msd_edge.bundle.reader import Bundle
from msd_edge.commands import suggest_command
from msd_edge.errors import BundleError, ConfigError
from msd_edge.exits.rules import ExitRule
from msd_edge.exits.watch import ShareWatch
from msd_edge.runtime.chain import Chain, hand_over
from msd_edge.runtime.open import choose_variant
from msd_edge.runtime.preprocess import Image
from msd_edge.runtime.session import Array, dequantize

DEFAULT_POINT = "lossless"


@dataclass(frozen=True)
class Answer:
    """What the cascade says of one image, and what it cost; times in milliseconds.

    Attributes:
        label: the class's name.
        index: the class's number.
        probability: its own, of those below.
        probabilities: of all classes at the exit taken, as the rule has them (``ExitRule``), (classes,) float32.
        exit: the exit taken, 1-based; only the segments up to it have run.
        segment_ms: inference time of each segment that ran.
        preprocess_ms: raw uint8 image to the input tensor.
        decision_ms: dequantize, softmax, compare; of all exits passed together.
        total_ms: all of it.
    """

    label: str
    index: int
    probability: float
    probabilities: NDArray[np.float32]
    exit: int
    segment_ms: tuple[float, ...]
    preprocess_ms: float
    decision_ms: float
    total_ms: float


class CascadeRunner:
    """Runs the segments of a bundle one after the other and stops at the first exit that is sure enough.

        with CascadeRunner(read_bundle("bundles/x"), point="lossless") as cascade:
            answer = cascade.predict(image)  # uint8 (H, W, C); predict_file(path) reads an image file

    Invariants: a segment after the exit taken is never invoked; features are handed on as they came out. Not for use
    by several threads at once.

    Attributes:
        bundle: where the files come from.
        chain: the loaded segments.
        variant: the variant that runs.
        point: the name of the operating point, None with a rule of one's own.
        rule: the exit rule.
        watch: counts at which exits images leave; ``watch.drift`` says when that is no longer what calibration
            expected. None with a rule of one's own, of which nothing is expected.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        variant: str | None = None,
        point: str | None = None,
        runtime: str | None = None,
        threads: int = 1,
        rule: ExitRule | None = None,
    ) -> None:
        """Load a bundle's variant and its exit rule.

        Args:
            bundle: the opened bundle.
            variant: its name; None: the one that ``choose_variant`` takes.
            point: an operating point of its calibration; None: ``lossless``, or the first if there is none so named.
            runtime: litert, tflite-runtime, tensorflow or onnxruntime; None: the preferred installed one.
            threads: how many threads the runtime may use.
            rule: an exit rule instead of an operating point.

        Raises:
            BundleError: the variant is unknown or not calibrated, the point unknown, or a file not as described.
            ConfigError: the runtime or the rule does not fit the bundle, or both a point and a rule are given.
            RuntimeUnavailable: the runtime is not installed, cannot start or cannot run a file.
        """
        found = choose_variant(bundle, variant, runtime)
        self.watch: ShareWatch | None = None
        if rule is None:
            chosen = find_point(bundle, found, point)
            point, rule = chosen.name, rule_of(found, chosen)
            if found.calibration is not None:
                self.watch = ShareWatch(chosen.exit_shares, found.calibration.images)
        elif point is not None:
            raise ConfigError(f"both the operating point {point!r} and an exit rule are given; one decides.")
        if rule.exits != len(found.segments):
            raise ConfigError(
                f"the {rule.name} rule is for {rule.exits} exits, {bundle.path} has {len(found.segments)}."
            )
        self.bundle = bundle
        self.variant = found
        self.point = point
        self.rule = rule
        self.chain = Chain(bundle, variant=found.name, runtime=runtime, threads=threads)
        self._classes = bundle.manifest.classes

    @property
    def runtime(self) -> str:
        """The name of the runtime that runs the files."""
        return self.chain.runtime

    @property
    def runtime_version(self) -> str:
        """Its version."""
        return self.chain.runtime_version

    @property
    def threads(self) -> int:
        """How many threads it may use."""
        return self.chain.threads

    def predict(self, image: Image) -> Answer:
        """Classify one raw image, uint8 (H, W, C) of the bundle's size, with no more segments than it takes.

        Raises:
            DataError: the image is not uint8 or not of the bundle's size.
        """
        start = perf_counter_ns()
        values = self.chain.enter(image)
        steps, decide = self.chain.steps, self.rule.decide
        logits: list[NDArray[np.float32]] = []
        segment_ms: list[float] = []
        decision = 0
        place = 0
        before = first = perf_counter_ns()
        while True:
            step = steps[place]
            outputs = step.session.run(values)
            ran = perf_counter_ns()
            logits.append(dequantize(outputs[step.logits][0], step.scale, step.zero_point))
            leaves, probabilities = decide(place, logits)
            segment_ms.append((ran - before) / 1e6)
            if leaves:
                break
            place += 1
            values = hand_over(step, steps[place], outputs)
            before = perf_counter_ns()
            decision += before - ran
        index = int(probabilities.argmax())
        probability = float(probabilities[index])
        end = perf_counter_ns()
        if self.watch is not None:
            self.watch.add(place + 1)
        return Answer(
            label=self._classes[index],
            index=index,
            probability=probability,
            probabilities=probabilities,
            exit=place + 1,
            segment_ms=tuple(segment_ms),
            preprocess_ms=(first - start) / 1e6,
            decision_ms=(decision + end - ran) / 1e6,
            total_ms=(end - start) / 1e6,
        )

    def predict_file(self, path: Path | str) -> Answer:
        """Classify an image file of any size, read as training read its images; needs Pillow.

        Turned the way its EXIF orientation says, resized, cropped at the centre to the bundle's size; reading the file
        is not in the times.

        Raises:
            DataError: the file is missing, no image, damaged, or has too many pixels.
        """
        from msd_edge.runtime.preprocess import load_image

        return self.predict(load_image(Path(path), self.bundle.manifest.input))

    def logits(self, image: Image, upto: int | None = None) -> NDArray[np.float32]:
        """Return the logits of exits 1..``upto`` (None: all) without leaving early, (upto, classes) float32.

        Raises:
            DataError: the image is not uint8 or not of the bundle's size.
        """
        return self.chain.logits(image, upto)

    def raw_logits(self, image: Image, upto: int | None = None) -> Array:
        """Return the logits of exits 1..``upto`` (None: all) as the files give them, (upto, classes).

        Raises:
            DataError: the image is not uint8 or not of the bundle's size.
        """
        return self.chain.raw_logits(image, upto)

    def close(self) -> None:
        """Let the loaded files go."""
        self.chain.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def find_point(bundle: Bundle, variant: Variant, name: str | None = None) -> OperatingPoint:
    """Return an operating point of a variant's calibration by name; None: ``lossless``, else the first.

    Raises:
        BundleError: the variant is not calibrated, or has no such point.
    """
    calibration = variant.calibration
    if calibration is None:
        raise BundleError(
            f"{bundle.path}: {variant.name} is not calibrated, so that nobody knows when to leave; "
            f"run `{suggest_command('calibrate', bundle.path)}`."
        )
    named = {point.name: point for point in calibration.points}
    if name is None:
        return named.get(DEFAULT_POINT, calibration.points[0])
    for point in (*calibration.points, *calibration.front, *calibration.budgeted):
        if point.name == name:
            return point
    raise BundleError(f"{bundle.path}: {variant.name} has no operating point {name!r}{closest(name, named)}.")


def rule_of(variant: Variant, point: OperatingPoint) -> ExitRule:
    """Return the exit rule of an operating point of the variant's calibration.

    Raises:
        BundleError: the variant is not calibrated.
        ConfigError: the numbers make no rule.
    """
    if variant.calibration is None:
        raise BundleError(f"{variant.name} is not calibrated; run `msd-edge calibrate BUNDLE`.")
    return ExitRule.of(variant.calibration, point)
