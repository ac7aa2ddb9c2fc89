"""The data behind a bundle is what its run was trained with, or nothing is measured on it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.bench_data import CLASSES, make_dataset
from support.bundles import make_bundle
from support.tinynet import HEIGHT, WIDTH, make_images

from msd_edge.benchmarks import data as module
from msd_edge.benchmarks.data import bundle_dataset, check_dataset
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.cli.app import run
from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import hash_split
from msd_edge.data.load import load_dataset
from msd_edge.errors import DataError


def write_npz(root: Path, images: int) -> Path:
    path = root / "photos.npz"
    train, test = make_images(images, 3, seed=1), make_images(16, 3, seed=2)
    labels = {"y_train": np.arange(images) % 4, "y_test": np.arange(16) % 4}
    np.savez(path, x_train=train, x_test=test, classes=np.array(CLASSES), **labels)
    return path


def write_folder(root: Path, images: int) -> Path:
    """Write class folders without a split: test images are cut by the run."""
    for place, image in enumerate(make_images(images, 3, seed=1)):
        folder = root / "photos" / CLASSES[place % 4]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{place}.png")
    return root / "photos"


def made_from(folder: Path, config: DataConfig) -> Bundle:
    """Return a calibrated bundle as if its run had been trained with this data now."""
    dataset = load_dataset(config)
    digests = {"calibration_sha256": hash_split(dataset.calibration), "test_sha256": hash_split(dataset.test)}
    bundle = read_bundle(make_bundle(folder, variants=("tflite-int8",), **digests))
    (variant,) = bundle.manifest.variants
    assert variant.calibration is not None
    points = variant.calibration.model_copy(update={"split_sha256": digests["calibration_sha256"]})
    source = bundle.manifest.source.model_copy(update={"data": config})
    manifest = bundle.manifest.model_copy(
        update={"source": source, "variants": (variant.model_copy(update={"calibration": points}),)}
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return read_bundle(folder)


@pytest.mark.parametrize("write", [write_npz, write_folder])
@pytest.mark.parametrize("verb", ["bench", "calibrate", "eval"])
def test_data_that_grew_after_the_export_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], write: object, verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, 60)  # type: ignore[operator]
    config = DataConfig(source=str(path), size=(HEIGHT, WIDTH))
    bundle = made_from(tmp_path / "b", config)
    bundle_dataset(bundle)
    write(tmp_path, 80)  # type: ignore[operator]
    if verb != "eval":
        assert run([verb, "b", "--dry-run"]) == 2
    else:
        assert run([verb, "b", "--split", "test"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "images are not those that the run of b was trained with; some of them may have been training images" in err


def test_each_split_is_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made_from(tmp_path / "b", DataConfig(source=str(write_npz(tmp_path, 60))))
    hashed: list[int] = []
    monkeypatch.setattr(module, "hash_split", lambda split: hashed.append(len(split)) or hash_split(split))
    for verb in ("bench", "calibrate"):
        hashed.clear()
        assert run([verb, "b", "--dry-run"]) == 0, capfd.readouterr().err
        assert len(hashed) == 2
    assert "16 of 16 test images" in capfd.readouterr().out


def test_other_classes_and_sizes_are_refused(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b"))
    with pytest.raises(DataError, match="its classes are not those of"):
        check_dataset(bundle, make_dataset(classes=("x", "y", "z", "w")))
    config = DataConfig(source=str(write_npz(tmp_path, 60)), size=(4, 4))
    with pytest.raises(DataError, match=r"images are \(4, 4, 3\), and .* takes \(8, 12, 3\)"):
        check_dataset(bundle, load_dataset(config))


def test_data_may_have_moved(tmp_path: Path) -> None:
    path = write_npz(tmp_path, 60)
    bundle = made_from(tmp_path / "b", DataConfig(source=str(path)))
    moved = path.rename(tmp_path / "moved.npz")
    assert hash_split(bundle_dataset(bundle, str(moved)).test) == bundle.manifest.source.test_sha256
    with pytest.raises(DataError, match="no such data set"):
        bundle_dataset(bundle)
