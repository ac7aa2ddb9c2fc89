"""A folder of class folders: layouts, class names, files that are no images, and what is said of each."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import Dataset, hash_split
from msd_edge.data.load import load_dataset
from msd_edge.errors import DataError


def paint(folder: Path, count: int, seed: int, suffix: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixels = rng.integers(0, 256, (7 + i % 3, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}-{i}.{suffix}")


def load(root: Path, **options: object) -> Dataset:
    return load_dataset(DataConfig.model_validate({"source": str(root), "size": (6, 6), **options}))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """train/ and val/ with classes a, b and c."""
    root = tmp_path / "temp evil é 模型"
    for place, name in enumerate("abc"):
        paint(root / "train" / name, 6, place)
        paint(root / "val" / name, 2, 10 + place)
    return root


def test_train_and_val(photos: Path) -> None:
    dataset = load(photos)
    assert dataset.name == str(photos)
    assert dataset.classes == ("a", "b", "c")
    assert dataset.image_shape == (6, 6, 3)
    assert (len(dataset.train), len(dataset.calibration), len(dataset.test)) == (15, 3, 6)
    assert dataset.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.notes == ()


def test_the_default_size_is_224_and_grey_can_be_had(photos: Path) -> None:
    assert load_dataset(DataConfig(source=str(photos))).image_shape == (224, 224, 3)
    assert load(photos, channels=1).image_shape == (6, 6, 1)


@pytest.mark.parametrize("name", ["validation", "test"])
def test_other_names_of_the_second_split(photos: Path, name: str) -> None:
    before = hash_split(load(photos).test)
    (photos / "val").rename(photos / name)
    assert hash_split(load(photos).test) == before


def test_with_val_and_test_the_validation_images_train(photos: Path) -> None:
    for place, name in enumerate("abc"):
        paint(photos / "test" / name, 1, 20 + place)
    dataset = load(photos)
    assert (len(dataset.train) + len(dataset.calibration), len(dataset.test)) == (24, 3)
    assert len(dataset.notes) == 1
    assert "joined the training images" in dataset.notes[0]


def test_a_class_missing_in_val_does_not_move_the_others(tmp_path: Path) -> None:
    for place, name in enumerate("abc"):
        paint(tmp_path / "train" / name, 2, place)
    for place, name in enumerate("bc"):
        paint(tmp_path / "val" / name, 2, 10 + place)
    dataset = load(tmp_path)
    assert dataset.classes == ("a", "b", "c")
    assert dataset.test.labels.tolist() == [1, 1, 2, 2]


def test_a_class_that_training_has_not_is_named(photos: Path) -> None:
    paint(photos / "val" / "bird", 1, 30)
    with pytest.raises(DataError, match=r"val has a class 'bird' that the training folder has not; classes come from"):
        load(photos)


def test_an_empty_class_folder_is_an_error_in_train_and_a_note_in_val(photos: Path) -> None:
    for file in (photos / "val" / "b").iterdir():
        file.unlink()
    assert load(photos).notes == (f"{photos / 'val' / 'b'}: there are no images of this class.",)
    (photos / "train" / "d").mkdir()
    with pytest.raises(DataError, match=r"train/d: there are no images of this class"):
        load(photos)


def test_class_folders_alone_are_divided_here(photos: Path) -> None:
    dataset = load(photos / "train", test_share=0.34)
    assert (len(dataset.train), len(dataset.calibration), len(dataset.test)) == (9, 3, 6)
    assert sorted(dataset.test.labels.tolist()) == [0, 0, 1, 1, 2, 2]


def test_train_alone_is_divided_here_and_says_so(photos: Path) -> None:
    (photos / "val").rename(photos / "other")
    dataset = load(photos)
    assert len(dataset.test) == 3
    assert any("a test split is cut from train/" in note for note in dataset.notes)
    assert any("not other" in note for note in dataset.notes)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for place, name in enumerate(("bus", "train")):
        paint(tmp_path / name, 4, place)
    assert load(tmp_path).classes == ("bus", "train")


def test_the_same_folder_for_training_and_testing_is_refused(photos: Path) -> None:
    (photos / "val").rename(photos / "hidden")
    (photos / "val").symlink_to(photos / "train")
    with pytest.raises(DataError, match="every training image is a test image too"):
        load(photos)


def test_unreadable_images_are_listed_and_can_be_left_out(photos: Path) -> None:
    paint(photos / "train" / "a", 1, 40, "jpg")
    cut = photos / "train" / "a" / "40-0.jpg"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    for i in range(12):
        (photos / "val" / "b" / f"x{i:02}.png").write_text("no image")
    (photos / "val" / "c" / "broken.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match="14 images cannot be read") as caught:
        load(photos)
    message = str(caught.value)
    assert str(cut) in message
    assert "x08.png and 4 more; mend or remove them, or leave them out with --skip-bad" in message
    assert "x09.png" not in message
    dataset = load(photos, skip_bad=True)
    assert (len(dataset.train) + len(dataset.calibration), len(dataset.test)) == (18, 6)
    assert "14 images cannot be read and were left out" in dataset.notes[0]


def test_other_files_and_hidden_ones_are_ignored(photos: Path) -> None:
    for name in ("notes.txt", ".DS_Store", "._x.png", "Thumbs.db"):
        (photos / "train" / "a" / name).write_text("x")
    (photos / "train" / ".cache").mkdir()
    (photos / "readme.md").write_text("x")
    assert len(load(photos).train) == 15


def test_folders_in_class_folders_are_read_and_loops_end(photos: Path) -> None:
    paint(photos / "train" / "a" / "more", 2, 50, "JPG")
    (photos / "train" / "a" / "more" / "loop").symlink_to(photos / "train" / "a")
    (photos / "train" / "a" / "self.png").symlink_to("self.png")
    os.unlink(photos / "train" / "a" / "self.png")
    dataset = load(photos)
    assert len(dataset.train) + len(dataset.calibration) == 20


def test_unicode_names_meet_however_they_are_written(tmp_path: Path) -> None:
    paint(tmp_path / "train" / "caf\u00e9", 2, 0)
    paint(tmp_path / "train" / "tea", 2, 1)
    paint(tmp_path / "val" / "cafe\u0301", 1, 2)
    dataset = load(tmp_path)
    assert dataset.classes == ("caf\u00e9", "tea")
    assert dataset.test.labels.tolist() == [0]
    paint(tmp_path / "train" / "cafe\u0301", 2, 3)
    with pytest.raises(DataError, match="two folders have the same name"):
        load(tmp_path)


def test_what_is_no_data_set_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no images and no class folders in it"):
        load(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=r"there are no images in its class folders \(a\)"):
        load(tmp_path)
    paint(tmp_path / "a", 3, 0)
    with pytest.raises(DataError, match="only one class folder in it, 'a'"):
        load(tmp_path)
    with pytest.raises(DataError, match="put each class in a folder of its name"):
        load(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "val")
    with pytest.raises(DataError, match=r"there is val/ but no train/"):
        load(tmp_path)


def test_val_and_validation_together_are_refused(photos: Path) -> None:
    paint(photos / "validation" / "a", 1, 60)
    with pytest.raises(DataError, match="both val/ and validation/"):
        load(photos)


def test_a_set_too_large_for_memory_is_read_from_disk_and_is_the_same(photos: Path) -> None:
    for place, name in enumerate("abc"):
        paint(photos / "test" / name, 1, 20 + place)
    held, streamed = load(photos), load(photos, memory_gib=0)
    assert held.train.in_memory
    assert not streamed.train.in_memory
    for split in ("train", "calibration", "test"):
        one, other = getattr(held, split), getattr(streamed, split)
        assert one.hashes == other.hashes
        assert np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.read(np.arange(len(one))), other.read(np.arange(len(other))))


def test_files_may_change_names_but_not_sides(photos: Path) -> None:
    before = load(photos)
    for number, path in enumerate(sorted((photos / "train").rglob("*.png"), reverse=True)):
        path.rename(path.with_name(f"renamed {number:03}.png"))
    after = load(photos)
    assert hash_split(after.train) == hash_split(before.train)
    assert hash_split(after.calibration) == hash_split(before.calibration)
