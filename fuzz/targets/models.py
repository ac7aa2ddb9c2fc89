"""Model files: what export reads back from them, and what the runtimes make of them."""

from pathlib import Path

from fuzz.oracle import refuses
from fuzz.targets import Run, Target


def tflite(folder: Path) -> Run:
    """A .tflite file: operators counted, then loaded by the runtime."""
    from msd_edge.runtime.open import open_session

    del folder

    def run(data: bytes) -> None:
        refuses(lambda: open_session(data, "tflite"))

    return run


def tflite_census(folder: Path) -> Run:
    """A .tflite file, inspected by our own reader."""
    from msd_edge.converters.tflite.census import census

    del folder

    def run(data: bytes) -> None:
        refuses(lambda: census(data))

    return run


def onnx(folder: Path) -> Run:
    """An .onnx file: described as export does, then loaded by the runtime."""
    from msd_edge.converters.onnx.check import describe
    from msd_edge.runtime.open import open_session

    del folder

    def run(data: bytes) -> None:
        refuses(lambda: describe(data, "segment 1 → onnx int8"))
        refuses(lambda: open_session(data, "onnx"))

    return run


TARGETS = (
    Target("tflite", tflite, 1.5, native=True),
    Target("tflite-census", tflite_census, 3),
    Target("onnx", onnx, 2, native=True),
)
