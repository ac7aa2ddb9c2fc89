"""What a report derives from results: who is compared with whom, ratios, names that tell variants and devices apart.

A cascade's time per image is a mixture, one mode per exit: its median is the time of the path that most images take,
whatever the others cost. So speeds are compared by the mean, and the median is shown beside it.
"""

from collections import Counter
from dataclasses import dataclass

from msd_edge.benchmarks.points import measured_with
from msd_edge.benchmarks.report.intervals import half_width
from msd_edge.benchmarks.report.load import Source
from msd_edge.benchmarks.report.text import plural
from msd_edge.benchmarks.results import CascadeBench, ExitBench, Timing, VariantBench

ORDER = ("tflite-int8", "tflite-float32", "onnx-int8", "onnx-float32", "tflite-float16", "onnx-float16")


@dataclass(frozen=True)
class Point:
    """An operating point of a cascade.

    Attributes:
        bench: its measurements.
        half_width: of the 95 % interval of its accuracy.
        own_speed: how often faster than its own last exit alone.
        float_speed: how often faster than float32's last exit alone.
        same_as: the point before it with the same setting, whose measurement this is; empty where it has its own.
    """

    bench: CascadeBench
    half_width: float
    own_speed: float | None
    float_speed: float | None
    same_as: str = ""

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of images that left at each exit."""
        return tuple(count / self.bench.images for count in self.bench.exit_counts)

    @property
    def path_mean(self) -> float:
        """Mean inference and decision, ms: what calibration's expectation is about."""
        return self.bench.inference.mean + self.bench.decision.mean


@dataclass(frozen=True)
class Series:
    """A variant on a device.

    Attributes:
        bench: its measurements.
        label: unique on its device.
        slot: 0-based, chooses colour and mark; the same for the same kind of variant on every device.
        points: its operating points, in their order.
    """

    bench: VariantBench
    label: str
    slot: int
    points: tuple[Point, ...]

    @property
    def last(self) -> ExitBench:
        """The last exit."""
        return self.bench.exits[-1]


@dataclass(frozen=True)
class Run:
    """A results file prepared for the page. ``label`` tells the devices apart."""

    label: str
    source: Source
    series: tuple[Series, ...]

    @property
    def exits(self) -> int:
        """The largest number of exits of its variants."""
        return max(len(series.bench.exits) for series in self.series)

    @property
    def threads(self) -> list[str]:
        """The thread counts it ran with, in words."""
        return [plural(number, "thread") for number in sorted({series.bench.threads for series in self.series})]


@dataclass(frozen=True)
class ExitTime:
    """The time of an exit when every image leaves there. ``whole``: with pre-processing and decision."""

    timing: Timing
    alone: bool
    whole: bool


def time_of(exit_: ExitBench) -> ExitTime:
    """Return an exit's time in its faster form, stand-alone file or chain; the whole path's where it was measured."""
    whole = [(exit_.alone_total, True), (exit_.total, False)]
    found = [ExitTime(timing, alone, True) for timing, alone in whole if timing is not None]
    if not found:
        bare = [(exit_.alone, True), (exit_.chain, False)]
        found = [ExitTime(timing, alone, False) for timing, alone in bare if timing is not None]
    return min(found, key=lambda time: time.timing.mean)


def mean_of(exit_: ExitBench) -> float:
    """Return the mean of ``time_of``, ms."""
    return time_of(exit_).timing.mean


def prepare(sources: list[Source]) -> list[Run]:
    """Return what the page shows, one ``Run`` per results file."""
    labels = _device_labels(sources)
    return [Run(label, source, _series(source.results.variants)) for source, label in zip(sources, labels, strict=True)]


def ratio(slow: float | None, fast: float | None) -> float | None:
    """Return ``slow / fast``, None where either is missing or nothing."""
    return slow / fast if slow and fast else None


def twin(series: Series, others: tuple[Series, ...], precision: str = "float32") -> Series | None:
    """Return the same target and runtime in another precision, None if it was not measured."""
    same = [s for s in others if s.bench.target == series.bench.target and s.bench.precision == precision]
    for other in same:
        if (other.bench.runtime, other.bench.threads) == (series.bench.runtime, series.bench.threads):
            return other
    return None


def last_against_float(series: Series, others: tuple[Series, ...]) -> float | None:
    """Return how many times faster the last exit is than its float32 twin's; None without a twin."""
    other = twin(series, others)
    return None if other is None else ratio(mean_of(other.last), mean_of(series.last))


def widest(run: Run) -> float:
    """Return the largest half width of the 95 % intervals of a run's accuracies, as a share."""
    exits = [half_width(exit_.correct, exit_.images) for series in run.series for exit_ in series.bench.exits]
    return max([*exits, *(point.half_width for series in run.series for point in series.points)])


def _series(variants: tuple[VariantBench, ...]) -> tuple[Series, ...]:
    labels = _variant_labels(variants)
    slots = _slots(variants)
    bare = tuple(Series(variant, label, slot, ()) for variant, label, slot in zip(variants, labels, slots, strict=True))
    full = [Series(s.bench, s.label, s.slot, _points(s, twin(s, bare))) for s in bare]
    return tuple(sorted(full, key=lambda series: series.slot))


def _points(own: Series, float_twin: Series | None) -> tuple[Point, ...]:
    first = measured_with(own.bench.cascade)
    return tuple(
        _point(point, own, float_twin, "" if first[point.point] == point.point else first[point.point])
        for point in own.bench.cascade
    )


def _point(point: CascadeBench, own: Series, float_twin: Series | None, same_as: str) -> Point:
    mean = point.total.mean
    return Point(
        point,
        half_width(point.correct, point.images),
        point.speedup or ratio(mean_of(own.last), mean),
        ratio(mean_of(float_twin.last), mean) if float_twin is not None else None,
        same_as,
    )


def _variant_labels(variants: tuple[VariantBench, ...]) -> list[str]:
    labels = [variant.name for variant in variants]
    for detail in ("runtime", "threads"):
        twice = {label for label, times in Counter(labels).items() if times > 1}
        labels = [
            f"{label} · {_detail(variant, detail)}" if label in twice else label
            for label, variant in zip(labels, variants, strict=True)
        ]
    return labels


def _detail(variant: VariantBench, detail: str) -> str:
    return variant.runtime if detail == "runtime" else f"{variant.threads} threads"


def _slots(variants: tuple[VariantBench, ...]) -> list[int]:
    taken: set[int] = set()
    slots = []
    for variant in variants:
        wanted = ORDER.index(variant.name)
        slot = wanted if wanted not in taken else next(n for n in range(len(ORDER), 10_000) if n not in taken)
        taken.add(slot)
        slots.append(slot)
    return slots


def _device_labels(sources: list[Source]) -> list[str]:
    def threads(source: Source) -> str:
        found = sorted({variant.threads for variant in source.results.variants})
        return f"{'/'.join(map(str, found))} thread{'s' if found != [1] else ''}"

    labels = [source.results.device.name for source in sources]
    for detail in (
        lambda source: source.results.bundle,
        threads,
        lambda source: source.path.name,
        lambda s: str(s.path),
    ):
        twice = {label for label, times in Counter(labels).items() if times > 1}
        told = {label: {detail(s) for s, own in zip(sources, labels, strict=True) if own == label} for label in twice}
        labels = [
            f"{label} · {detail(source)}" if len(told.get(label, ())) > 1 else label
            for label, source in zip(labels, sources, strict=True)
        ]
    return labels
