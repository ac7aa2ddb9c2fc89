"""Raw pixels in: exactly the pixel values, in the layout and dtype of the file."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from msd_edge.bundle.manifest import DType, InputSpec, Layout, TensorSpec
from msd_edge.data.resize import fit_image
from msd_edge.errors import DataError
from msd_edge.runtime.preprocess import load_image, to_tensor

SPEC = InputSpec(height=8, width=12, channels=3, mean=(121,), std=(64,))


def tensor_spec(layout: Layout, dtype: DType, size: tuple[int, int, int] = (8, 12, 3)) -> TensorSpec:
    shape = (1, *size) if layout == "NHWC" else (1, size[2], *size[:2])
    quantized = {} if dtype == "float32" else {"scale": 1 / 64, "zero_point": 0}
    return TensorSpec(name="image", shape=shape, layout=layout, dtype=dtype, **quantized)


@settings(max_examples=60, deadline=None)
@given(
    layout=st.sampled_from(["NHWC", "NCHW"]),
    dtype=st.sampled_from(["int8", "uint8", "float32"]),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3])),
    seed=st.integers(0, 99),
    reuse=st.booleans(),
    turned=st.booleans(),
)
def test_every_pixel_is_where_it_belongs(
    layout: Layout, dtype: DType, size: tuple[int, int, int], seed: int, reuse: bool, turned: bool
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    if turned:  # not contiguous in memory
        image = np.asfortranarray(image)[::-1]
    spec = tensor_spec(layout, dtype, size)
    out = np.full(spec.shape, 7, spec.dtype) if reuse else None
    tensor = to_tensor(image, spec, out)
    assert tensor.dtype == spec.dtype
    assert tensor.shape == spec.shape
    assert tensor.flags.c_contiguous
    assert out is None or tensor is out
    for row, column, channel in np.ndindex(size):
        place = (0, row, column, channel) if layout == "NHWC" else (0, channel, row, column)
        assert int(tensor[place]) == int(image[row, column, channel]) - (128 if dtype == "int8" else 0)


def test_all_pixel_values_become_int8_minus_128() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert to_tensor(image, tensor_spec("NHWC", "int8", (16, 16, 1))).ravel().tolist() == list(range(-128, 128))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((12, 8, 3), np.uint8),
        np.zeros((8, 12), np.uint8),
        np.zeros((8, 12, 4), np.uint8),
        np.zeros((1, 8, 12, 3), np.uint8),
        np.zeros((8, 12, 3), np.float32),
        np.zeros((8, 12, 3), np.int8),
    ],
)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_other_images_are_refused(image: np.ndarray, layout: Layout) -> None:
    with pytest.raises(DataError, match=r"this bundle takes uint8 \(8, 12, 3\): height, width, channels"):
        to_tensor(image, tensor_spec(layout, "int8"))


def test_what_is_no_array_is_refused() -> None:
    with pytest.raises(DataError, match="the image is list"):
        to_tensor([[1, 2]], tensor_spec("NHWC", "int8"))  # type: ignore[arg-type]


def test_load_image_is_the_one_resize(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    path = tmp_path / "图 é.png"
    Image.fromarray(pixels).save(path)
    found = load_image(path, SPEC)
    assert found.dtype == np.uint8
    assert np.array_equal(found, fit_image(Image.fromarray(pixels), 8, 12, 3))
    assert load_image(path, SPEC.model_copy(update={"channels": 1})).shape == (8, 12, 1)


def test_exif_orientation_is_followed(tmp_path: Path) -> None:
    pixels = np.zeros((12, 8, 3), np.uint8)
    pixels[:6] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    found = load_image(tmp_path / "turned.png", SPEC)
    assert np.array_equal(found, np.rot90(pixels, -1))


def test_bad_images_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = tmp_path / "good.png"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(good)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:2000])
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:700])
    Image.fromarray(np.zeros((8, 12), np.float32)).save(tmp_path / "float.tiff")
    (tmp_path / "folder.png").mkdir()
    for name in ("text.png", "empty.png", "cut.png", "cut.jpg", "float.tiff", "folder.png", "none.png"):
        with pytest.raises(DataError) as caught:
            load_image(tmp_path / name, SPEC)
        assert str(caught.value).startswith(str(tmp_path / name))
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"good\.png: this image has .*pixels"):
        load_image(good, SPEC)
