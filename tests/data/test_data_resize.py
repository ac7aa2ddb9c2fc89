"""Any image becomes (height, width, channels) uint8: turned, converted, resized, cropped; or gets a sentence."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from msd_edge.data.resize import fit_array, fit_image, quiet_pillow, read_image
from msd_edge.errors import DataError


def gradient(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), 0 * x], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    target=st.tuples(st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 3])),
)
@settings(deadline=None)
def test_every_size_fits_every_target(size: tuple[int, int], target: tuple[int, int, int]) -> None:
    pixels = fit_image(gradient(*size), *target)
    assert pixels.shape == target
    assert pixels.dtype == np.uint8
    assert np.array_equal(fit_image(Image.new("RGB", size, (9, 9, 9)), *target), np.full(target, 9, np.uint8))


def test_the_right_size_is_left_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    assert np.array_equal(fit_array(pixels, 6, 5, 3), pixels)
    assert np.array_equal(fit_array(pixels[..., :1], 6, 5, 1), pixels[..., :1])
    assert np.array_equal(fit_array(pixels[..., 0], 6, 5, 3), np.repeat(pixels[..., :1], 3, axis=2))


def test_the_shorter_side_fits_and_the_centre_stays() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    assert (fit_array(pixels, 5, 5, 3)[:, 1:4] == 255).all()
    image = gradient(60, 40)
    whole = np.asarray(image.resize((30, 20), Image.Resampling.BILINEAR))
    assert np.abs(fit_image(image, 20, 20, 3).astype(int) - whole[:, 5:25]).max() <= 1


def test_a_long_thin_image_costs_no_more_than_its_result() -> None:
    assert fit_image(Image.new("L", (60_000, 1), 5), 224, 224, 1).shape == (224, 224, 1)


def test_orientation_is_honoured(tmp_path: Path) -> None:
    image = gradient(16, 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    expected = np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(read_image(tmp_path / "turned.png", 16, 8, 3), expected)


def test_colour_modes_become_rgb_or_grey(tmp_path: Path) -> None:
    red = Image.new("RGB", (4, 4), (200, 10, 10))
    for image in (red.quantize(4), *(red.convert(mode) for mode in ("CMYK", "YCbCr", "RGBA", "HSV"))):
        assert np.abs(fit_image(image, 4, 4, 3).astype(int) - (200, 10, 10)).max() <= 3, image.mode
    grey = fit_image(red, 4, 4, 1)
    assert np.array_equal(grey[..., 0], np.asarray(red.convert("L")))
    assert fit_image(Image.new("1", (4, 4), 1), 4, 4, 3).min() == 255
    assert fit_image(Image.new("LA", (4, 4), (40, 255)), 4, 4, 3).max() == 40


def test_transparent_pixels_show_white(tmp_path: Path) -> None:
    assert fit_image(Image.new("RGBA", (4, 4), (200, 10, 10, 0)), 4, 4, 3).min() == 255
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([1, 2, 3])
    palette.save(tmp_path / "palette.png", transparency=bytes([0]))
    assert read_image(tmp_path / "palette.png", 4, 4, 3).min() == 255


def test_sixteen_bit_greys_are_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 257 * 100], [257 * 200, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png", 2, 2, 1)[..., 0].tolist() == [[0, 100], [200, 255]]
    assert fit_image(Image.fromarray(values.astype(np.int32)), 2, 2, 3)[..., 2].tolist() == [[0, 100], [200, 255]]


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(DataError, match=r"float.tiff: this image has floating-point pixels of no known range"):
        read_image(tmp_path / "float.tiff", 4, 4, 3)


def test_unreadable_files_get_a_sentence_with_their_path(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    gradient(64, 64).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:700])
    (tmp_path / "empty.png").touch()
    for name, why in (("text", "no image that Pillow knows"), ("cut", "truncated"), ("gone", "No such file")):
        with pytest.raises(DataError, match=rf"{name}.jpg: .*{why}"):
            read_image(tmp_path / f"{name}.jpg", 8, 8, 3)
    with pytest.raises(DataError, match=r"empty.png: this is no image"):
        read_image(tmp_path / "empty.png", 8, 8, 3)
    with pytest.raises(DataError, match="cannot read this image"):
        read_image(tmp_path, 8, 8, 3)


@pytest.mark.parametrize("limit", [400, 250])
def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Pillow warns above its limit and raises above twice the limit; here both are refused."""
    gradient(25, 25).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    said = r"bomb.png: this image has .*too many.*: up to 0\.0 million are read, make it smaller first\."
    with quiet_pillow(), pytest.raises(DataError, match=said):
        read_image(tmp_path / "bomb.png", 8, 8, 3)


@given(
    cut=st.integers(0, 600), flip=st.integers(0, 600), suffix=st.sampled_from(["png", "jpeg", "gif", "webp", "tiff"])
)
@settings(max_examples=60, deadline=None)
def test_damaged_files_give_pixels_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("damaged") / f"x.{suffix}"
    gradient(20, 20).save(path)
    data = bytearray(path.read_bytes())
    data[flip % len(data)] ^= 0x55
    path.write_bytes(data[: max(0, len(data) - cut)])
    with quiet_pillow():
        try:
            shape = read_image(path, 8, 8, 3).shape
        except DataError as problem:
            shape = (8, 8, 3) if str(path) in str(problem) else ()
    assert shape == (8, 8, 3)


def test_filters_come_back(tmp_path: Path) -> None:
    before = list(warnings.filters)
    with quiet_pillow():
        pass
    assert warnings.filters == before


def test_a_small_board_can_use_it() -> None:
    code = "import sys, msd_edge.data.resize; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
