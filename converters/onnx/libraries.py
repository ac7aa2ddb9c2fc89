"""The libraries behind the ONNX target, kept quiet and private."""

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

_FATAL = 4


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings, log lines and printed graphs of torch's exporter and onnxruntime's quantizer from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def onnxruntime() -> Any:
    """Import onnxruntime, with its telemetry (1.29 and later) off."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with quiet():
        import onnxruntime

    return onnxruntime


def open_session(data: bytes, *, threads: int) -> Any:
    """Return an onnxruntime session on the processor for a model in memory.

    Args:
        data: the model.
        threads: for one run.
    """
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
