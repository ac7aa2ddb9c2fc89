"""One face for every runtime: a session runs one file (or one signature of it), tensors bound by name."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Session(Protocol):
    """A loaded file.

    Invariants: ``run`` takes every input by name in the shape and dtype of the file, and returns every output by name.
    Returned arrays belong to the caller until the next ``run`` only.
    """

    runtime: str
    runtime_version: str
    threads: int

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Invoke once."""
        ...


def dequantize(values: Array, scale: float | None, zero_point: int | None) -> NDArray[np.float32]:
    """Return ``scale * (values - zero_point)`` as float32; float tensors (scale None) pass through."""
    if scale is None or zero_point is None:
        return values.astype(np.float32, copy=False)
    return (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
