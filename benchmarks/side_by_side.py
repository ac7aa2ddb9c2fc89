"""Times of two files in one run: an invocation of the one, an invocation of the other, and so on."""

import time
from dataclasses import dataclass
from statistics import median

import numpy as np

from msd_edge.bundle.manifest import Target
from msd_edge.runtime.open import open_session
from msd_edge.runtime.session import Array, Session

_WARMUP = 20


@dataclass(frozen=True)
class SideBySide:
    """One median a round, in milliseconds, of each of two files."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """One ratio a round, ours / theirs."""
        return tuple(a / b for a, b in zip(self.ours, self.theirs, strict=True))

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(self.ratios)


def time_side_by_side(ours: bytes, theirs: bytes, target: Target, *, rounds: int, runs: int) -> SideBySide:
    """Run two files in turns on one thread, with random inputs; a busy machine hits both.

    Half of each round runs with the one loaded first, half with the other: a file against itself came out 3 % apart
    where one was always first.

    Args:
        ours, theirs: the files' contents.
        target: their format.
        rounds: how many pairs of medians to take.
        runs: invocations of each in a round.
    """
    medians: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        first, second = _alternate(ours, theirs, target, runs // 2)
        fourth, third = _alternate(theirs, ours, target, runs - runs // 2)
        medians[0].append(median(first + third))
        medians[1].append(median(second + fourth))
    return SideBySide(tuple(medians[0]), tuple(medians[1]))


def _alternate(one: bytes, other: bytes, target: Target, runs: int) -> tuple[list[float], list[float]]:
    """Load two files in this order and invoke them in turns; return the milliseconds of each."""
    sessions = [open_session(data, target, threads=1) for data in (one, other)]
    feeds = [random_inputs(session) for session in sessions]

    def invoke(place: int) -> float:
        start = time.perf_counter_ns()
        sessions[place].run(feeds[place])
        return (time.perf_counter_ns() - start) / 1e6

    for _ in range(_WARMUP):
        invoke(0)
        invoke(1)
    pairs = [(invoke(0), invoke(1)) for _ in range(runs)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def random_inputs(session: Session) -> dict[str, Array]:
    """Return values for every input of a session: 0..1 for floats, the whole range for integers; always the same."""
    rng = np.random.default_rng(0)
    inputs: dict[str, Array] = {}
    for name, info in session.inputs.items():
        if info.dtype == "float32":
            inputs[name] = rng.random(info.shape, dtype=np.float32)
        else:
            limits = np.iinfo(info.dtype)
            inputs[name] = rng.integers(limits.min, limits.max, info.shape, dtype=info.dtype, endpoint=True)
    return inputs
