"""Measures one variant in this process: proof first, then loading, segments, exits and cascade in turns."""

from collections.abc import Callable

import numpy as np

from msd_edge.benchmarks import figures
from msd_edge.benchmarks.contenders import AloneTurns, CascadeTurns, SegmentTurns, Times
from msd_edge.benchmarks.figures import Loading, Taken
from msd_edge.benchmarks.job import Job, Report, Step
from msd_edge.benchmarks.loading import load_chain, load_exit
from msd_edge.benchmarks.points import measured_as
from msd_edge.benchmarks.proof import prove
from msd_edge.benchmarks.turns import Contender, Images, take_turns
from msd_edge.bundle.golden import read_golden
from msd_edge.bundle.reader import Bundle
from msd_edge.commands import suggest_command
from msd_edge.errors import BundleError
from msd_edge.exits.rules import ExitRule, always, never
from msd_edge.runtime.cascade import rule_of

_INPUTS = 8  # golden images whose features a segment alone is fed with


def force_exit(index: int, temperatures: tuple[float, ...]) -> ExitRule:
    """Return the rule by which every image leaves at exit ``index`` (1-based)."""
    before, after = index - 1, len(temperatures) - index
    thresholds = (never("max-softmax", len(temperatures)),) * before + (always("max-softmax"),) * after
    return ExitRule("max-softmax", thresholds, temperatures)


def measure(bundle: Bundle, job: Job, images: Images, on_step: Callable[[Step], None]) -> Report:
    """Measure one variant; meant for a fresh process, which does nothing else.

    Args:
        bundle: an opened bundle.
        job: what to measure and how.
        images: (images, H, W, C) uint8.
        on_step: called with progress.

    Raises:
        BundleError: the variant is not calibrated.
        ParityError: the files do not give here what they gave at export; no time is reported then.
        RuntimeUnavailable: the runtime is missing or too old.
    """
    variant = bundle.variant(job.variant)
    calibration = variant.calibration
    if calibration is None:
        following = suggest_command("calibrate", bundle.path)
        raise BundleError(f"{bundle.path}: {variant.name} has no operating points; run `{following}`.")
    on_step(Step(total=len(images), text="loading"))
    count = len(variant.segments)
    temperatures = tuple(part.temperature for part in calibration.exits)
    samples = read_golden(bundle, variant.name).images[:_INPUTS]
    chain = load_chain(bundle, variant, force_exit(count, temperatures), job.runtime, job.threads, samples)
    golden = prove(chain.runner.chain)
    alone = tuple(load_exit(bundle, variant, entry, job.runtime, job.threads, samples[0]) for entry in variant.exits)
    times: Times = {}
    runner = chain.runner
    measured = measured_as(calibration)
    points = {
        point.name: CascadeTurns(
            f"{variant.name}/point-{point.name}",
            runner,
            rule_of(variant, point),
            times,
            every_image=True,
        )
        for point in calibration.points
        if measured[point.name] == point.name
    }
    forced = [
        CascadeTurns(f"{variant.name}/exit-{index}", runner, force_exit(index, temperatures), times, every_image=False)
        for index in range(1, count + 1)
    ]
    files = [
        AloneTurns(f"{variant.name}/exit-{entry.index}/alone", loaded.session, entry, times)
        for entry, loaded in zip(variant.exits, alone, strict=True)
    ]
    segments = [
        SegmentTurns(f"{variant.name}/segment-{index}/warm", step.session, inputs, times)
        for index, (step, inputs) in enumerate(zip(runner.chain.steps, chain.inputs, strict=True), 1)
    ]
    contenders: tuple[Contender, ...] = (*points.values(), *forced, *files, *segments)
    logits = np.zeros((len(images), count, len(bundle.manifest.classes)), np.float32)

    def fill(start: int, piece: Images) -> None:
        for place, image in enumerate(piece, start):
            logits[place] = runner.logits(image)

    on_step(Step(total=len(images), text="warming up"))
    for contender in contenders:
        for image in images[: job.warmup]:
            contender.warm(np.array(image))
    turns = take_turns(
        contenders,
        images,
        block=job.block,
        seconds=job.seconds,
        on_block=fill,
        on_step=lambda done, total: on_step(Step(done=done, total=total, text="measuring")),
    )
    loading = Loading(
        runtime=runner.runtime,
        version=runner.runtime_version,
        threads=runner.threads,
        load=chain.load,
        memory=chain.memory,
        session_threads=chain.threads,
        init=runner.chain.load_ms,
        first=chain.first,
        alone=tuple((loaded.init, loaded.first) for loaded in alone),
    )
    taken = Taken(bundle, variant, calibration, loading, golden, times, turns, logits, np.array(job.labels))
    answers = {name: figures.list_answers(points[first].answers) for name, first in measured.items()}
    return Report(
        variant=figures.figure_variant(taken, answers),
        raw={name: tuple(values) for name, values in times.items()},
        answers=answers,
    )
