"""ONNX files on ONNX Runtime's CPU provider.

Inputs and outputs are bound once to arrays of the session's own: on a small segment (3x32x32 in, 4x32x32 out, one
thread, Zen 4) an invocation took 20.9 µs that way, against 27.9 through ``InferenceSession.run``. Options of a run that
live as long as the session save 2 µs of that: ONNX Runtime makes them anew otherwise. What one segment hands to the
next is not copied: the next one reads it where it was written.
"""

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from msd_edge.errors import BundleError, RuntimeUnavailable
from msd_edge.runtime.session import Array, Session, TensorInfo, check_inputs

_DTYPES = {"tensor(float)": "float32", "tensor(int8)": "int8", "tensor(uint8)": "uint8"}
_ERRORS_ONLY = 3
# Values of a tensor; no network for phones comes near.
_LARGEST = 1 << 28


class OnnxSession:
    """An ONNX file, loaded. See ``Session``; what ``run`` returns is overwritten by the next ``run``."""

    runtime: str = "onnxruntime"

    def __init__(self, data: bytes, *, threads: int) -> None:
        """Load a file.

        Args:
            data: the file's content; it must hold its weights itself.
            threads: how many threads an operator may use; operators run one after the other.

        Raises:
            BundleError: the content is no ONNX file that can run here, or its tensors are not of a fixed shape and
                one of float32, int8, uint8.
            RuntimeUnavailable: the file needs a newer ONNX Runtime.
        """
        library = import_onnxruntime()
        self.runtime_version: str = library.__version__
        self.threads = threads
        options = library.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _ERRORS_ONLY
        self._session = _load(library, data, options)
        self.inputs: Mapping[str, TensorInfo] = {node.name: _describe(node) for node in self._session.get_inputs()}
        self.outputs: Mapping[str, TensorInfo] = {node.name: _describe(node) for node in self._session.get_outputs()}
        self._own = {name: np.zeros(info.shape, info.dtype) for name, info in self.inputs.items()}
        self._joined: dict[str, Array] = {}
        self._bound: dict[str, Array] = {}
        self._given = {name: np.zeros(info.shape, info.dtype) for name, info in self.outputs.items()}
        self._binding = self._session.io_binding()
        self._options = library.RunOptions()
        for name, array in self._own.items():
            self._bind(name, array)
        for name, array in self._given.items():
            self._binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Invoke once; inputs and outputs by name.

        Raises:
            DataError: an input is missing, unknown, no array, or of another shape or dtype.
        """
        if len(inputs) != len(self._bound):
            check_inputs(self.inputs, inputs)
        for name, bound in self._bound.items():
            if inputs.get(name) is not bound:
                self._take(name, inputs)
        self._session.run_with_iobinding(self._binding, self._options)
        return self._given

    def join(self, following: Session, names: Mapping[str, str]) -> None:
        """Let ``following`` read its inputs where this session writes them; see ``Session``."""
        if isinstance(following, OnnxSession):
            taken = {names[given]: array for given, array in self._given.items() if given in names}
            check_inputs(following.inputs, {**following._own, **taken})
            following._joined.update(taken)

    def _take(self, name: str, inputs: dict[str, Array]) -> None:
        array, own = inputs.get(name), self._own[name]
        try:
            fits = array.shape == own.shape and array.dtype == own.dtype  # type: ignore[union-attr]
        except AttributeError:  # no array; to ask for its type first would cost every invocation 60 ns
            fits = False
        if not fits:
            check_inputs(self.inputs, inputs)
        if array is self._joined.get(name):
            own = self._joined[name]
        else:
            own[...] = array
        if self._bound[name] is not own:
            self._bind(name, own)

    def _bind(self, name: str, array: Array) -> None:
        self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        self._bound[name] = array


def import_onnxruntime() -> Any:
    """Import ONNX Runtime with its telemetry (1.29 and later) off."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def _load(library: Any, data: bytes, options: Any) -> Any:
    try:
        return library.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # noqa: BLE001  onnxruntime's errors share no base class but this
        reason = " ".join(str(problem).split()).rstrip(".")
        if "Unsupported model IR version" in reason or "Current official support for domain" in reason:
            raise RuntimeUnavailable(
                f"onnxruntime {library.__version__} is too old for this ONNX file ({reason}); "
                "install a newer one: pip install -U 'onnxruntime<1.29'."
            ) from None
        raise BundleError(f"onnxruntime cannot load this ONNX file: {reason}.") from None


def _describe(node: Any) -> TensorInfo:
    shape, dtype = tuple(node.shape), _DTYPES.get(node.type)
    lengths = [length for length in shape if isinstance(length, int) and length >= 0]
    if dtype is None or len(lengths) < len(shape) or math.prod(lengths) > _LARGEST:
        raise BundleError(
            f"tensor {node.name!r} of this ONNX file is {node.type} {list(shape)}; "
            f"a bundle's are of a fixed shape that fits in memory and one of {', '.join(_DTYPES.values())}."
        )
    return TensorInfo(shape, dtype)
