"""What ``msd-edge export`` prints of a bundle that came through its gates."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.bundles import make_bundle
from support.small_run import train_small_run, write_stripes

from msd_edge.bundle.manifest import AccuracyProof, Manifest
from msd_edge.bundle.reader import read_bundle
from msd_edge.cli.app import run
from msd_edge.converters.accuracy import sign_test


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    return train_small_run(folder / "small", write_stripes(folder / "stripes.npz", 48, 12), epochs=1)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return read_bundle(make_bundle(tmp_path / "made", variants=("tflite-float32", "tflite-int8"))).manifest


def lose(proof: AccuracyProof, index: int, lost: int) -> AccuracyProof:
    """Return a proof in which an exit lost so many of 100 images."""
    entry = proof.exits[index - 1]
    values = {"reference": 0.9, "exported": 0.9 - lost / 100, "lost": lost, "gained": 0, "p_value": sign_test(lost, 0)}
    exits = [entry.model_copy(update=values) if each is entry else each for each in proof.exits]
    return proof.model_copy(update={"images": 100, "exits": tuple(exits)})


def show(
    manifest: Manifest, trained: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *more: str
) -> str:
    monkeypatch.setattr("msd_edge.converters.export.export_run", lambda *_: SimpleNamespace(manifest=manifest))
    arguments = ["export", str(trained), "--int8", "--target", "tflite", "--out", str(trained.parent / "b"), *more]
    assert run(arguments) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return out


def test_a_drop_beyond_the_limit_that_may_be_chance_gets_one_note(
    manifest: Manifest, trained: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    floats, ints = manifest.variants
    assert "note  " not in show(manifest, trained, monkeypatch, capfd)
    proof = lose(lose(ints.accuracy, 1, 2), 3, 1)
    changed = manifest.model_copy(update={"variants": (floats, ints.model_copy(update={"accuracy": proof}))})
    notes = [line for line in show(changed, trained, monkeypatch, capfd).splitlines() if line.startswith("note")]
    assert notes == [
        "note     int8 lost more than --max-drop 0.5, within chance: tflite-int8 exit 1 2.00 points (p 0.25), "
        "tflite-int8 exit 3 1.00 points (p 0.5); a paired test on the calibration images counts a drop as proven "
        "below p 0.05."
    ]
    assert "note  " not in show(changed, trained, monkeypatch, capfd, "--max-drop", "2")
    assert json.loads(show(changed, trained, monkeypatch, capfd, "--json"))["manifest"]["variants"]


def test_seams_are_printed_with_six_digits_and_kept_with_all(
    manifest: Manifest, trained: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (seam,) = manifest.variants[1].segments[0].features
    assert len(f"{seam.scale}") > 10
    out = show(manifest, trained, monkeypatch, capfd)
    (line,) = [line for line in out.splitlines() if line.startswith("seams")]
    assert line.startswith(f"seams    1→2 int8 scale {seam.scale:.6g} zero point {seam.zero_point} · 2→3 int8 scale ")
    assert f"{seam.scale}" not in out
    printed = json.loads(show(manifest, trained, monkeypatch, capfd, "--json"))
    assert printed["manifest"]["variants"][1]["segments"][0]["features"][0]["scale"] == seam.scale
