"""Golden samples: exactly what was written comes back, or nothing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.bundles import golden_images, reference_logits

from msd_edge.bundle.golden import read_golden, write_golden
from msd_edge.bundle.reader import read_bundle
from msd_edge.errors import BundleError


def test_round_trip(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    for name, dtype in {"tflite-int8": "int8", "onnx-int8": "uint8", "onnx-float32": "float32"}.items():
        golden = read_golden(bundle, name)
        assert golden.images.dtype == np.uint8
        assert np.array_equal(golden.images, golden_images())
        assert golden.outputs.shape == (16, 3, 4)
        assert golden.outputs.dtype == dtype
        assert golden.labels.tolist() == list(bundle.manifest.golden.labels)
    np.testing.assert_allclose(
        read_golden(bundle, "onnx-float32").outputs, reference_logits(golden_images()), atol=1e-4
    )
    assert read_golden(bundle).outputs.dtype == np.int8  # tflite-int8 is preferred


def test_files_are_little_endian(tmp_path: Path) -> None:
    outputs = np.array([[[1.0, -2.5]]], dtype=">f4").astype(np.float32)
    golden = write_golden(tmp_path, np.zeros((1, 2, 2, 1), np.uint8), [0], {"x": outputs})
    assert (tmp_path / golden.outputs[0].path).read_bytes() == bytes.fromhex("0000803f000020c0")


def test_damage_is_found(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))
    bundle = read_bundle(folder)
    path = folder / bundle.manifest.golden.path
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256 differs"):
        read_golden(bundle)
    path.write_bytes(data[:-1])
    with pytest.raises(BundleError, match=r"golden/images\.u8: the file has 4,607 bytes, not the 4,608"):
        read_golden(bundle)


@pytest.mark.parametrize(
    ("images", "outputs"),
    [
        (np.zeros((1, 2, 2, 1), np.int16), np.zeros((1, 1, 2), np.float32)),
        (np.zeros((1, 2, 2), np.uint8), np.zeros((1, 1, 2), np.float32)),
        (np.zeros((2, 2, 2, 1), np.uint8), np.zeros((1, 1, 2), np.float32)),
        (np.zeros((1, 2, 2, 1), np.uint8), np.zeros((1, 1, 2), np.float64)),
        (np.zeros((1, 2, 2, 1), np.uint8), np.zeros((1, 2), np.float32)),
        (np.zeros((1, 2, 2, 1), np.uint8), np.zeros((2, 1, 2), np.float32)),
    ],
)
def test_other_shapes_and_dtypes_are_refused(tmp_path: Path, images: np.ndarray, outputs: np.ndarray) -> None:
    with pytest.raises(BundleError, match="golden"):
        write_golden(tmp_path, images, [0], {"x": outputs})
