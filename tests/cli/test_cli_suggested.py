"""Commands that a message suggests run as they are printed, in folders with spaces, quotes and umlauts."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.bench_data import make_dataset
from support.bundles import make_bundle
from support.small_run import write_stripes

from msd_edge.bundle.reader import read_bundle
from msd_edge.cli.app import run
from msd_edge.errors import BundleError
from msd_edge.runtime.cascade import find_point

TRAIN = ["train", "--arch", "resnet8", "--width", "4", "--exits", "3", "--batch-size", "16", "--epochs", "1"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    where = tmp_path / "it's ä folder"
    where.mkdir()
    monkeypatch.chdir(where)
    return where


def words_after(name: str, text: str) -> list[str]:
    """Return the words of the command on the line that starts with ``name``, without the program's."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    program, *words = shlex.split(line.partition(name)[2])
    assert program == "msd-edge"
    return words


def test_what_training_and_exporting_suggest_runs(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_stripes(place / "two stripes.npz", 48, 12)
    assert run([*TRAIN, "--data", "two stripes.npz", "--out", "läufe/zwei ü"]) == 0
    said = capsys.readouterr().out
    assert " · 1 epoch · " in said
    words = words_after("next", said)
    assert words == ["export", "läufe/zwei ü", "--int8", "--target", "tflite", "--target", "onnx"]
    assert run([*words, "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("run      läufe/zwei ü\n")

    def make(run: Path, options: SimpleNamespace, note: object) -> SimpleNamespace:
        made = make_bundle(options.out, variants=("tflite-int8",), calibrated=False)
        return SimpleNamespace(manifest=read_bundle(made).manifest)

    monkeypatch.setattr("msd_edge.converters.export.export_run", make)
    assert run([*words, "--out", "bündel ö/a b", "--android-assets", "my app"]) == 0
    told = capsys.readouterr().out
    assert words_after("next", told) == ["calibrate", "bündel ö/a b"]
    assert Path(words_after("next", told)[1]).is_dir()
    program, *again = shlex.split(told.partition("after calibrating: ")[2])
    assert (program, run(again)) == ("msd-edge", 0)
    following = shlex.split(capsys.readouterr().out.partition("answers: tflite-int8; ")[2])
    assert following == ["msd-edge", "calibrate", "bündel ö/a b"]


def test_a_single_network_is_evaluated_next(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_stripes(place / "s.npz", 48, 12)
    single = ["--method", "single", "--exits", "1"]
    assert run([*TRAIN, *single, "--data", "s.npz", "--out", "ein 'Lauf'"]) == 0
    words = words_after("next", capsys.readouterr().out)
    assert words == ["eval", "ein 'Lauf'"]
    assert run(words) == 0


def test_a_training_that_is_stopped_tells_how_to_go_on(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_stripes(place / "s.npz", 48, 12)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("msd_edge.cli.train.print_epoch", stop)
        assert run([*TRAIN, "--data", "s.npz", "--epochs", "2", "--out", "unter brochen 2"]) == 130
    program, *words = shlex.split(capsys.readouterr().err.partition("`")[2].partition("`")[0])
    assert (program, words) == ("msd-edge", ["train", "--resume", "unter brochen 2"])
    assert run(words) == 0


def test_bundles_without_operating_points_are_calibrated_next(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msd_edge.benchmarks.data.bundle_dataset", lambda bundle, data=None: make_dataset(24))
    make_bundle(place / "c d", variants=("onnx-float32",))
    assert run(["bench", "c d", "--out", "out 1/c.json", "--seconds", "0", "--images", "8"]) == 0
    words = words_after("next", capsys.readouterr().out)
    assert words == ["report", "out 1/c.json", "--bundle", "c d"]
    assert run(words) == 0
    assert "\nbundle   c d\n" in capsys.readouterr().out
    # The page is there now: what is suggested a second time replaces it.
    assert run(["bench", "c d", "--out", "out 1/c.json", "--seconds", "0", "--images", "8", "--overwrite"]) == 0
    words = words_after("next", capsys.readouterr().out)
    assert words == ["report", "out 1/c.json", "--bundle", "c d", "--overwrite"]
    assert run(words) == 0
    make_bundle(place / "a b", variants=("onnx-float32",), calibrated=False)
    assert run(["bench", "a b"]) == 2
    bundle = read_bundle(Path("a b"))
    with pytest.raises(BundleError, match="not calibrated") as raised:
        find_point(bundle, bundle.manifest.variants[0])
    for told in (capsys.readouterr().err, str(raised.value)):
        assert shlex.split(re.findall("`(.*?)`", told)[0]) == ["msd-edge", "calibrate", "a b"]
