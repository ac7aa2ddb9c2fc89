"""``msd-edge predict``: a line per image, JSON for machines, one sentence when something is wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from support.bundles import golden_images, make_bundle
from support.light import hide_packages

from msd_edge.cli import app as application
from msd_edge.cli.predict import find_images, register
from msd_edge.errors import DataError

IMAGES = golden_images()


@pytest.fixture(autouse=True)
def app(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the verb inside the real frame, whatever other verbs there are."""
    alone = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    alone.callback()(lambda: None)
    register(alone)
    monkeypatch.setattr(application, "app", alone)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos é 模型")
    for number, image in enumerate(IMAGES[:3]):
        Image.fromarray(image).save(folder / f"photo {number}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def run(*arguments: str | Path) -> int:
    return application.run(["predict", *map(str, arguments)])


def test_one_aligned_line_an_image(tiny_bundle: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tiny_bundle, photos / "photo 2.png", photos / "photo 0.png", "--point", "fast") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert len(lines) == 3
    head = lines.pop(0)
    width = len(str(photos / "photo 2.png"))
    assert head[width:].split("  ")[1:2] == ["label"]
    assert head.split()[-9:] == ["probability", "exit", "of", "3", "total", "ms", "ms", "of", "segments"]
    assert lines[0].startswith(f"{photos / 'photo 2.png'}  class ")
    assert head.index("label") == lines[0].index("class ")
    for line in lines:
        for heading in ("probability", "exit of 3", "total ms"):  # numbers end where their headings end
            assert line[head.index(heading) + len(heading) - 1].strip()
            assert line[head.index(heading) + len(heading)] == " "
        assert line[: head.index("exit of 3")].endswith(" %  ")
        exit_ = int(line[head.index("exit of 3") :].split()[0])
        assert len(line[head.index("ms of segments") :].split(" + ")) == exit_


def test_json_says_what_the_runner_says(tiny_bundle: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import msd_edge

    assert run(tiny_bundle, photos, "--point", "fast", "--variant", "onnx-int8", "--threads", "2", "--json") == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {key: document[key] for key in ("bundle", "variant", "point", "runtime", "threads")} == {
        "bundle": str(tiny_bundle),
        "variant": "onnx-int8",
        "point": "fast",
        "runtime": "onnxruntime",
        "threads": 2,
    }
    assert [Path(entry["path"]).name for entry in document["images"]] == ["photo 0.png", "photo 1.png", "photo 2.png"]
    with msd_edge.open_bundle(tiny_bundle, point="fast", variant="onnx-int8") as cascade:
        for entry, image in zip(document["images"], IMAGES, strict=False):
            answer = cascade.predict(image)
            assert (entry["label"], entry["index"], entry["exit"]) == (answer.label, answer.index, answer.exit)
            assert entry["probability"] == pytest.approx(answer.probability)
            assert len(entry["segment_ms"]) == entry["exit"]
            assert np.allclose(entry["probabilities"], answer.probabilities)


def test_without_a_runtime_for_the_first_choice_the_next_runs(
    tiny_bundle: Path, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_packages(monkeypatch, "ai_edge_litert", "tflite_runtime", "tensorflow")
    assert run(tiny_bundle, photos, "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["variant"] == "onnx-int8"
    assert err == (
        "msd-edge: note: onnx-int8 runs; left out: tflite-float32, tflite-int8 "
        "(no runtime for tflite files is installed: pip install ai-edge-litert).\n"
    )
    assert run(tiny_bundle, photos, "--variant", "onnx-float32") == 0
    assert capsys.readouterr().err == ""
    assert run(tiny_bundle, photos, "--runtime", "onnxruntime") == 0
    assert capsys.readouterr().err == "msd-edge: note: onnx-int8 runs; onnxruntime does not run tflite-int8.\n"
    assert run(tiny_bundle, photos, "--variant", "tflite-int8") == 1
    said = capsys.readouterr().err
    assert said == "msd-edge: no runtime for tflite files is installed: pip install ai-edge-litert.\n"


@pytest.mark.parametrize("as_json", [False, True])
def test_images_that_cannot_be_read_do_not_stop_the_others(
    tiny_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    bad = [tmp_path / "bad 1.png", tmp_path / "bad 2.png"]
    for path in bad:
        path.write_text("no image")
    words = [tiny_bundle, bad[0], photos / "photo 0.png", bad[1], photos / "photo 1.png"]
    assert run(*words, *(["--json"] if as_json else [])) == 2
    out, err = capsys.readouterr()
    assert err.splitlines() == [f"msd-edge: {path}: this is no image that Pillow knows." for path in bad]
    good = [str(photos / f"photo {number}.png") for number in (0, 1)]
    if as_json:
        assert [entry["path"] for entry in json.loads(out)["images"]] == good
    else:
        head, *lines = out.splitlines()
        assert head.startswith("image ")
        assert [line.startswith(path) for line, path in zip(lines, good, strict=True)] == [True, True]


def test_a_folder_is_its_images_and_those_of_its_subfolders(tmp_path: Path) -> None:
    for name in ("b.png", "a/c.JPG", "a/d/e.png", "._b.png", ".thumbs/b.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images([tmp_path])]
    assert found == ["a/c.JPG", "a/d/e.png", "b.png"]


def test_an_image_file_is_classified_in_python(tiny_bundle: Path, tmp_path: Path) -> None:
    import msd_edge

    Image.fromarray(IMAGES[0]).save(tmp_path / "photo.png")
    with msd_edge.open_bundle(tiny_bundle) as cascade:
        told, expected = cascade.predict_file(str(tmp_path / "photo.png")), cascade.predict(IMAGES[0])
        assert (told.label, told.exit, told.probability) == (expected.label, expected.exit, expected.probability)
        with pytest.raises(DataError, match="there is no such image file"):
            cascade.predict_file(tmp_path / "none.png")


def test_mistakes_are_one_sentence_before_any_work(
    tiny_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, empty = photos / "photo 0.png", tmp_path / "empty"
    empty.mkdir()
    bare = make_bundle(tmp_path / "bare", calibrated=False)
    cases: list[tuple[list[str | Path], str]] = [
        ([tiny_bundle, good, tmp_path / "none.png", tmp_path / "gone.png"], "none.png, "),
        ([tiny_bundle, empty], "no images are in this folder"),
        ([tiny_bundle, photos / "notes.txt"], "notes.txt: "),
        ([tmp_path / "none", good], "there is no such bundle"),
        ([bare, good], "msd-edge calibrate"),
        ([tiny_bundle, good, "--point", "fst"], "did you mean fast?"),
        ([tiny_bundle, good, "--variant", "tflite-int4"], "did you mean tflite-int8?"),
        ([tiny_bundle, good, "--runtime", "litrt"], "did you mean litert?"),
        ([tiny_bundle, good, "--runtime", "onnxruntime", "--variant", "tflite-int8"], "does not run tflite files"),
        ([tiny_bundle, good, "--threads", "0"], "threads"),
        ([tiny_bundle], "IMAGE"),
        ([good, tiny_bundle], "the bundle comes first"),
    ]
    for arguments, message in cases:
        assert run(*arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("msd-edge: ")
        assert err.count("\n") == 1
        assert message in err
