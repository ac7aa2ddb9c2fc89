"""Writing bundles, and putting a calibration into one."""

import shutil
from pathlib import Path

import pytest
from support.bundles import average_exits, make_bundle

from msd_edge.bundle.reader import read_bundle
from msd_edge.bundle.writer import add_file, replace_calibration, write_manifest
from msd_edge.errors import BundleError
from msd_edge.files import sha256_bytes


@pytest.fixture
def folder(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))


def test_manifest_comes_back_as_it_was(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    write_manifest(tmp_path, bundle.manifest)
    again = read_bundle(tmp_path)
    assert again.manifest == bundle.manifest
    assert again.manifest_sha256 == bundle.manifest_sha256


def test_what_only_averaged_exits_have_is_in_no_other_manifest(tiny_bundle: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path, read_bundle(tiny_bundle).manifest)
    assert '"weights"' not in (tmp_path / "manifest.json").read_text()
    write_manifest(tmp_path, read_bundle(average_exits(make_bundle(tmp_path / "b"))).manifest)
    assert '"weights"' in (tmp_path / "manifest.json").read_text()


def test_add_file(tmp_path: Path) -> None:
    assert add_file(tmp_path, "a/b.tflite", b"xyz") == ("a/b.tflite", sha256_bytes(b"xyz"), 3)
    assert (tmp_path / "a" / "b.tflite").read_bytes() == b"xyz"
    with pytest.raises(BundleError, match="two files of the bundle would have this name"):
        add_file(tmp_path, "a/b.tflite", b"other")
    with pytest.raises(BundleError, match="would be empty"):
        add_file(tmp_path, "c", b"")
    for path in ("../x", "/x", "", "a/../../x"):
        with pytest.raises(BundleError, match="no relative path inside the bundle"):
            add_file(tmp_path, path, b"x")
    assert not (tmp_path.parent / "x").exists()


def test_replace_calibration(folder: Path) -> None:
    bundle = read_bundle(folder)
    old = bundle.variant("onnx-int8").calibration
    assert old is not None
    fresh = old.model_copy(update={"images": 12345})
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"}
    again = replace_calibration(bundle, {"onnx-int8": fresh})
    assert again.variant("onnx-int8").calibration == fresh
    assert again.variant("tflite-int8") == bundle.variant("tflite-int8")
    assert again == read_bundle(folder)
    assert {path: path.read_bytes() for path in files} == files
    assert not list(folder.rglob("*.partial-*"))


def test_replace_calibration_refuses_what_does_not_fit(folder: Path) -> None:
    bundle = read_bundle(folder)
    before = (folder / "manifest.json").read_bytes()
    good = bundle.variant("onnx-int8").calibration
    assert good is not None
    with pytest.raises(BundleError, match="no variant 'onnx-int4' to calibrate; did you mean onnx-int8"):
        replace_calibration(bundle, {"onnx-int4": good})
    with pytest.raises(BundleError, match="does not fit 3 exits"):
        replace_calibration(bundle, {"onnx-int8": good.model_copy(update={"exits": good.exits[:2]})})
    assert (folder / "manifest.json").read_bytes() == before


def test_replace_calibration_does_not_undo_what_somebody_else_wrote(folder: Path) -> None:
    bundle = read_bundle(folder)
    good = bundle.variant("onnx-int8").calibration
    assert good is not None
    replace_calibration(bundle, {"onnx-int8": good.model_copy(update={"images": 7})})
    with pytest.raises(BundleError, match="changed meanwhile"):
        replace_calibration(bundle, {"onnx-int8": good.model_copy(update={"images": 8})})
    found = read_bundle(folder).variant("onnx-int8").calibration
    assert found is not None
    assert found.images == 7
