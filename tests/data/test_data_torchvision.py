"""CIFAR-10, CIFAR-100 and Fashion-MNIST from files in their real formats, read by torchvision's own loaders."""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from msd_edge.data.config import DataConfig
from msd_edge.data.load import load_dataset
from msd_edge.errors import DataError

CLASSES = [f"kind {i}" for i in range(10)]


def write_pickle(path: Path, content: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


def cifar_pixels(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cifar-10-batches-py"
    train = []
    for part in range(1, 6):
        content = {"data": cifar_pixels(20, part), "labels": [i % 10 for i in range(20)]}
        train.append([f"data_batch_{part}", write_pickle(folder / f"data_batch_{part}", content)])
    test = {"data": cifar_pixels(20, 9), "labels": [i % 10 for i in range(20)]}
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", write_pickle(folder / "test_batch", test)]])
    meta = {**datasets.CIFAR10.meta, "md5": write_pickle(folder / "batches.meta", {"label_names": CLASSES})}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return tmp_path


@pytest.mark.parametrize("download", [True, False])
def test_cifar10(cifar10: Path, download: bool, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = load_dataset(DataConfig(source="cifar10", root=str(cifar10), download=download))
    assert dataset.name == "cifar10"
    assert dataset.classes == tuple(CLASSES)
    assert dataset.image_shape == (32, 32, 3)
    assert (len(dataset.train), len(dataset.calibration), len(dataset.test)) == (90, 10, 20)
    expected = cifar_pixels(20, 9).reshape(20, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(dataset.test.read(np.arange(20)), expected)
    assert capsys.readouterr().out == ""


def test_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-100-python"
    for name, count, attribute in (("train", 400, "train_list"), ("test", 100, "test_list")):
        content = {"data": cifar_pixels(count, count), "fine_labels": [i % 100 for i in range(count)]}
        monkeypatch.setattr(datasets.CIFAR100, attribute, [[name, write_pickle(folder / name, content)]])
    names = [f"fine {i}" for i in range(100)]
    meta = {**datasets.CIFAR100.meta, "md5": write_pickle(folder / "meta", {"fine_label_names": names})}
    monkeypatch.setattr(datasets.CIFAR100, "meta", meta)
    dataset = load_dataset(DataConfig(source="cifar100", root=str(tmp_path), download=False))
    assert dataset.classes == tuple(names)
    assert (len(dataset.train), len(dataset.calibration), len(dataset.test)) == (300, 100, 100)


def test_fashion_mnist(tmp_path: Path) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = (np.arange(40) % 10).astype(np.uint8)
    for prefix, pixels, kinds in (("train", images, labels), ("t10k", images[:10] ^ 255, labels[:10])):
        header = struct.pack(">iiii", 0x803, len(pixels), 28, 28)
        idx = {"images-idx3": header + pixels.tobytes()}
        idx["labels-idx1"] = struct.pack(">ii", 0x801, len(kinds)) + kinds.tobytes()
        for kind, content in idx.items():
            (folder / f"{prefix}-{kind}-ubyte").write_bytes(content)
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    dataset = load_dataset(DataConfig(source="fashion-mnist", root=str(tmp_path), download=False))
    assert dataset.image_shape == (28, 28, 1)
    assert dataset.classes[:2] == ("T-shirt/top", "Trouser")
    assert (len(dataset.train), len(dataset.calibration), len(dataset.test)) == (30, 10, 10)
    assert np.array_equal(dataset.test.read(np.arange(10))[..., 0], images[:10] ^ 255)


@pytest.mark.parametrize("source", ["cifar10", "cifar100", "fashion-mnist"])
def test_missing_files_say_where_to_put_them(tmp_path: Path, source: str) -> None:
    with pytest.raises(
        DataError, match=rf"{source} is not there, or is damaged .*{tmp_path}.*or give .*--data FILE.npz"
    ):
        load_dataset(DataConfig(source=source, root=str(tmp_path), download=False))


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/nothing-here.tar.gz")
    with pytest.raises(
        DataError, match=r"cifar10 could not be downloaded \(.*refused.*\); put its files into"
    ) as caught:
        load_dataset(DataConfig(source="cifar10", root=str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_a_failed_download_leaves_no_folder_but_those_that_were_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/nothing-here.tar.gz")
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    (tmp_path / "mine").mkdir()
    for source in ("cifar10", "fashion-mnist"):
        for root in ("new/deeper", "mine"):
            with pytest.raises(DataError, match="could not be downloaded"):
                load_dataset(DataConfig(source=source, root=str(tmp_path / root)))
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_a_damaged_file_is_refused_before_it_is_unpickled(cifar10: Path) -> None:
    path = cifar10 / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="cifar10 is not there, or is damaged"):
        load_dataset(DataConfig(source="cifar10", root=str(cifar10), download=False))


def test_missing_torchvision_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    with pytest.raises(DataError, match=r"cifar10 needs torchvision, .*pip install 'msd-edge\[train\]'"):
        load_dataset(DataConfig(source="cifar10"))
