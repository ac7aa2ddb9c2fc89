"""Built-in names, .npz files and what is wrong with them: one sentence each."""

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import hash_split
from msd_edge.data.load import known_sources, load_dataset
from msd_edge.data.statistics import pixel_statistics
from msd_edge.errors import DataError


def arrays(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    good = {
        "x_train": rng.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8),
        "y_train": np.arange(40) % 4,
        "x_test": rng.integers(0, 256, (8, 6, 5, 3), dtype=np.uint8),
        "y_test": np.arange(8) % 4,
    }
    return {key: value for key, value in {**good, **changes}.items() if value is not None}


def write(path: Path, **changes: Any) -> DataConfig:
    np.savez(path, **arrays(**changes))
    return DataConfig(source=str(path))


def test_digits_are_real_digits_enlarged() -> None:
    dataset = load_dataset(DataConfig())
    assert dataset.name == "digits"
    assert dataset.image_shape == (16, 16, 1)
    assert dataset.classes == tuple("0123456789")
    assert len(dataset.train) + len(dataset.calibration) + len(dataset.test) == 1797
    assert abs(len(dataset.test) - 0.2 * 1797) < 6
    pixels = dataset.train.read(np.arange(len(dataset.train)))
    assert (pixels.min(), pixels.max()) == (0, 255)
    again = load_dataset(DataConfig())
    assert hash_split(again.calibration) == hash_split(dataset.calibration)
    assert hash_split(load_dataset(DataConfig(seed=1)).test) != hash_split(dataset.test)


def test_a_size_and_channels_asked_for_are_given() -> None:
    dataset = load_dataset(DataConfig(size=(8, 12), channels=3))
    assert dataset.image_shape == (8, 12, 3)
    assert dataset.train.read(np.arange(2)).shape == (2, 8, 12, 3)
    with pytest.raises(DataError, match=r"more than the 0.001 GiB of memory allowed; .* --memory-gib"):
        load_dataset(DataConfig(size=(400, 400), memory_gib=0.001))
    with pytest.raises(DataError, match="1 channel"):
        load_dataset(DataConfig(channels=2))


def test_an_npz_file_is_read_as_it_is(tmp_path: Path) -> None:
    config = write(tmp_path / "temp evil é 模型.npz")
    dataset = load_dataset(config)
    assert dataset.name == config.source
    assert dataset.classes == ("0", "1", "2", "3")
    assert dataset.image_shape == (6, 5, 3)
    assert np.array_equal(dataset.test.read(np.arange(8)), arrays()["x_test"])
    assert dataset.test.labels.dtype == np.int64


def test_an_npz_file_may_be_grey_named_compressed_and_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = arrays()
    good |= {"x_train": good["x_train"][..., 0], "x_test": good["x_test"][..., 0], "y_train": good["y_train"][:, None]}
    np.savez_compressed(tmp_path / "set.npz", classes=np.array(["eins", "zwei", "drei", "vier"]), **good)
    monkeypatch.chdir(tmp_path)
    dataset = load_dataset(DataConfig(source="set.npz"))
    assert dataset.name == "set.npz"
    assert dataset.classes == ("eins", "zwei", "drei", "vier")
    assert dataset.image_shape == (6, 5, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "there is no y_test in it"),
        ({"x_train": np.zeros((40, 6, 5, 3), np.float32)}, "x_train is float32; images are raw pixels"),
        ({"x_train": np.zeros((40, 3, 6, 5), np.uint8)}, r"x_train.transpose\(0, 2, 3, 1\)"),
        ({"x_train": np.zeros((40, 6), np.uint8)}, r"x_train has the shape \(40, 6\)"),
        ({"x_train": np.zeros((0, 6, 5, 3), np.uint8), "y_train": np.zeros(0, int)}, "x_train is empty"),
        ({"x_test": np.zeros((8, 5, 6, 3), np.uint8)}, "images of 6×5×3, but x_test of 5×6×3"),
        ({"x_train": np.zeros((40, 1, 9000, 1), np.uint8)}, "8192 pixels a side"),
        ({"y_train": np.zeros(39, int)}, "there are 40 images"),
        ({"y_train": np.eye(4)[np.arange(40) % 4].astype(int)}, r"y_train has the shape \(40, 4\)"),
        ({"y_train": np.zeros(40)}, "y_train is float64; labels are integers"),
        ({"y_train": np.arange(40) % 4 - 1}, "y_train has the label -1"),
        ({"y_train": np.full(40, 2**64 - 1, np.uint64)}, "has the label 18446744073709551615"),
        ({"y_train": np.arange(40) % 4 * 2}, "label 6 but no image of class 1"),
        ({"y_train": np.array([0] * 20 + [2**60] * 20)}, "no image of class 1"),
        ({"y_test": np.arange(8) + 17}, "y_test has the label 24, but training knows the classes 0 to 3 only"),
        ({"y_train": np.zeros(40, int), "y_test": np.zeros(8, int)}, "only one class"),
        ({"classes": np.array(["a", "b"])}, "label 3, but classes names 2 only"),
        ({"classes": np.array(["a", "b", "c", "c"])}, "same name twice"),
        ({"classes": np.arange(4)}, "classes is int64"),
        ({"classes": np.array(list("abcde"))}, "class 'e' has no training image"),
    ],
)
def test_a_wrong_npz_file_gets_a_sentence(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(write(tmp_path / "set.npz", **changes))
    assert str(caught.value).startswith(str(tmp_path / "set.npz"))
    assert "\n" not in str(caught.value)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("opened"),))


@pytest.mark.parametrize("key", ["x_train", "y_train", "classes"])
def test_pickles_are_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "set.npz", allow_pickle=True, **arrays(**{key: np.array([Hostile()], dtype=object)}))
    with pytest.raises(DataError, match=f"{key} holds pickled objects, which are never opened"):
        load_dataset(DataConfig(source="set.npz"))
    # A member that is a pickle and no array at all.
    with zipfile.ZipFile(tmp_path / "raw.npz", "w") as archive:
        for name in arrays():
            archive.writestr(f"{name}.npy", pickle.dumps(Hostile()))
    with pytest.raises(DataError, match="x_train is no readable array"):
        load_dataset(DataConfig(source="raw.npz"))
    assert not Path("opened").exists()


def npy(shape: tuple[int, ...], body: bytes, descr: str = "|u1") -> bytes:
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (64 - (len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def test_declared_sizes_are_held_against_the_limit_before_reading(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", **arrays(x_train=np.zeros((40, 1000, 1000, 1), np.uint8)))
    assert (tmp_path / "bomb.npz").stat().st_size < 100_000
    with pytest.raises(DataError, match=r"take 0.04 GiB, more than the 0.01 GiB of memory allowed; .* --memory-gib"):
        load_dataset(DataConfig(source=str(tmp_path / "bomb.npz"), memory_gib=0.01))


@pytest.mark.parametrize("shape", [(2**40, 32, 32, 3), (40, 6, 5, 4), (-1, 6, 5, 3)])
def test_an_array_that_lies_about_its_size_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        for name, value in arrays().items():
            buffer = io.BytesIO()
            np.save(buffer, value)
            archive.writestr(f"{name}.npy", npy(shape, b"\0" * 3600) if name == "x_train" else buffer.getvalue())
    with pytest.raises(DataError, match=r"x_train (declares|is no readable array)"):
        load_dataset(DataConfig(source=str(tmp_path / "lie.npz")))


@pytest.mark.parametrize("keep", [0, 10, 2000, -30])
def test_a_cut_file_is_refused(tmp_path: Path, keep: int) -> None:
    config = write(tmp_path / "set.npz")
    data = Path(config.source).read_bytes()
    Path(config.source).write_bytes(data[:keep])
    with pytest.raises(DataError, match=r"set.npz: this is no .npz file, or a damaged one"):
        load_dataset(config)


def test_a_damaged_member_is_refused(tmp_path: Path) -> None:
    config = write(tmp_path / "set.npz")
    data = bytearray(Path(config.source).read_bytes())
    data[1000] ^= 255
    Path(config.source).write_bytes(data)
    with pytest.raises(DataError, match="damaged one"):
        load_dataset(config)


def test_the_same_images_twice_are_refused(tmp_path: Path) -> None:
    good = arrays()
    with pytest.raises(DataError, match="every training image is a test image too"):
        load_dataset(write(tmp_path / "set.npz", x_test=good["x_train"], y_test=good["y_train"]))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("cifar01", r"cifar01: no such data set, file or folder; did you mean cifar10\?"),
        ("Digits", r"did you mean digits\?"),
        ("nowhere/x.npz", r"nowhere/x.npz: no such data set, file or folder \(built in: digits, "),
    ],
)
def test_a_name_that_is_nothing_gets_a_sentence(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(DataConfig(source=source))


def test_a_file_of_another_kind_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("x")
    with pytest.raises(DataError, match=r"data.yaml: this is a file; a data set is a .npz file or a folder"):
        load_dataset(DataConfig(source=str(tmp_path / "data.yaml")))


def test_missing_scikit_learn_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(DataError, match=r"pip install scikit-learn"):
        load_dataset(DataConfig())


def test_known_sources() -> None:
    assert known_sources() == ("digits", "cifar10", "cifar100", "fashion-mnist")


def test_statistics_are_those_of_all_channels(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path / "set.npz"))
    mean, std = pixel_statistics(dataset.train)
    pixels = dataset.train.read(np.arange(len(dataset.train))).astype(np.float64)
    assert mean == round(pixels.mean())
    assert abs(std - pixels.std()) <= 1 / 32
    assert std * 16 == int(std * 16)


def test_a_flat_split_has_a_deviation_of_one() -> None:
    from msd_edge.data.dataset import hold

    assert pixel_statistics(hold(np.full((4, 2, 2, 3), 7, np.uint8), np.zeros(4, int))) == (7, 1.0)
