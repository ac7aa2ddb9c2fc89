"""Works through the cells of a study, beside other processes that do the same."""

import os
import signal
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
    on_failure: Callable[[Cell, MsdEdgeError], None],
    limit: int | None = None,
) -> None:
    """Run cells until all are done, those that another process runs included.

    Args:
        study: all settings.
        out: its folder.
        running: how cells are run.
        on_cell: called with a cell and a function that runs it.
        on_failure: called with a cell that cannot be run; the others go on.
        limit: stop after so many cells of this process's own.

    Raises:
        MsdEdgeError: cells failed; all others are done.
    """
    ran = 0
    failed: set[str] = set()
    while ran != limit:
        missing = [cell for cell in cells_of(study, out) if read_result(study, cell, out) is None]
        missing = [cell for cell in missing if cell.name not in failed]
        if not missing:
            break
        for cell in missing:
            try:
                on_cell(cell, lambda step, cell=cell: run_cell(study, cell, out, step, running))  # type: ignore[misc]
            except CellHeld:
                continue
            except MsdEdgeError as problem:
                failed.add(cell.name)
                on_failure(cell, problem)
            ran += 1
            break
        else:
            time.sleep(_PAUSE)
    if failed:
        raise MsdEdgeError(f"cells that could not be run: {', '.join(sorted(failed))}; what is done is kept.")


def share_work(arguments: Sequence[str], count: int, threads: int) -> None:
    """Let processes work through the same study, and wait for them; they end with this one.

    Args:
        arguments: of this program.
        count: how many processes.
        threads: of the processor, for each, where OMP_NUM_THREADS does not say.

    Raises:
        MsdEdgeError: some failed; each has said why.
    """
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    command = [sys.executable, "-m", "msd_edge.benchmarks.study", *arguments, "--worker"]
    before = signal.signal(signal.SIGTERM, _interrupt)
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(count):
            workers.append(subprocess.Popen([*command, str(number)], env=environment))
        codes = [worker.wait() for worker in workers]
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGINT)
        for worker in workers:
            worker.wait()
        signal.signal(signal.SIGTERM, before)
    failed = sum(code != 0 for code in codes)
    if failed:
        raise MsdEdgeError(f"{failed} of {count} processes could not run all of their cells; what is done is kept.")


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
