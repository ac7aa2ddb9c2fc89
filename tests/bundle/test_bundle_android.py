"""Bundles as assets of an app."""

import shutil
from pathlib import Path

import pytest

from msd_edge.bundle.android import check_name, folder_name, write_assets
from msd_edge.bundle.files import list_files
from msd_edge.bundle.reader import MANIFEST, read_bundle
from msd_edge.errors import BundleError, ConfigError


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_copy_is_the_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    target = write_assets(bundle, tmp_path / "assets", overwrite=False)
    assert target == tmp_path / "assets/bundles/tiny"
    assert files_of(target) == files_of(tiny_bundle)
    assert read_bundle(target).manifest_sha256 == bundle.manifest_sha256
    with pytest.raises(ConfigError, match="--overwrite replaces it"):
        write_assets(bundle, tmp_path / "assets", overwrite=False)
    write_assets(bundle, tmp_path / "assets", overwrite=True)
    assert [path.name for path in (tmp_path / "assets/bundles").iterdir()] == ["tiny"]


def test_what_a_manifest_does_not_name_stays_behind(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiny"
    shutil.copytree(tiny_bundle, copy)
    (copy / "notes.txt").write_text("mine")
    target = write_assets(read_bundle(copy), tmp_path / "assets", overwrite=False)
    assert not (target / "notes.txt").exists()


@pytest.mark.parametrize("victim", ["tflite-int8/segment-2.tflite", "golden/images.u8"])
def test_a_damaged_bundle_leaves_no_assets(tiny_bundle: Path, tmp_path: Path, victim: str) -> None:
    copy = tmp_path / "tiny"
    shutil.copytree(tiny_bundle, copy)
    data = (copy / victim).read_bytes()
    (copy / victim).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BundleError, match=victim.rpartition("/")[2]):
        write_assets(read_bundle(copy), tmp_path / "assets", overwrite=False)
    assert not (tmp_path / "assets").exists()


def test_a_manifest_that_changed_meanwhile_is_noticed(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiny"
    shutil.copytree(tiny_bundle, copy)
    bundle = read_bundle(copy)
    (copy / MANIFEST).write_bytes((copy / MANIFEST).read_bytes() + b"\n")
    with pytest.raises(BundleError, match=MANIFEST):
        list_files(bundle)


def test_files_of_one_variant_are_those_it_needs(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    found = [file.path for file in list_files(bundle, [bundle.variant("onnx-int8")])]
    assert found[-1] == MANIFEST
    assert {path.split("/")[0] for path in found} == {"onnx-int8", "golden", MANIFEST}
    assert [path for path in found if path.startswith("golden/")] == ["golden/images.u8", "golden/onnx-int8.uint8"]


@pytest.mark.parametrize(
    ("name", "there"),
    [("a b", "a-b"), ("模型", "bundle"), (".x", "x"), ("r20_c10.v2", "r20_c10.v2"), ("a/../b", "a-..-b")],
)
def test_names_are_made_fit_for_an_app(name: str, there: str) -> None:
    assert folder_name(name) == there
    assert check_name(there) == there


@pytest.mark.parametrize("name", ["", ".x", "a/b", "a b", "é"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--name"):
        check_name(name)
