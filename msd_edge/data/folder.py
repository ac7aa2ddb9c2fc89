"""A folder of class folders, divided into train/ and val/ or validation/ or test/, or divided here."""

import os
import unicodedata
from pathlib import Path

from msd_edge.data.config import DataConfig
from msd_edge.data.scan import join_pools, scan_images, shorten
from msd_edge.data.splits import Source
from msd_edge.data.suffixes import IMAGE_SUFFIXES
from msd_edge.errors import DataError

_VALIDATION = ("val", "validation")
_DEFAULT_SIZE = (224, 224)


def load_folder(root: Path, config: DataConfig) -> Source:
    """Read a folder of class folders.

    With train/ beside val/ or validation/ or test/, classes come from train/ and the other folders are mapped to them
    by name; where both validation and test are there, test/ is the test split and the validation images join training.
    With class folders directly inside (or train/ alone), the test split is to be cut.

    Every image is decoded once, to be hashed and to find the unreadable ones; images stay in memory if all of them fit
    in ``config.memory_gib``.

    Raises:
        DataError: there are no classes or images, a class is empty or unknown, or files are unreadable.
    """
    notes: list[str] = []
    folders = _find_splits(root, notes)
    train = _list_classes(folders[0])
    classes = tuple(train)
    if len(classes) < 2:
        raise DataError(f"{folders[0]}: there is only one class folder in it, {classes[0]!r}; a classifier needs two.")
    listed = [_label_files(train, classes, folders[0], notes, empty_allowed=False)]
    listed += [
        _label_files(_list_classes(folder), classes, folder, notes, empty_allowed=True) for folder in folders[1:]
    ]
    height, width = config.size or _DEFAULT_SIZE
    shape = (height, width, config.channels or 3)
    pools = scan_images(root, listed, shape, config, notes)
    test = pools.pop() if len(pools) > 1 else None
    return Source(config.source, classes, shape, join_pools(pools), test, tuple(notes))


def _find_splits(root: Path, notes: list[str]) -> list[Path]:
    """Return the folders of training images, then of validation images that join them, then of test images."""
    names = {name for name, folder in _subfolders(root).items() if folder}
    validation = [root / name for name in _VALIDATION if name in names]
    test = [root / "test"] if "test" in names else []
    # A class may be called "train" (bus, car, train): a split has folders inside, a class has images.
    if "train" not in names or not _subfolders(root / "train"):
        if (validation or test) and names <= {"train", "test", *_VALIDATION}:
            have = (validation + test)[0].name
            raise DataError(f"{root}: there is {have}/ but no train/ with class folders in it.")
        return [root]
    if len(validation) > 1:
        raise DataError(f"{root}: there are both val/ and validation/; keep one of them.")
    others = sorted(names - {"train", "test", *_VALIDATION})
    if others:
        notes.append(f"{root}: only train/, val/, validation/ and test/ were read, not {shorten(others)}.")
    if validation and test:
        notes.append(f"{validation[0]}: these images joined the training images; test/ is the test split.")
    elif not validation and not test:
        notes.append(f"{root}: there is no val/ or test/; a test split is cut from train/.")
    return [root / "train", *validation, *test]


def _subfolders(folder: Path) -> dict[str, Path]:
    """Return the folders inside that are not hidden, by name in NFC (macOS stores é as two characters), sorted."""
    try:
        found = [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir()]
    except OSError as problem:
        raise DataError(f"{folder}: cannot list this folder: {problem.strerror}.") from None
    named = dict(sorted((unicodedata.normalize("NFC", path.name), path) for path in found))
    if len(named) < len(found):
        raise DataError(f"{folder}: two folders have the same name, written with different Unicode; rename one.")
    return named


def _list_classes(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of every class folder."""
    classes = {name: _image_files(path) for name, path in _subfolders(folder).items()}
    if not classes and any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir()):
        raise DataError(f"{folder}: the images are in no class folders; put each class in a folder of its name.")
    if not classes:
        raise DataError(f"{folder}: there are no images and no class folders in it.")
    if not any(classes.values()):
        raise DataError(f"{folder}: there are no images in its class folders ({shorten(sorted(classes))}).")
    return classes


def _image_files(folder: Path) -> list[Path]:
    """Return the image files in a folder and those inside it, sorted; a folder met again by a link is not entered."""
    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            entries = list(os.scandir(current))
        except OSError as problem:
            raise DataError(f"{current}: cannot list this folder: {problem.strerror}.") from None
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                waiting.append(Path(entry.path))
            elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                found.append(Path(entry.path))
    return sorted(found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: neither folder nor file
        return False


def _label_files(
    found: dict[str, list[Path]], classes: tuple[str, ...], folder: Path, notes: list[str], *, empty_allowed: bool
) -> list[tuple[Path, int]]:
    labels = {name: label for label, name in enumerate(classes)}
    for name, files in found.items():
        if name not in labels:
            raise DataError(f"{folder} has a class {name!r} that the training folder has not; classes come from train.")
        if not files and not empty_allowed:
            raise DataError(f"{folder / name}: there are no images of this class; add some or remove the folder.")
        if not files:
            notes.append(f"{folder / name}: there are no images of this class.")
    return [(path, labels[name]) for name, files in found.items() for path in files]
