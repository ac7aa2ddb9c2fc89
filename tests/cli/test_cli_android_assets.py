"""``msd-edge export BUNDLE --android-assets``."""

import json
from pathlib import Path

import pytest
from support.bundles import make_bundle

from msd_edge.bundle.reader import read_bundle
from msd_edge.cli.app import run


def test_a_bundle_is_copied_into_assets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_bundle(tmp_path / "bundles/my net", variants=("tflite-int8",))
    copy = ["export", "bundles/my net", "--android-assets", "assets"]
    assert run([*copy, "--dry-run"]) == 0
    assert "write assets/bundles/my-net" in capfd.readouterr().out
    assert not Path("assets").exists()
    assert run(copy) == 0
    assert "assets   assets/bundles/my-net" in capfd.readouterr().out
    assert read_bundle("assets/bundles/my-net").manifest_sha256 == read_bundle("bundles/my net").manifest_sha256
    assert run(copy) == 2
    assert "assets/bundles/my-net is there already; --overwrite replaces it." in capfd.readouterr().err
    assert run([*copy, "--overwrite", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["assets"] == "assets/bundles/my-net"
    assert run(["export", "bundles/my net"]) == 2
    assert "this is a bundle already; export takes a run." in capfd.readouterr().err


def test_a_bundle_without_operating_points_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_bundle(tmp_path / "b", variants=("tflite-int8",), calibrated=False)
    assert run(["export", "b", "--android-assets", "assets"]) == 0
    assert "note     not calibrated, so only the last exit answers: tflite-int8" in capfd.readouterr().out
