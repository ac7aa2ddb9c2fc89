"""Images a second where images come in batches: ``python -m msd_edge.benchmarks.throughput BUNDLE``.

A cascade on batches loses what it gains if a batch waits for its hardest image. Two ways are held against the last exit
alone: batches that shrink at every exit, and filled ones, where what goes on waits until a batch of it is full.
The ONNX files of a bundle are for one image; their first axis is set free in memory, nothing else changes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from msd_edge.benchmarks.data import bundle_dataset
from msd_edge.benchmarks.environment import describe_system, read_processor
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.cli import common
from msd_edge.data.select import select_images
from msd_edge.errors import ConfigError
from msd_edge.exits.rules import ExitRule, never, score
from msd_edge.files import write_json
from msd_edge.runtime.cascade import CascadeRunner
from msd_edge.runtime.onnx import import_onnxruntime
from msd_edge.runtime.session import Array, dequantize

_ROUNDS = 5


@dataclass(frozen=True)
class Stage:
    """A file that takes any number of images.

    Attributes:
        session: of ONNX Runtime.
        inputs: names, in the order in which the stage before gives its features.
        logits, features: names of what it gives.
        scale, zero_point: of the logits; None in float.
    """

    session: Any
    inputs: tuple[str, ...]
    logits: str
    features: tuple[str, ...]
    scale: float | None
    zero_point: int | None

    def run(self, values: Sequence[Array]) -> tuple[NDArray[np.float32], list[Array]]:
        """Return logits (batch, classes) and features, (batch, ...) each."""
        names = [self.logits, *self.features]
        logits, *features = self.session.run(names, dict(zip(self.inputs, values, strict=True)))
        return dequantize(logits, self.scale, self.zero_point), features


@dataclass(frozen=True)
class Speed:
    """Images a second of a way at a batch size: median and lowest of all rounds; ``ratio`` to the last exit alone."""

    way: str
    batch: int
    speed: float
    lowest: float
    ratio: float


@dataclass
class _Waiting:
    """Images in front of a stage: their numbers, and their tensors in pieces as they came."""

    numbers: list[NDArray[np.int64]] = field(default_factory=list)
    pieces: list[list[Array]] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(part) for part in self.numbers)

    def add(self, numbers: NDArray[np.int64], values: list[Array]) -> None:
        if len(numbers):
            self.numbers.append(numbers)
            self.pieces.append(values)

    def take(self, most: int) -> tuple[NDArray[np.int64], list[Array]]:
        numbers, pieces, room = [], [], most
        while self.numbers and room:
            part, values = self.numbers.pop(0), self.pieces.pop(0)
            if len(part) > room:  # what is left is seen, not copied
                self.numbers.insert(0, part[room:])
                self.pieces.insert(0, [value[room:] for value in values])
                part, values = part[:room], [value[:room] for value in values]
            numbers.append(part)
            pieces.append(values)
            room -= len(part)
        if len(numbers) == 1:
            return numbers[0], pieces[0]
        return np.concatenate(numbers), [np.concatenate(parts) for parts in zip(*pieces, strict=True)]


def open_stages(bundle: Bundle, variant: str, threads: int) -> tuple[list[Stage], list[Stage]]:
    """Return the segments of an ONNX variant, and its last exit alone, for any number of images.

    Where a bundle has no file of the exit alone, all segments are what leads to it.

    Raises:
        ConfigError: it is no ONNX variant.
    """
    found = bundle.variant(variant)
    if found.target != "onnx":
        raise ConfigError(f"{bundle.path}: {variant} has files for one image; batches need an ONNX variant.")
    segments = [
        Stage(
            _open_free(bundle.read(entry), threads),
            tuple(spec.name for spec in entry.inputs),
            entry.logits.name,
            tuple(spec.name for spec in entry.features),
            entry.logits.scale,
            entry.logits.zero_point,
        )
        for entry in found.segments
    ]
    alone = [
        Stage(
            _open_free(bundle.read(entry), threads),
            (entry.image.name,),
            entry.logits.name,
            (),
            entry.logits.scale,
            entry.logits.zero_point,
        )
        for entry in found.exits[-1:]
    ]
    return segments, alone or segments


def _open_free(data: bytes, threads: int) -> Any:
    import onnx

    model = onnx.load_from_string(data)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    library = import_onnxruntime()
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return library.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_shrinking(stages: Sequence[Stage], rule: ExitRule, images: Array, batch: int) -> NDArray[np.int64]:
    """Answer images in batches; those that leave are missing from the batch behind.

    Args:
        stages: the segments.
        rule: ``max-softmax`` or ``entropy``.
        images: as the first segment takes them.
        batch: images that start together.

    Returns:
        The class of every image.
    """
    answers = np.zeros(len(images), np.int64)
    for start in range(0, len(images), batch):
        numbers = np.arange(start, min(start + batch, len(images)))
        values: list[Array] = [images[numbers]]
        for place, stage in enumerate(stages):
            numbers, values = _step(stage, rule, place, numbers, values, answers)
            if not len(numbers):
                break
    return answers


def run_filled(stages: Sequence[Stage], rule: ExitRule, images: Array, batch: int) -> NDArray[np.int64]:
    """Answer images in batches that are full at every segment; those that go on wait for others. See above."""
    answers = np.zeros(len(images), np.int64)
    waiting = [_Waiting() for _ in stages]
    waiting[0].add(np.arange(len(images)), [images])
    while any(len(queue) for queue in waiting):
        full = [place for place, queue in enumerate(waiting) if len(queue) >= batch]
        # The deepest full one, so that little waits; nothing full: the first, which may fill those behind.
        place = full[-1] if full else next(place for place, queue in enumerate(waiting) if len(queue))
        numbers, values = waiting[place].take(batch)
        numbers, values = _step(stages[place], rule, place, numbers, values, answers)
        if place + 1 < len(stages):
            waiting[place + 1].add(numbers, values)
    return answers


def _step(
    stage: Stage,
    rule: ExitRule,
    place: int,
    numbers: NDArray[np.int64],
    values: Sequence[Array],
    answers: NDArray[np.int64],
) -> tuple[NDArray[np.int64], list[Array]]:
    """Run a stage, note its answers, and return what goes on."""
    logits, features = stage.run(values)
    answers[numbers] = logits.argmax(-1)
    if place == rule.exits - 1:
        return numbers[:0], []
    found = score(rule.name, logits, rule.temperatures[place])
    limit = np.float32(rule.thresholds[place])
    stays = ~(found >= limit) if rule.name == "max-softmax" else ~(found <= limit)
    return numbers[stays], [feature[stays] for feature in features]


def measure_speeds(
    bundle: Bundle,
    variant: str,
    point: str | None,
    images: NDArray[np.uint8],
    batches: Sequence[int],
    threads: int,
    step: Callable[[str], None],
) -> tuple[list[Speed], float]:
    """Measure every way at every batch size, all in turn in each round.

    Args:
        bundle: calibrated.
        variant: an ONNX one.
        point: as for ``predict``.
        images: raw (images, H, W, C).
        batches: sizes.
        threads: of ONNX Runtime.
        step: told what is going on.

    Returns:
        The speeds, and the share of images that get the same answer in batches as one at a time.

    Raises:
        ConfigError: the variant or its rule is of another kind.
    """
    stages, alone = open_stages(bundle, variant, threads)
    with CascadeRunner(bundle, variant=variant, point=point, threads=threads) as cascade:
        rule = cascade.rule
        if rule.name not in ("max-softmax", "entropy"):  # the others look back at earlier exits
            raise ConfigError(f"{bundle.path}: batches are measured with max-softmax or entropy, not with {rule.name}.")
        stay = ExitRule(rule.name, (never(rule.name, len(alone)),) * (len(alone) - 1), (1.0,) * len(alone))
        step("one at a time")
        single = np.array([cascade.predict(image).index for image in images])
        first = bundle.variant(variant).segments[0].inputs[0]
        tensors = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(first.dtype)
        ways: dict[str, Callable[[int], NDArray[np.int64]]] = {
            "last exit alone": lambda batch: run_shrinking(alone, stay, tensors, batch),
            "cascade, batches shrink": lambda batch: run_shrinking(stages, rule, tensors, batch),
            "cascade, batches filled": lambda batch: run_filled(stages, rule, tensors, batch),
        }
        same = float((run_filled(stages, rule, tensors, max(batches)) == single).mean())
        taken: dict[tuple[str, int], list[float]] = {}
        for number in range(_ROUNDS):
            for batch in batches:
                for name, way in ways.items():
                    step(f"round {number + 1} of {_ROUNDS}, batches of {batch}: {name}")
                    start = time.perf_counter()
                    way(batch)
                    taken.setdefault((name, batch), []).append(len(images) / (time.perf_counter() - start))
    base = {batch: taken["last exit alone", batch] for batch in batches}
    return [
        Speed(name, batch, median(found), min(found), median(a / b for a, b in zip(found, base[batch], strict=True)))
        for (name, batch), found in taken.items()
    ], same


def main(
    bundle: Annotated[Path, typer.Argument(help="A calibrated bundle with ONNX files.")],
    variant: Annotated[str, typer.Option(help="onnx-int8 or onnx-float32.")] = "onnx-int8",
    point: Annotated[str | None, typer.Option(help="Operating point; default lossless.")] = None,
    images: Annotated[int, typer.Option(min=64, help="Test images, classes' shares kept.")] = 2000,
    batches: Annotated[str, typer.Option(help="Batch sizes.")] = "1,8,32",
    threads: Annotated[int, typer.Option(min=1, help="Of ONNX Runtime.")] = 1,
    data: Annotated[str | None, typer.Option(help="Where the data is now, if it has moved.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Keep the figures.")] = None,
) -> None:
    """Measure images a second of a cascade on batches against its last exit alone."""
    try:
        sizes = [int(part) for part in batches.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise ConfigError(f"--batches {batches}: whole numbers of 1 or more are wanted, as in 1,8,32.")
    found = read_bundle(bundle)
    split = bundle_dataset(found, data).test
    shown = split.read(np.sort(select_images(split.labels, images)))
    with common.progress(0, "throughput") as bar:
        speeds, same = measure_speeds(found, variant, point, shown, sizes, threads, bar.note)
    common.say(f"{read_processor().name}, {threads} threads; {describe_system()}")
    common.say(f"{100 * same:.2f} % of {len(shown)} images get the same answer in batches as one at a time")
    rows = [[f"{s.way}, {s.batch}", f"{s.speed:.0f}", f"{s.lowest:.0f}", f"{s.ratio:.2f}"] for s in speeds]
    common.table(["way, batch", "images/s", "lowest", "ratio"], rows)
    if out is not None:
        write_json(out, {"same": same, "images": len(shown), "threads": threads, "speeds": [asdict(s) for s in speeds]})


if __name__ == "__main__":
    common.run_script(main)
