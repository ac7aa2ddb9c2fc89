"""From a path to a running cascade in one call."""

from pathlib import Path

from msd_edge.bundle.reader import read_bundle
from msd_edge.runtime.cascade import CascadeRunner


def open_bundle(
    path: Path | str,
    *,
    point: str | None = None,
    variant: str | None = None,
    runtime: str | None = None,
    threads: int = 1,
) -> CascadeRunner:
    """Open a bundle, verify its files and load them.

    Args:
        path: the bundle's folder.
        point: an operating point of its calibration; None: ``lossless``, or the first if there is none so named.
        variant: ``tflite-int8`` or another one it holds; None: ``tflite-int8``, else ``onnx-int8``, else the first,
            of those that the runtime named runs, or whose runtime is installed.
        runtime: litert, tflite-runtime, tensorflow or onnxruntime; None: the preferred installed one.
        threads: how many threads the runtime may use.

    Raises:
        BundleError: the bundle is missing, damaged, not calibrated, or has no such variant or point.
        ConfigError: the runtime does not fit the variant.
        RuntimeUnavailable: the runtime is not installed, cannot start or cannot run a file.
    """
    return CascadeRunner(read_bundle(path), variant=variant, point=point, runtime=runtime, threads=threads)
