"""TFLite files on any interpreter of the TensorFlow Lite family: LiteRT, tflite-runtime, TensorFlow's own.

They share one Python interface. Of its three ways to run a small segment (32x32x3 in, 32x32x4 out, one thread, Zen 4)
the signature runner took 16.7 µs, set_tensor / invoke / get_tensor 14.2 and views without copies 13.8: the views
block the next invocation as long as anybody holds one, so it is the second, with indices looked up once by signature
name. Files with several signatures go through the runner: only it reaches the subgraphs beyond the first.
"""

import contextlib
import copy
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from msd_edge.bundle.choices import closest
from msd_edge.errors import BundleError
from msd_edge.runtime.session import Array, RuntimeName, Session, TensorInfo, check_inputs

_quiet_already: set[str] = set()
_first_load = threading.Lock()


class TfliteSession:
    """One signature of a TFLite file, loaded. See ``Session``."""

    def __init__(
        self,
        interpreter: type[Any],
        data: bytes,
        *,
        runtime: RuntimeName,
        runtime_version: str,
        threads: int,
        signature: str | None = None,
    ) -> None:
        """Load a file.

        Args:
            interpreter: the runtime's ``Interpreter`` class.
            data: the file's content.
            runtime: the runtime's name.
            runtime_version: its version.
            threads: how many it may use.
            signature: which of the file's signatures; None: the only one.

        Raises:
            BundleError: the content is no TFLite file that this runtime runs, or has no such signature.
        """
        self.runtime: str = runtime
        self.runtime_version = runtime_version
        self.threads = threads
        # The interpreter reads from the bytes as long as it lives and keeps them alive itself.
        self._interpreter = _load(interpreter, data, runtime, threads)
        self._bind(signature)

    def share(self, signature: str) -> "TfliteSession":
        """Return a session for another signature of the same loaded file; only one of them may run at a time.

        Raises:
            BundleError: the file has no such signature.
        """
        other = copy.copy(self)
        other._bind(signature)
        return other

    def _bind(self, signature: str | None) -> None:
        signatures = self._interpreter.get_signature_list()
        name = _choose(signature, list(signatures))
        try:
            runner = self._interpreter.get_signature_runner(name)
            taken, given = runner.get_input_details(), runner.get_output_details()
        except (ValueError, RuntimeError, TypeError):
            raise BundleError(f"this TFLite file's signature {name!r} names tensors that are not in it.") from None
        self.inputs: Mapping[str, TensorInfo] = {key: _describe(details) for key, details in taken.items()}
        self.outputs: Mapping[str, TensorInfo] = {key: _describe(details) for key, details in given.items()}
        self._taken = [(key, int(details["index"])) for key, details in taken.items()]
        self._given = [(key, int(details["index"])) for key, details in given.items()]
        self._runner = runner if len(signatures) > 1 else None
        # A living runner counts as a reference into the interpreter, which then refuses to be invoked directly.
        del runner

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Invoke once; inputs and outputs by signature name. The returned arrays are copies.

        Raises:
            DataError: an input is missing, unknown, no array, or of another shape or dtype.
        """
        if self._runner is not None:
            check_inputs(self.inputs, inputs)  # the runner would take any shape and make the tensors anew
            outputs: dict[str, Array] = self._runner(**inputs)
            return outputs
        if len(inputs) != len(self._taken):
            check_inputs(self.inputs, inputs)
        interpreter = self._interpreter
        try:
            for name, index in self._taken:
                interpreter.set_tensor(index, inputs[name])
        except (KeyError, ValueError):
            check_inputs(self.inputs, inputs)
            raise
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in self._given}

    def join(self, following: Session, names: Mapping[str, str]) -> None:
        """Do nothing: these interpreters keep their tensors where they are and copy both ways. See ``Session``."""


def _load(interpreter: type[Any], data: bytes, runtime: str, threads: int) -> Any:
    if not data:
        raise BundleError("the file is empty.")
    try:
        with _without_notice(runtime), warnings.catch_warnings():
            # TensorFlow announces the end of its own interpreter in favour of LiteRT: known, and no news to a user.
            warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter is deprecated")
            loaded = interpreter(model_content=data, num_threads=threads)
            loaded.allocate_tensors()
    except (ValueError, RuntimeError) as problem:
        reason = " ".join(str(problem).split()).rstrip(".")
        raise BundleError(f"{runtime} cannot load this TFLite file: {reason}.") from None
    return loaded


def _choose(signature: str | None, known: list[str]) -> str:
    if not known:
        raise BundleError("this TFLite file has no signature, so that its tensors have no names to bind by.")
    if signature is None:
        if len(known) > 1:
            raise BundleError(f"this TFLite file has several signatures, name one of {', '.join(known)}.")
        return known[0]
    if signature not in known:
        raise BundleError(f"this TFLite file has no signature {signature!r}{closest(signature, known)}.")
    return signature


def _describe(details: dict[str, Any]) -> TensorInfo:
    quantization = details["quantization_parameters"]
    scales, zeros = quantization["scales"], quantization["zero_points"]
    quantized = len(scales) == 1
    return TensorInfo(
        shape=tuple(int(length) for length in details["shape"]),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scales[0]) if quantized else None,
        zero_point=int(zeros[0]) if quantized else None,
    )


@contextlib.contextmanager
def _without_notice(runtime: str) -> Iterator[None]:
    """Keep the line about XNNPACK that a runtime's first load writes to standard error out of the user's sight.

    The native library writes it to the file descriptor itself and knows no setting against it (2.3.0), so the
    descriptor is turned to a file meanwhile; whatever else arrives there is written on afterwards. Threads that load
    their first files at once take turns: a second one would write before the first has turned the descriptor.
    """
    if runtime in _quiet_already:
        yield
        return
    with _first_load, contextlib.ExitStack() as stack:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
            saved = os.dup(2)
        except (OSError, ValueError):  # no standard error at all: nothing to keep clean
            yield
            _quiet_already.add(runtime)
            return
        stack.callback(os.close, saved)
        caught = stack.enter_context(tempfile.TemporaryFile())
        os.dup2(caught.fileno(), 2)
        try:
            yield
            _quiet_already.add(runtime)  # a load that failed may have said nothing yet
        finally:
            os.dup2(saved, 2)
            caught.seek(0)
            rest = b"".join(line for line in caught if b"XNNPACK delegate for CPU" not in line)
            if rest:
                os.write(2, rest)
