"""Several targets at once, each in a process of its own: conversions hold the interpreter, so threads would not do."""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, Protocol

from msd_edge import errors
from msd_edge.errors import ExportError, MsdEdgeError

Step = Callable[[str], None]


class Work(Protocol):
    """A piece of work that can be pickled."""

    def __call__(self, step: Step) -> Any:
        """Do it, saying what is going on; raise MsdEdgeError where it fails."""
        ...


def run_side_by_side(here: Callable[[], Any], elsewhere: Sequence[Work], step: Step) -> list[Any]:
    """Run one piece of work in this process and the others in processes of their own.

    Args:
        here: the first piece.
        elsewhere: the others; each is pickled, its result too.
        step: told what the others are doing, from threads.

    Returns:
        The results, that of ``here`` first. An error here ends the others; one elsewhere is raised when the piece of
        this process is done.

    Raises:
        MsdEdgeError: as a piece of work raised it.
        ExportError: a process ended without an answer.
    """
    context = multiprocessing.get_context("spawn")
    started = []
    for work in elsewhere:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(work, sender), daemon=True)
        process.start()
        sender.close()  # so that its end is seen here
        started.append((process, receiver))
    try:
        with ThreadPoolExecutor(max(1, len(started))) as pool:
            waiting = [pool.submit(_listen, receiver, step) for _, receiver in started]
            try:
                first = here()
            except BaseException:
                for process, _ in started:
                    process.terminate()
                raise
            return [first, *(one.result() for one in waiting)]
    finally:
        for process, _ in started:
            process.terminate()
            process.join()


def _run(work: Work, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    try:
        result = work(lambda text: sender.send(("step", text)))
    except MsdEdgeError as problem:
        sender.send(("error", (type(problem).__name__, str(problem))))
    else:
        sender.send(("done", result))


def _listen(receiver: Connection, step: Step) -> Any:
    while True:
        try:
            kind, value = receiver.recv()
        except EOFError:
            raise ExportError(
                "a process that converts ended without an answer (out of memory?); export one --target after the other."
            ) from None
        if kind == "step":
            step(value)
        elif kind == "error":
            name, message = value
            raise getattr(errors, name, MsdEdgeError)(message)
        else:
            return value
