"""From what the app wrote down to the figures of a variant: checked first, then by the code that figures a CPU's."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msd_edge.benchmarks.devices.protocol import PhoneResult
from msd_edge.benchmarks.figures import Loading, Taken, figure_variant
from msd_edge.benchmarks.job import Answers, Job, Report
from msd_edge.benchmarks.points import measured_as
from msd_edge.benchmarks.proof import judge
from msd_edge.benchmarks.results import HostAgreement, PacedBench, SustainedBench, SustainedMinute
from msd_edge.benchmarks.stats import summarise
from msd_edge.benchmarks.turns import Turn, Turns
from msd_edge.bundle.golden import read_golden
from msd_edge.bundle.manifest import Calibration, DType, Variant
from msd_edge.bundle.reader import Bundle
from msd_edge.errors import DeviceRunError, ParityError, RuntimeUnavailable
from msd_edge.files import sha256_bytes
from msd_edge.runtime.chain import Chain
from msd_edge.runtime.golden_check import compare_logits
from msd_edge.runtime.session import Array, dequantize

_TYPES: dict[DType, str] = {"float32": "<f4", "int8": "i1", "uint8": "u1"}
_CASCADE = ("preprocess", "inference", "decision", "total")


@dataclass(frozen=True)
class Brought:
    """What came back from the phone: ``result.json`` read, ``golden.bin`` and ``logits.bin`` as they are."""

    result: PhoneResult
    golden: bytes
    logits: bytes


def figure_report(bundle: Bundle, variant: Variant, calibration: Calibration, job: Job, brought: Brought) -> Report:
    """Check what the phone brought and make the figures of it.

    Args:
        bundle: what was measured.
        variant: of it.
        calibration: of that.
        job: what was asked for.
        brought: the answer.

    Raises:
        DeviceRunError: the answer is incomplete, contradicts itself or does not fit what was asked for.
        ParityError: the golden samples do not come out right there.
    """
    result = brought.result
    count, classes = len(variant.segments), len(bundle.manifest.classes)
    where = f"{variant.name}: the app's answer"
    dtype = np.dtype(_TYPES[variant.segments[0].logits.dtype])
    raw = _array(where, "golden.bin", brought.golden, result.golden.sha256, dtype, (-1, count, classes))
    golden = read_golden(bundle, variant.name)
    if raw.shape != golden.outputs.shape:
        raise DeviceRunError(f"{where} has {len(raw)} golden images, the bundle {len(golden.outputs)}.")
    _check_finite(where, raw)
    proof = judge(
        bundle.path,
        variant,
        f"{result.runtime.name} {result.runtime.version} there",
        compare_logits(raw, golden.outputs),
    )
    if proof.bit_equal != result.golden.bit_equal:
        raise DeviceRunError(f"{where} says another thing of the golden samples than its own logits say.")
    given = _array(where, "logits.bin", brought.logits, result.logits.sha256, dtype, (len(job.labels), count, classes))
    _check_finite(where, given)
    _check_answer(where, result, variant, calibration, job, classes)
    times = {f"{variant.name}/{name}": list(values) for name, values in result.times.items()}
    specs = [segment.logits for segment in variant.segments]
    logits = np.stack([dequantize(given[:, k], spec.scale, spec.zero_point) for k, spec in enumerate(specs)], axis=1)
    taken = Taken(
        bundle,
        variant,
        calibration,
        _loading(result),
        proof,
        times,
        _turns(result, variant),
        logits,
        np.array(job.labels),
    )
    answers = {name: result.answers[first] for name, first in measured_as(calibration).items()}
    raw_times = {name: tuple(values) for name, values in times.items()}
    figures = figure_variant(taken, answers)
    paced, more = _paced(result, variant)
    sustained, most = _sustained(result, variant)
    figures = figures.model_copy(update={"delegate": result.runtime.delegate, "paced": paced, "sustained": sustained})
    return Report(variant=figures, raw={**raw_times, **more, **most}, answers=answers)


def agree_with_host(
    bundle: Bundle,
    variant: Variant,
    images: NDArray[np.uint8],
    logits: bytes,
    threads: int,
    on_image: Callable[[int], None],
) -> HostAgreement | None:
    """Compare a phone's logits with those of this machine, every exit of every image.

    Args:
        bundle: what was measured.
        variant: of it.
        images: (images, H, W, C), those that were measured.
        logits: ``logits.bin``, checked.
        threads: of the runtime here.
        on_image: called with the number of images done.

    Returns:
        None where this machine has no runtime for the variant.
    """
    try:
        with Chain(bundle, variant=variant.name, threads=threads) as chain:
            mine = []
            for done, image in enumerate(images, 1):
                mine.append(chain.raw_logits(np.array(image)))
                on_image(done)
            here = np.stack(mine)
            runtime = f"{chain.runtime} {chain.runtime_version}"
    except RuntimeUnavailable:
        return None
    theirs = np.frombuffer(logits, _TYPES[variant.segments[0].logits.dtype]).reshape(here.shape)
    found = compare_logits(theirs, here)
    return HostAgreement(
        images=found.images,
        max_difference=found.max_difference,
        top1_agreement=found.top1_agreement,
        bit_equal=found.bit_equal,
        runtime=runtime,
    )


def _array(
    where: str, name: str, data: bytes, sha256: str, dtype: "np.dtype[np.generic]", shape: tuple[int, ...]
) -> Array:
    if sha256_bytes(data) != sha256:
        raise DeviceRunError(f"{where}: {name} arrived as something else (SHA-256 differs); run it again.")
    try:
        return np.frombuffer(data, dtype).reshape(shape)
    except ValueError:
        raise DeviceRunError(f"{where}: {name} has {len(data):,} bytes, which is not {shape} of {dtype}.") from None


def _check_finite(where: str, logits: Array) -> None:
    if not np.isfinite(logits).all():
        raise ParityError(f"{where} has logits that are no finite numbers; nothing is reported.")


def _check_answer(
    where: str, result: PhoneResult, variant: Variant, calibration: Calibration, job: Job, classes: int
) -> None:
    """Check that everything that was asked for is there, and that it fits together."""
    images, exits = len(job.labels), len(variant.segments)
    points = list(dict.fromkeys(measured_as(calibration).values()))
    wanted = {
        **{f"point-{name}/{part}": images for name in points for part in _CASCADE},
        **{f"exit-{k}/{part}": 1 for k in range(1, exits + 1) for part in _CASCADE},
        **{f"segment-{k}/warm": 1 for k in range(1, exits + 1)},
        **{f"exit-{entry.index}/{part}": 1 for entry in variant.exits for part in ("alone", "alone-total")},
    }
    for name, fewest in wanted.items():
        found = len(result.times.get(name, ()))
        if found < fewest:
            raise DeviceRunError(f"{where} has {found} times of {name}, and at least {fewest} were to be taken.")
    if len(result.segments) != exits or len(result.alone) != len(variant.exits):
        raise DeviceRunError(
            f"{where} has {len(result.segments)} segments and {len(result.alone)} stand-alone exits loaded, not "
            f"{exits} and {len(variant.exits)}."
        )
    if result.logits.images != images:
        raise DeviceRunError(f"{where} has logits of {result.logits.images} images, not of {images}.")
    if result.threads != job.threads:
        raise DeviceRunError(f"{where} is of {result.threads} threads, and {job.threads} were asked for.")
    for name in points:
        _check_answers(f"{where} at {name}", result.answers.get(name), images, exits, classes)


def _check_answers(where: str, said: Answers | None, images: int, exits: int, classes: int) -> None:
    if said is None or {len(said.exits), len(said.predicted), len(said.probabilities)} != {images}:
        raise DeviceRunError(f"{where} does not cover all {images} images.")
    if not all(1 <= each <= exits for each in said.exits) or not all(0 <= each < classes for each in said.predicted):
        raise DeviceRunError(f"{where} names an exit or a class that the bundle has not.")


def _loading(result: PhoneResult) -> Loading:
    return Loading(
        runtime=result.runtime.name,
        version=result.runtime.version,
        threads=result.threads,
        load=result.load,
        memory=result.peak_memory_mib,
        session_threads=result.runtime_threads,
        init=tuple(each.init for each in result.segments),
        first=tuple(each.first for each in result.segments),
        alone=tuple((each.init, each.first) for each in result.alone),
    )


def _turns(result: PhoneResult, variant: Variant) -> Turns:
    known = all(processor is not None for *_, processor in result.turns)
    return Turns(
        [
            Turn(f"{variant.name}/{name}", block, images, milliseconds, wall if known else 0.0, processor or 0.0)
            for name, block, images, milliseconds, wall, processor in result.turns
        ]
    )


def _paced(result: PhoneResult, variant: Variant) -> tuple[tuple[PacedBench, ...], dict[str, tuple[float, ...]]]:
    raw = {f"{variant.name}/paced/{each.contender}": each.times for each in result.paced}
    found = tuple(
        PacedBench(contender=each.contender, fps=each.fps, missed=each.missed, total=summarise(each.times, name))
        for each, name in zip(result.paced, raw, strict=True)
        if each.times
    )
    return found, raw


def _sustained(result: PhoneResult, variant: Variant) -> tuple[SustainedBench | None, dict[str, tuple[float, ...]]]:
    said = result.sustain
    if said is None:
        return None, {}
    raw = {f"{variant.name}/sustained/{place}": minute.times for place, minute in enumerate(said.minutes, 1)}
    minutes = tuple(
        SustainedMinute(minute=place, thermal=minute.thermal, total=summarise(minute.times, name))
        for place, (minute, name) in enumerate(zip(said.minutes, raw, strict=True), 1)
        if minute.times
    )
    return (SustainedBench(contender=said.contender, minutes=minutes) if minutes else None), raw
