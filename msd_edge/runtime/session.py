"""One face for every runtime: a session runs one file (or one signature of it), tensors bound by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from msd_edge.errors import DataError

Array = NDArray[Any]
RuntimeName = Literal["litert", "tflite-runtime", "tensorflow", "onnxruntime"]


@dataclass(frozen=True)
class TensorInfo:
    """What a file itself says of a tensor; ``scale`` and ``zero_point`` are None where its format does not tell."""

    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class Session(Protocol):
    """A loaded file.

    Invariants: ``run`` takes every input by name in the shape and dtype of the file, and returns every output by name.
    Returned arrays belong to the caller until the next ``run`` only.
    """

    runtime: str
    runtime_version: str
    threads: int
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Invoke once.

        Raises:
            DataError: an input is missing, unknown, no array, or of another shape or dtype.
        """
        ...

    def join(self, following: "Session", names: Mapping[str, str]) -> None:
        """Spare copies, where a runtime can: inputs of ``following`` are read where this session writes its outputs.

        What is computed stays the same, whatever arrays ``run`` is given.

        Args:
            following: the session that mostly takes what this one gives.
            names: {output of this one: input of the following}.

        Raises:
            DataError: an input is unknown, or of another shape or dtype than the output.
        """
        ...


def dequantize(values: Array, scale: float | None, zero_point: int | None) -> NDArray[np.float32]:
    """Return ``scale * (values - zero_point)`` as float32; float tensors (scale None) pass through."""
    if scale is None or zero_point is None:
        return values.astype(np.float32, copy=False)
    return (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def check_inputs(wanted: Mapping[str, TensorInfo], given: Mapping[str, Array]) -> None:
    """Raise when inputs are not those of the file.

    Raises:
        DataError: an input is missing, unknown, no array, or of another shape or dtype.
    """
    if given.keys() != wanted.keys():
        raise DataError(f"the file takes {', '.join(sorted(wanted))}, not {', '.join(sorted(given)) or 'nothing'}.")
    for name, info in wanted.items():
        array: object = given[name]
        if not isinstance(array, np.ndarray | np.generic):
            kind = type(array).__name__
            raise DataError(f"input {name}: the file takes {info.dtype} {info.shape}, this is no array ({kind}).")
        if array.shape != info.shape or array.dtype != info.dtype:
            raise DataError(
                f"input {name}: the file takes {info.dtype} {info.shape}, this is {array.dtype} {array.shape}."
            )
