"""Golden samples: real images and the logits that every variant's files gave for them at export."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from msd_edge.bundle.manifest import DType, Golden, GoldenOutputs
from msd_edge.bundle.reader import Bundle
from msd_edge.bundle.writer import add_file
from msd_edge.errors import BundleError

# Raw files are little-endian whatever the machine.
_STORED: dict[DType, np.dtype[Any]] = {"float32": np.dtype("<f4"), "int8": np.dtype("i1"), "uint8": np.dtype("u1")}


@dataclass(frozen=True)
class GoldenSamples:
    """Golden samples of one variant.

    Attributes:
        images: (images, H, W, C) uint8, as a camera gives them.
        labels: (images,) int64, true classes.
        outputs: (images, exits, classes) in the dtype of the variant's logits, not dequantized.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    outputs: NDArray[Any]


def write_golden(
    folder: Path, images: NDArray[np.uint8], labels: Sequence[int], outputs: Mapping[str, NDArray[Any]]
) -> Golden:
    """Write golden samples into a bundle folder.

    Args:
        folder: the bundle being filled.
        images: (images, H, W, C) uint8.
        labels: (images,) true classes.
        outputs: for each variant name (images, exits, classes): float32, int8 or uint8, as the files give them.

    Returns:
        The manifest's entry.

    Raises:
        BundleError: shapes or dtypes are not these.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels):
        raise BundleError(
            f"{folder}: golden images are {images.dtype} {images.shape} for {len(labels)} labels, "
            "not uint8 (images, H, W, C) with a label each."
        )
    path, sha256, _ = add_file(folder, "golden/images.u8", np.ascontiguousarray(images).tobytes())
    entries = []
    for variant, values in outputs.items():
        dtype = next((name for name in get_args(DType) if values.dtype == np.dtype(name)), None)
        if dtype is None or values.ndim != 3 or len(values) != len(images):
            raise BundleError(
                f"{folder}: golden outputs of {variant} are {values.dtype} {values.shape}, "
                f"not ({len(images)}, exits, classes) of {', '.join(get_args(DType))}."
            )
        data = np.ascontiguousarray(values, dtype=_STORED[dtype]).tobytes()
        where, digest, _ = add_file(folder, f"golden/{variant}.{dtype}", data)
        entries.append(GoldenOutputs(variant=variant, path=where, sha256=digest, dtype=dtype))
    return Golden(
        images=len(images),
        path=path,
        sha256=sha256,
        labels=tuple(int(label) for label in labels),
        outputs=tuple(entries),
    )


def read_golden(bundle: Bundle, variant: str | None = None) -> GoldenSamples:
    """Read the golden samples of one variant (None: the one ``Bundle.variant`` prefers), sizes and hashes checked.

    Raises:
        BundleError: there is no such variant, or a file is missing or not the one that was exported.
    """
    name = bundle.variant(variant).name
    manifest, golden = bundle.manifest, bundle.manifest.golden
    entry = next(output for output in golden.outputs if output.variant == name)
    image_shape = (golden.images, manifest.input.height, manifest.input.width, manifest.input.channels)
    output_shape = (golden.images, len(manifest.exits), len(manifest.classes))
    images = _read(bundle, golden.path, golden.sha256, "uint8", image_shape)
    outputs = _read(bundle, entry.path, entry.sha256, entry.dtype, output_shape)
    return GoldenSamples(images, np.array(golden.labels, np.int64), outputs)


def _read(bundle: Bundle, path: str, sha256: str, dtype: DType, shape: tuple[int, ...]) -> NDArray[Any]:
    stored = _STORED[dtype]
    size = stored.itemsize
    for length in shape:  # Python's integers: a manifest of huge numbers must not overflow into a small size
        size *= length
    data = bundle.read_exact(path, sha256=sha256, size=size)
    return np.frombuffer(data, stored).reshape(shape).astype(np.dtype(dtype), copy=False)
