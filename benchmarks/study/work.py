"""Works through the cells of a study, beside other processes that do the same."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msd_edge.errors import MsdEdgeError

from .cells import CellHeld, Running, Step, cells_of, read_result, run_cell
from .settings import Cell, Study

_PAUSE = 1.0


def work(
    study: Study,
    out: Path,
    running: Running,
    on_cell: Callable[[Cell, Callable[[Step], dict[str, Any]]], None],
    limit: int | None = None,
) -> None:
    """Run cells until all are done, those that another process runs included.

    Args:
        study: all settings.
        out: its folder.
        running: how cells are run.
        on_cell: called with a cell and a function that runs it.
        limit: stop after so many cells of this process's own.
    """
    ran = 0
    while ran != limit:
        missing = [cell for cell in cells_of(study, out) if read_result(study, cell, out) is None]
        if not missing:
            return
        for cell in missing:
            try:
                on_cell(cell, lambda step, cell=cell: run_cell(study, cell, out, step, running))  # type: ignore[misc]
            except CellHeld:
                continue
            ran += 1
            break
        else:
            time.sleep(_PAUSE)


def start_workers(arguments: Sequence[str], count: int, threads: int) -> list[subprocess.Popen[bytes]]:
    """Start processes that work through the same study.

    Args:
        arguments: of this program.
        count: how many processes.
        threads: of the processor, for each.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "msd_edge.benchmarks.study", *arguments]
    return [subprocess.Popen(command, env=environment) for _ in range(count)]


def wait_for(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for all of them.

    Raises:
        MsdEdgeError: some failed; each has said why.
    """
    codes = [worker.wait() for worker in workers]
    failed = sum(code != 0 for code in codes)
    if failed:
        raise MsdEdgeError(
            f"{failed} of {len(codes)} processes failed; what is done is kept, the same command goes on."
        )
