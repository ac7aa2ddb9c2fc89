"""Keeps other libraries' chatter away from the user's terminal, and their errors to one sentence."""

import contextlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what is printed, logged and warned about inside the block.

    litert-torch prints through Python, its C++ parts and XNNPACK write to file descriptor 2 directly: so both are
    turned away. The descriptors belong to the whole process: keep blocks to single library calls, draw no progress in
    another thread meanwhile.
    """
    silent_before = logging.root.manager.disable
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
        for descriptor in (1, 2):
            stack.enter_context(_redirected(descriptor, sink.fileno()))
        stack.enter_context(contextlib.redirect_stdout(sink))
        stack.enter_context(contextlib.redirect_stderr(sink))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        logging.disable(max(silent_before, logging.ERROR))
        stack.callback(logging.disable, silent_before)
        yield


def first_sentence(problem: Exception) -> str:
    """Return the first line of what an exception says, as a sentence."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    first = lines[0] if lines else type(problem).__name__
    return first[:300].rstrip(".") + "."


@contextlib.contextmanager
def _redirected(descriptor: int, target: int) -> Iterator[None]:
    try:
        saved = os.dup(descriptor)
    except OSError:  # closed: nothing can be printed there
        yield
        return
    try:
        os.dup2(target, descriptor)
        yield
    finally:
        os.dup2(saved, descriptor)
        os.close(saved)
