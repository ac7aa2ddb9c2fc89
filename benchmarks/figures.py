"""From times and outputs to the figures of one variant."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msd_edge.benchmarks.job import Answers
from msd_edge.benchmarks.points import measured_as
from msd_edge.benchmarks.results import (
    CascadeBench,
    ExitBench,
    GoldenCheck,
    ReliabilityBin,
    SegmentBench,
    VariantBench,
)
from msd_edge.benchmarks.stats import summarise
from msd_edge.benchmarks.turns import Turns
from msd_edge.bundle.manifest import Calibration, OperatingPoint, Variant
from msd_edge.bundle.reader import Bundle
from msd_edge.exits import metrics
from msd_edge.exits.rules import ExitRule, split_exits


@dataclass(frozen=True)
class Loading:
    """What loading took, wherever it was; times in milliseconds.

    Attributes:
        runtime: its name; ``version`` its version.
        threads: of the runtime, as asked for.
        load: the runtime and all segments of the chain.
        memory: growth of the peak of resident memory, MiB.
        session_threads: of the operating system that one session has, None if unknown.
        init: per segment: read, verify, load.
        first: per segment: the first invocation.
        alone: per stand-alone exit: init and first; empty if the variant has none.
    """

    runtime: str
    version: str
    threads: int
    load: float
    memory: float
    session_threads: int | None
    init: tuple[float, ...]
    first: tuple[float, ...]
    alone: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Taken:
    """Everything that was measured of a variant.

    Attributes:
        bundle: where it is from.
        variant: which one.
        calibration: its temperatures and operating points.
        loading: what loading its files took.
        golden: the proof.
        times: lists of milliseconds by name.
        turns: who had which turn.
        logits: of every exit for every image, (images, exits, classes).
        labels: (images,).
    """

    bundle: Bundle
    variant: Variant
    calibration: Calibration
    loading: Loading
    golden: GoldenCheck
    times: Mapping[str, list[float]]
    turns: Turns
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]


def figure_variant(taken: Taken, answers: Mapping[str, Answers]) -> VariantBench:
    """Return the figures of a variant; ``answers``: what the cascade said at each operating point."""
    variant, loading = taken.variant, taken.loading
    measured = measured_as(taken.calibration)
    return VariantBench(
        target=variant.target,
        precision=variant.precision,
        runtime=loading.runtime,
        runtime_version=loading.version,
        threads=loading.threads,
        golden=taken.golden,
        load=loading.load,
        peak_memory=loading.memory,
        runtime_threads=loading.session_threads,
        cpu_per_wall=taken.turns.processor_share(_last(taken)),
        segments=tuple(_figure_segment(taken, index) for index in range(1, len(variant.segments) + 1)),
        exits=tuple(_figure_exit(taken, index) for index in range(1, len(variant.segments) + 1)),
        cascade=tuple(
            _figure_point(taken, point, answers[point.name], measured[point.name]) for point in taken.calibration.points
        ),
    )


def list_answers(answers: Mapping[int, tuple[int, int, float]]) -> Answers:
    """Return answers in the order of the images; ``answers``: by image (exit, class, probability)."""
    ordered = [answers[index] for index in sorted(answers)]
    return Answers(
        exits=tuple(exit_index for exit_index, _, _ in ordered),
        predicted=tuple(label for _, label, _ in ordered),
        probabilities=tuple(probability for _, _, probability in ordered),
    )


def _figure_segment(taken: Taken, index: int) -> SegmentBench:
    name = f"{taken.variant.name}/segment-{index}/warm"
    return SegmentBench(
        index=index,
        init=taken.loading.init[index - 1],
        first=taken.loading.first[index - 1],
        warm=summarise(taken.times[name], name),
        bytes=taken.variant.segments[index - 1].bytes,
    )


def _figure_exit(taken: Taken, index: int) -> ExitBench:
    info = taken.bundle.manifest.exits[index - 1]
    correct = int(np.sum(taken.logits[:, index - 1].argmax(axis=1) == taken.labels))
    # Confidence is the rule's: of what an image that leaves here is answered by.
    rule = ExitRule.of(taken.calibration, taken.calibration.points[0])
    logits, temperature = rule.basis(index - 1, split_exits(taken.logits))
    name = f"{taken.variant.name}/exit-{index}"
    loaded = taken.loading.alone[index - 1] if taken.loading.alone else None
    return ExitBench(
        index=index,
        correct=correct,
        images=len(taken.labels),
        accuracy=correct / len(taken.labels),
        macs=info.macs,
        chain_macs=info.chain_macs,
        chain=summarise(taken.times[f"{name}/inference"], f"{name}/inference"),
        total=summarise(taken.times[f"{name}/total"], f"{name}/total"),
        alone=summarise(taken.times[f"{name}/alone"], f"{name}/alone") if loaded else None,
        alone_total=summarise(taken.times[f"{name}/alone-total"], f"{name}/alone-total") if loaded else None,
        alone_init=loaded[0] if loaded else None,
        alone_first=loaded[1] if loaded else None,
        alone_bytes=taken.variant.exits[index - 1].bytes if loaded else None,
        chain_bytes=sum(segment.bytes for segment in taken.variant.segments[:index]),
        ece=metrics.ece(logits, taken.labels, temperature),
        reliability=tuple(
            ReliabilityBin(
                low=part.low, high=part.high, count=part.count, confidence=part.confidence, accuracy=part.accuracy
            )
            for part in metrics.reliability(logits, taken.labels, temperature)
        ),
    )


def _figure_point(taken: Taken, point: OperatingPoint, answers: Answers, measured: str) -> CascadeBench:
    """Return a point's figures; ``measured``: the point whose times they are, itself or one with the same setting."""
    exits = np.array(answers.exits) - 1
    right = np.array(answers.predicted) == taken.labels
    count = len(taken.variant.segments)
    expected = ExitRule.of(taken.calibration, point).take(taken.logits)
    name = f"{taken.variant.name}/point-{measured}"
    preprocess, inference, decision, total = (
        summarise(taken.times[f"{name}/{part}"], f"{name}/{part}")
        for part in ("preprocess", "inference", "decision", "total")
    )
    macs = np.array([info.chain_macs for info in taken.bundle.manifest.exits], dtype=np.float64)
    return CascadeBench(
        point=point.name,
        rule=taken.calibration.rule,
        thresholds=point.thresholds,
        correct=int(right.sum()),
        images=len(right),
        accuracy=float(right.mean()),
        exit_counts=tuple(int(number) for number in np.bincount(exits, minlength=count)),
        exit_accuracy=tuple(float(right[exits == k].mean()) if (exits == k).any() else None for k in range(count)),
        preprocess=preprocess,
        inference=inference,
        decision=decision,
        total=total,
        expected_ms=point.expected_ms,
        expected_accuracy=point.accuracy,
        expected_images=taken.calibration.images,
        expected_shares=point.exit_shares,
        mean_macs=float(macs[exits].mean()),
        simulation_agreement=float(np.mean(expected == exits)),
        speedup=_speedup(taken, name),
    )


def _speedup(taken: Taken, point: str) -> float | None:
    last = _last(taken)
    ratios = [taken.turns.ratio(name, point) for name in (last, f"{last}/alone")]
    return min((ratio for ratio in ratios if ratio is not None), default=None)


def _last(taken: Taken) -> str:
    return f"{taken.variant.name}/exit-{len(taken.variant.segments)}"
