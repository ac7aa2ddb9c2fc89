"""Loads the files of a variant in a fresh process and takes the times that only a fresh process can give."""

import contextlib
import importlib
import time
from dataclasses import dataclass

import numpy as np

from msd_edge.benchmarks.memory import PeakMemory, count_threads
from msd_edge.benchmarks.turns import Images
from msd_edge.bundle.manifest import ExitFile, Target, Variant
from msd_edge.bundle.reader import Bundle
from msd_edge.exits.rules import ExitRule
from msd_edge.runtime.cascade import CascadeRunner
from msd_edge.runtime.chain import hand_over
from msd_edge.runtime.open import choose_runtime, open_session
from msd_edge.runtime.preprocess import to_tensor
from msd_edge.runtime.session import Array, Session

_MODULES = {
    "litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow",
    "onnxruntime": "onnxruntime",
}


@dataclass(frozen=True)
class LoadedChain:
    """The cascade, loaded.

    Attributes:
        runner: it.
        load: milliseconds of importing the runtime and of reading, verifying and loading all segments.
        first: milliseconds of each segment's first invocation.
        inputs: per segment what real images give it, one dictionary an image.
        memory: by how much the process's peak grew until images had run through it, MiB.
        threads: of the operating system that one session has, the calling one included; None if unknown.
    """

    runner: CascadeRunner
    load: float
    first: tuple[float, ...]
    inputs: tuple[tuple[dict[str, Array], ...], ...]
    memory: float
    threads: int | None


@dataclass(frozen=True)
class LoadedExit:
    """A stand-alone exit, loaded; ``init`` and ``first`` are milliseconds."""

    session: Session
    init: float
    first: float


def load_chain(
    bundle: Bundle, variant: Variant, rule: ExitRule, runtime: str | None, threads: int, samples: Images
) -> LoadedChain:
    """Load the cascade and run real images through all of it.

    Args:
        bundle: where it is from.
        variant: which of its variants.
        rule: the runner's first exit rule.
        runtime: its name, None for the preferred one.
        threads: of the runtime.
        samples: (images, H, W, C) uint8, at least one.
    """
    imported = _import_runtime(variant.target, runtime)
    memory = PeakMemory()
    runner = CascadeRunner(bundle, variant=variant.name, runtime=runtime, threads=threads, rule=rule)
    first, inputs = _run_first(runner, samples)
    grown = memory.growth()
    return LoadedChain(
        runner,
        imported + sum(runner.chain.load_ms),
        first,
        inputs,
        grown,
        _count_session_threads(bundle, variant, runtime, threads, inputs[0][0]),
    )


def load_exit(
    bundle: Bundle, variant: Variant, entry: ExitFile, runtime: str | None, threads: int, image: Images
) -> LoadedExit:
    """Read, verify and load a stand-alone exit, then run it once on a raw image (H, W, C)."""
    inputs = {entry.image.name: to_tensor(image, entry.image)}
    start = time.perf_counter_ns()
    session = open_session(bundle.read(entry), variant.target, runtime=runtime, threads=threads)
    opened = time.perf_counter_ns()
    session.run(inputs)
    done = time.perf_counter_ns()
    return LoadedExit(session, (opened - start) / 1e6, (done - opened) / 1e6)


def _import_runtime(target: Target, runtime: str | None) -> float:
    """Import the runtime that will be used, return how long it took in milliseconds."""
    name = choose_runtime(target, runtime)
    start = time.perf_counter_ns()
    with contextlib.suppress(ImportError, AttributeError):  # opening a session tells what is wrong, in a sentence
        importlib.import_module(_MODULES[name])
    return (time.perf_counter_ns() - start) / 1e6


def _run_first(
    runner: CascadeRunner, samples: Images
) -> tuple[tuple[float, ...], tuple[tuple[dict[str, Array], ...], ...]]:
    """Run each segment for its first time, then all images; return the first times and every segment's inputs."""
    steps = runner.chain.steps
    first: list[float] = []
    inputs: list[list[dict[str, Array]]] = [[] for _ in steps]
    for number, image in enumerate(samples):
        values = runner.chain.enter(image)
        for place, step in enumerate(steps):
            # Sessions and the chain reuse their buffers: what is to last has to be copied.
            inputs[place].append({name: np.array(array) for name, array in values.items()})
            start = time.perf_counter_ns()
            outputs = step.session.run(values)
            if number == 0:
                first.append((time.perf_counter_ns() - start) / 1e6)
            if place + 1 < len(steps):
                values = hand_over(step, steps[place + 1], outputs)
    return tuple(first), tuple(tuple(each) for each in inputs)


def _count_session_threads(
    bundle: Bundle, variant: Variant, runtime: str | None, threads: int, inputs: dict[str, Array]
) -> int | None:
    """Open the first segment once more and count the threads that appear: what the runtime made of the setting."""
    before = count_threads()
    session = open_session(bundle.read(variant.segments[0]), variant.target, runtime=runtime, threads=threads)
    session.run(inputs)
    after = count_threads()
    return None if before is None or after is None else after - before + 1
