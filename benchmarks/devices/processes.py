"""What devices share that start and stop processes."""

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from typing import IO

from pydantic import ValidationError

from msd_edge import errors
from msd_edge.benchmarks.job import Step
from msd_edge.errors import DeviceRunError, MsdEdgeError

# Tells a worker whose it is: by the time it can ask, the one that started it may be gone.
PARENT = "MSD_EDGE_PARENT"


def leave_with_parent() -> None:
    """From now on end this process when the one that started it is gone: killed with -9 it cannot stop its workers."""
    told = os.environ.get(PARENT, "")
    parent = int(told) if told.isascii() and told.isdigit() else os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def hold_interrupts() -> Iterator[None]:
    """Let Ctrl-C wait until the block is done: in the middle of starting a process nobody would know which to stop."""
    if threading.current_thread() is not threading.main_thread():  # only the main one gets them
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
    if pressed:
        signal.raise_signal(signal.SIGINT)


def pump_lines(stream: IO[bytes], lines: "queue.SimpleQueue[bytes | None]") -> None:
    """Put every line of a stream into a queue, None at its end."""
    with contextlib.suppress(ValueError, OSError):  # the stream is closed when the process has been stopped
        for line in stream:
            lines.put(line)
    lines.put(None)


def parse_step(line: bytes) -> Step | None:
    """Return the step that a worker's line tells of, None if it is something else."""
    try:
        return Step.model_validate_json(line)
    except ValidationError:
        return None


def error_class(name: str) -> type[MsdEdgeError]:
    """Return the class of an error that another process or device named; of an unknown one ``DeviceRunError``."""
    found = getattr(errors, name, None)
    return found if isinstance(found, type) and issubclass(found, MsdEdgeError) else DeviceRunError
