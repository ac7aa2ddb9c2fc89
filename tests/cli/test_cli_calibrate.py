"""``msd-edge calibrate``: what it says, what it refuses before work, what a machine reads."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from support.bundles import make_bundle
from support.light import hide_packages
from support.tinynet import make_images, make_pieces, run

from msd_edge.benchmarks import calibrate as module
from msd_edge.benchmarks import data as data_module
from msd_edge.bundle.manifest import LatencySource
from msd_edge.bundle.reader import read_bundle
from msd_edge.cli import app as cli
from msd_edge.cli import calibrate as verb
from msd_edge.cli.calibrate import read_share
from msd_edge.data.dataset import Dataset, MemorySet, hash_image, hash_split
from msd_edge.errors import ConfigError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Go to a folder with an uncalibrated bundle whose data is 60 images; segments take 1 ms each."""
    if not any(command.name == "calibrate" for command in cli.app.registered_commands):
        verb.register(cli.app)
    monkeypatch.chdir(tmp_path)
    pixels = make_images(60, 3, seed=5)
    labels = run(make_pieces(3, 4, 3), pixels)[-1].logits.argmax(axis=1)
    split = MemorySet(pixels, labels, tuple(hash_image(image) for image in pixels))
    empty = MemorySet(pixels[:0], labels[:0], ())
    dataset = Dataset("tiny", tuple(f"class {c}" for c in "abcd"), (8, 12, 3), empty, split, empty)
    folder = make_bundle(
        tmp_path / "bundles" / "tiny",
        variants=("onnx-float32",),
        calibrated=False,
        calibration_sha256=hash_split(split),
        test_sha256=hash_split(empty),
    )
    source = LatencySource(device="here", threads=1, runtime="none", segment_ms=(1.0, 1.0, 1.0))
    monkeypatch.setattr(module, "time_segments", lambda *a, **k: source)
    monkeypatch.setattr(data_module, "load_dataset", lambda config: dataset)
    return folder


def test_averaged_exits_show_their_weights(here, capsys):
    assert cli.run(["calibrate"]) == 0
    assert "weights" not in capsys.readouterr().out
    assert cli.run(["calibrate", "--rule", "averaged"]) == 0
    out = capsys.readouterr().out
    assert "weights" in out
    assert "the sum of weighed logits answers" in out
    fitted = read_bundle(here).manifest.variants[0].calibration
    assert [len(part.weights) for part in fitted.exits] == [1, 2, 3]
    assert " / ".join(f"{weight:.2f}" for weight in fitted.exits[2].weights) in out


def test_it_says_what_it_took_what_it_found_and_what_comes_next(here, capsys):
    assert cli.run(["calibrate", "--max-ms", "2.5", "--images", "50"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("bundle   bundles/tiny (newest) · 3 exits\n")
    assert "50 of 60 calibration images" in out
    assert "NLL before → after" in out
    for name in ("full", "lossless", "balanced", "fast", "custom"):
        assert any(line.startswith(name) for line in out.splitlines())
    assert "← --max-ms 2.5" in out
    assert out.splitlines()[-1] == "next     msd-edge bench"
    assert "\x1b" not in out + err  # a pipe gets no live line
    assert read_bundle(here).manifest.variants[0].calibration is not None


def test_the_bundle_that_was_named_is_named_in_what_comes_next(here, capsys):
    here.rename(here.parent / "two words")
    assert cli.run(["calibrate", "bundles/two words"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "next     msd-edge bench 'bundles/two words'"
    results = here.parent.parent / "results"
    results.mkdir()
    (results / "two words-cpu.raw.json").write_text("{}")
    assert cli.run(["calibrate", "bundles/two words"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "next     msd-edge bench 'bundles/two words' --overwrite"


def test_where_there_is_a_choice_it_says_of_how_many_it_took_the_newest(here, capsys):
    (here.parent / ".old").mkdir()
    for path in (here.parent / "other", here.parent / ".old"):
        make_bundle(path, variants=("onnx-float32",), calibrated=False)
        os.utime(path / "manifest.json", (1, 1))
    assert cli.run(["calibrate", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("bundle   bundles/tiny (newest of 2 in bundles/) · 3 exits\n")
    assert cli.run(["calibrate", "bundles/tiny", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("bundle   bundles/tiny · 3 exits\n")


def test_without_a_runtime_for_some_variants_the_others_are_calibrated(here, capsys, monkeypatch):
    hashes = read_bundle(here).manifest.source
    both = make_bundle(
        here.parent / "both",
        variants=("tflite-float32", "onnx-float32"),
        calibrated=False,
        calibration_sha256=hashes.calibration_sha256,
        test_sha256=hashes.test_sha256,
    )
    hide_packages(monkeypatch, "onnxruntime")
    note = "left out: onnx-float32 (no runtime for onnx files is installed: pip install 'onnxruntime<1.29')."
    assert cli.run(["calibrate", "bundles/both"]) == 0
    out, err = capsys.readouterr()
    assert "files    tflite-float32\n" in out
    assert f"note     {note}\n" in out
    assert err == ""
    calibrated = [v.name for v in read_bundle(both).manifest.variants if v.calibration is not None]
    assert calibrated == ["tflite-float32"]
    assert cli.run(["calibrate", "bundles/both", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"][0] == note
    assert cli.run(["calibrate", "bundles/both", "--variant", "onnx-float32"]) == 1
    assert cli.run(["calibrate", "bundles/tiny"]) == 1
    for line in capsys.readouterr().err.splitlines():
        assert line == f"msd-edge: {note.partition('(')[2].removesuffix(').')}."


def test_a_wish_that_one_variant_cannot_meet_is_a_note(here, capsys, monkeypatch):
    make_bundle(
        here.parent / "two",
        variants=("onnx-int8", "onnx-float32"),
        calibrated=False,
        calibration_sha256=read_bundle(here).manifest.source.calibration_sha256,
        test_sha256=read_bundle(here).manifest.source.test_sha256,
    )
    times = {"onnx-int8": (3.0, 3.0, 3.0), "onnx-float32": (1.0, 1.0, 1.0)}
    monkeypatch.setattr(
        module,
        "time_segments",
        lambda bundle, name, *a, **k: LatencySource(device="here", threads=1, runtime="none", segment_ms=times[name]),
    )
    assert cli.run(["calibrate", "bundles/two", "--max-ms", "2"]) == 0
    out, err = capsys.readouterr()
    assert out.count("← --max-ms 2") == 1
    assert "msd-edge: note: onnx-int8: it has no point custom: 2 ms cannot be reached: the fastest" in err
    assert cli.run(["calibrate", "bundles/two", "--max-ms", "2", "--variant", "onnx-int8"]) == 2
    assert "onnx-int8: 2 ms cannot be reached: the fastest setting takes 3.000 ms" in capsys.readouterr().err


def test_other_images_than_the_runs_are_refused(here, capsys, monkeypatch):
    dataset = data_module.load_dataset(None)
    fewer = replace(dataset, calibration=dataset.calibration.select(np.arange(59)))
    monkeypatch.setattr(data_module, "load_dataset", lambda config: fewer)
    before = read_bundle(here).manifest_sha256
    assert cli.run(["calibrate"]) == 2
    assert "tiny: the calibration images are not those that the run of" in capsys.readouterr().err
    assert read_bundle(here).manifest_sha256 == before


def test_json_is_one_document(here, capsys):
    assert cli.run(["calibrate", str(here), "--json", "--rule", "entropy"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["variants"]["onnx-float32"]["rule"] == "entropy"
    assert value["manifest_sha256"] == read_bundle(here).manifest_sha256


def test_dry_run_changes_nothing(here, capsys):
    before = read_bundle(here).manifest_sha256
    assert cli.run(["calibrate", "--dry-run"]) == 0
    assert cli.run(["calibrate", "--dry-run", "--json"]) == 0
    assert '"dry_run": true' in capsys.readouterr().out
    assert read_bundle(here).manifest_sha256 == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rule", "entropie"], "did you mean entropy"),
        (["--min-accuracy", "193"], "give a share (0.93) or percent (93)"),
        (["--min-accuracy", "nan"], "give a share (0.93) or percent (93)"),
        (["--max-ms", "0"], "give milliseconds above 0"),
        (["--max-ms", "0.5"], "0.5 ms cannot be reached: the fastest setting takes 1.000 ms"),
        (["--variant", "onnx-int8"], "no variant 'onnx-int8'"),
        (["--images", "0"], "--images"),
        (["--threads", "9999"], "may use 1 to"),
        (["--latency", "none.json"], "no such results file"),
        (["bundles/other"], "no such bundle"),
    ],
)
def test_wrong_input_is_one_sentence_and_2(here, capsys, arguments, words):
    before = read_bundle(here).manifest_sha256
    assert cli.run(["calibrate", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert read_bundle(here).manifest_sha256 == before


def test_without_a_bundle_it_says_how_to_make_one(tmp_path, monkeypatch, capsys, here):
    monkeypatch.chdir(here)
    assert cli.run(["calibrate"]) == 2
    assert "make one with `msd-edge export`" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "share"), [(0.93, 0.93), (93, 0.93), (1, 1.0), (100, 1.0), (0.5, 0.5)])
def test_a_share_or_percent(given, share):
    assert read_share(given) == pytest.approx(share)


@pytest.mark.parametrize("given", [0, -1, 101, np.nan, np.inf])
def test_no_share(given):
    with pytest.raises(ConfigError, match="percent"):
        read_share(given)
