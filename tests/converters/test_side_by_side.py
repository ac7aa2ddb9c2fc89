"""Work in other processes: results come back in order, errors as they were, nothing is left running."""

import os
import signal
from dataclasses import dataclass

import pytest

from msd_edge.converters.side_by_side import run_side_by_side
from msd_edge.errors import AccuracyDropError, ExportError


@dataclass(frozen=True)
class Squares:
    count: int

    def __call__(self, step):
        step(f"up to {self.count}")
        return [n * n for n in range(self.count)], os.getpid()


@dataclass(frozen=True)
class Failing:
    def __call__(self, step):
        raise AccuracyDropError("exit 2 drops 3.1 points.")


@dataclass(frozen=True)
class Dying:
    def __call__(self, step):
        os.kill(os.getpid(), signal.SIGKILL)


def test_results_come_in_order_from_processes_of_their_own():
    said = []
    first, second, third = run_side_by_side(lambda: "here", [Squares(3), Squares(2)], said.append)
    assert (first, second[0], third[0]) == ("here", [0, 1, 4], [0, 1])
    assert len({os.getpid(), second[1], third[1]}) == 3
    assert sorted(said) == ["up to 2", "up to 3"]


def test_an_error_elsewhere_is_raised_as_it_was():
    with pytest.raises(AccuracyDropError, match=r"exit 2 drops 3\.1 points"):
        run_side_by_side(lambda: 1, [Failing()], lambda _: None)


def test_a_process_that_dies_is_an_error():
    with pytest.raises(ExportError, match="ended without an answer"):
        run_side_by_side(lambda: 1, [Dying()], lambda _: None)


def test_an_error_here_ends_the_others():
    def fail():
        raise ExportError("segment 1 cannot be converted.")

    with pytest.raises(ExportError, match="segment 1"):
        run_side_by_side(fail, [Squares(10)], lambda _: None)
