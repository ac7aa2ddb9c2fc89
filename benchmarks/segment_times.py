"""A quick measurement of what each segment costs on this machine, in a fresh process: enough to choose thresholds.

``python -m msd_edge.benchmarks.segment_times`` is that process: a ``TimesJob`` as JSON on standard input, the answer in
the file that the job names. Torch is not imported here.
"""

import contextlib
import gc
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from msd_edge import errors
from msd_edge.benchmarks import environment
from msd_edge.benchmarks.devices.cpu import worker_environment
from msd_edge.benchmarks.devices.processes import leave_with_parent
from msd_edge.bundle.golden import read_golden
from msd_edge.bundle.manifest import ExitFile, LatencySource, RuleName
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.errors import BundleError, ConfigError, DeviceRunError, MsdEdgeError
from msd_edge.exits.rules import ExitRule, Floats, never
from msd_edge.files import write_text
from msd_edge.locks import scratch_folder
from msd_edge.runtime.chain import Chain, hand_over
from msd_edge.runtime.open import open_session
from msd_edge.runtime.preprocess import Image
from msd_edge.runtime.session import Session, dequantize
from msd_edge.typed import Model

_WARMUP = 10
_FEWEST = 20
_PATIENCE = 600.0


class TimesJob(Model):
    """What to measure.

    Attributes:
        bundle, manifest_sha256, variant: the files.
        rule: the kind of exit rule whose decision is part of the time.
        threads: of the runtime.
        seconds: how long; everything runs at least 20 times.
        alone: whether to time the stand-alone exits too, taking turns with the chain.
        report: the answer's file.
    """

    bundle: str
    manifest_sha256: str
    variant: str
    rule: RuleName
    threads: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(ge=0)]
    alone: bool = False
    report: str


class TimesReport(Model):
    """The answer: medians in milliseconds, or the class and the sentence of an error."""

    runtime: str = ""
    segment_ms: tuple[float, ...] = ()
    exit_ms: tuple[float, ...] = ()
    error: str | None = None
    message: str = ""


def time_segments(bundle: Bundle, variant: str, rule: RuleName, *, threads: int, seconds: float) -> LatencySource:
    """Measure the median milliseconds of each segment of a variant in a fresh process on this machine.

    Args:
        bundle: the opened bundle.
        variant: its name.
        rule: the kind of exit rule whose decision is part of the time.
        threads: of the runtime.
        seconds: how long to measure.

    Raises:
        DeviceRunError: the process failed without saying why.
        MsdEdgeError: as the process said itself.
    """
    answer = _ask(bundle, variant, rule, threads=threads, seconds=seconds, alone=False)
    return LatencySource(
        device=f"cpu, {environment.read_processor().name}",
        threads=threads,
        runtime=answer.runtime,
        segment_ms=answer.segment_ms,
    )


def time_exits(
    bundle: Bundle, variant: str, rule: RuleName, *, threads: int, seconds: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure the median milliseconds of each segment and of each exit alone, as ``time_segments`` does.

    Returns:
        Of every segment, and of every stand-alone exit.
    """
    answer = _ask(bundle, variant, rule, threads=threads, seconds=seconds, alone=True)
    return answer.segment_ms, answer.exit_ms


def _ask(bundle: Bundle, variant: str, rule: RuleName, *, threads: int, seconds: float, alone: bool) -> TimesReport:
    with scratch_folder("msd-edge-times-") as folder:
        report = folder / "times.json"
        job = TimesJob(
            bundle=str(bundle.path.resolve()),
            manifest_sha256=bundle.manifest_sha256,
            variant=variant,
            rule=rule,
            threads=threads,
            seconds=seconds,
            alone=alone,
            report=str(report),
        )
        try:
            done = subprocess.run(
                (sys.executable, "-P", "-m", "msd_edge.benchmarks.segment_times"),
                input=job.model_dump_json().encode(),
                capture_output=True,
                env=worker_environment(threads),
                timeout=seconds + _PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DeviceRunError(
                f"{variant}: the process that times segments took more than {seconds + _PATIENCE:g} s."
            ) from None
        try:
            answer = TimesReport.model_validate_json(report.read_bytes())
        except (OSError, ValidationError):
            words = done.stderr.decode(errors="replace").strip().splitlines()
            raise DeviceRunError(
                f"{variant}: the process that times segments failed with exit code {done.returncode}"
                f"{f'; its last line: {words[-1][:300]}' if words else ''}."
            ) from None
    if answer.error is not None:
        kind = getattr(errors, answer.error, MsdEdgeError)
        raise kind(answer.message)
    return answer


def measure_segments(
    bundle: Bundle, variant: str, rule: RuleName, *, threads: int, seconds: float, alone: bool = False
) -> TimesReport:
    """Measure in this process: golden images through the whole chain, so that segments take turns.

    With ``alone`` every stand-alone exit takes its turn too, with the same work around it.

    Segment 1 includes bringing the image into the tensor; each includes dequantizing, the exit rule's decision and
    handing the features on.
    """
    images = read_golden(bundle, variant).images
    with Chain(bundle, variant=variant, threads=threads) as chain:
        exits = len(chain.steps)
        weights = tuple((1.0,) * place for place in range(1, exits + 1)) if rule == "averaged" else ()
        rule_ = ExitRule(rule, (never(rule, exits),) * (exits - 1), (1.0,) * exits, weights)
        exits_alone = _open_exits(bundle, chain) if alone else []

        def measure(image: Image) -> list[float]:
            singles = [_run_alone(chain, part, rule_, place, image) for place, part in enumerate(exits_alone)]
            return [*_run_once(chain, rule_, image), *singles]

        for turn in range(_WARMUP):
            measure(images[turn % len(images)])
        rounds: list[list[float]] = []
        collecting = gc.isenabled()
        gc.collect()
        gc.disable()
        try:
            end = time.perf_counter() + seconds
            while len(rounds) < _FEWEST or time.perf_counter() < end:
                rounds.append(measure(images[len(rounds) % len(images)]))
        finally:
            if collecting:
                gc.enable()
        medians = tuple(statistics.median(times) for times in zip(*rounds, strict=True))
        runtime = f"{chain.runtime} {chain.runtime_version}"
        return TimesReport(runtime=runtime, segment_ms=medians[:exits], exit_ms=medians[exits:])


def _open_exits(bundle: Bundle, chain: Chain) -> list[tuple[Session, ExitFile]]:
    return [
        (open_session(bundle.read(part), chain.variant.target, runtime=chain.runtime, threads=chain.threads), part)
        for part in chain.variant.exits
    ]


def _run_alone(chain: Chain, alone: tuple[Session, ExitFile], rule: ExitRule, place: int, image: Image) -> float:
    session, part = alone
    before = time.perf_counter_ns()
    (pixels,) = chain.enter(image).values()
    outputs = session.run({part.image.name: pixels})
    logits = dequantize(outputs[part.logits.name][0], part.logits.scale, part.logits.zero_point)
    _, probabilities = rule.decide(place, [logits] * (place + 1))
    probabilities.argmax()
    return (time.perf_counter_ns() - before) / 1e6


def _run_once(chain: Chain, rule: ExitRule, image: Image) -> list[float]:
    times = []
    logits: list[Floats] = []
    steps = chain.steps
    before = time.perf_counter_ns()
    values = chain.enter(image)
    for place, step in enumerate(steps):
        outputs = step.session.run(values)
        logits.append(dequantize(outputs[step.logits][0], step.scale, step.zero_point))
        leaves, probabilities = rule.decide(place, logits)
        if leaves:
            probabilities.argmax()
        else:
            values = hand_over(step, steps[place + 1], outputs)
        after = time.perf_counter_ns()
        times.append((after - before) / 1e6)
        before = after
    return times


def main() -> int:
    """Do the job on standard input; an error goes into the report."""
    leave_with_parent()
    text = sys.stdin.buffer.read()
    try:
        job = TimesJob.model_validate_json(text)
    except ValidationError as problem:
        sys.stderr.write(f"this is no job: {problem.error_count()} mistakes in it.\n")
        return ConfigError.exit_code
    try:
        bundle = read_bundle(job.bundle)
        if bundle.manifest_sha256 != job.manifest_sha256:
            raise BundleError(f"{job.bundle}: the bundle has changed meanwhile; run the command again.")
        report = measure_segments(
            bundle, job.variant, job.rule, threads=job.threads, seconds=job.seconds, alone=job.alone
        )
    except MsdEdgeError as problem:
        report = TimesReport(error=type(problem).__name__, message=str(problem))
    write_text(Path(job.report), report.model_dump_json())
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
