"""A target converted in a process beside this one: the same files, errors under their names, no process left over."""

import filecmp
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.small_run import train_small_run, write_stripes

from msd_edge.bundle.reader import read_bundle
from msd_edge.converters import export
from msd_edge.converters.beside import Task, start_beside
from msd_edge.converters.export import ExportOptions, export_run
from msd_edge.converters.proof import ProofSet
from msd_edge.errors import CheckpointError, ExportError
from msd_edge.files import sha256_file
from msd_edge.training.run import RunFolder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("beside é")
    return train_small_run(where / "runs/small", write_stripes(where / "stripes.npz"), exits=2)


@pytest.fixture
def task(trained: Path, tmp_path: Path) -> Iterator[Task]:
    folder = tmp_path / "bundle"
    folder.mkdir()
    yield Task(
        run=str(trained),
        weights_sha256=sha256_file(RunFolder(trained).weights_path),
        keep_exits=(),
        target="onnx",
        precisions=("float32",),
        folder=str(folder),
        split_sha256="0" * 64,
        max_drop=0.5,
        fallback=False,
    )
    assert [path.name for path in folder.iterdir() if path.name.startswith("beside")] == []


def test_weights_that_changed_meanwhile_are_refused(task: Task) -> None:
    other = task.model_copy(update={"weights_sha256": "0" * 64})
    with start_beside(other) as beside, pytest.raises(CheckpointError, match="have changed since the export began"):
        beside.finish(lambda _: None)
    assert beside.process.returncode is not None


def test_a_process_that_was_killed_is_an_error(task: Task) -> None:
    with start_beside(task) as beside:
        beside.process.kill()
        # What is told to it goes nowhere.
        images = np.zeros((2, 8, 8, 3), np.uint8)
        beside.give_images(ProofSet(images, np.zeros(2, np.int64), np.zeros((2, 2, 3), np.float32)), images)
        with pytest.raises(ExportError, match=r"onnx: .* ended with exit code -9 \(out of memory\?\)"):
            beside.finish(lambda _: None)


def test_it_ends_with_the_one_that_asked(task: Task) -> None:
    with start_beside(task) as beside:
        assert beside.process.stdin is not None
        beside.process.stdin.close()  # what the system does when a process dies
        said: list[str] = []
        with pytest.raises(ExportError, match="ended with exit code 0"):
            beside.finish(said.append)
        assert said == ["onnx: torch → onnx, 2 segments"]


def test_an_error_leaves_no_process_behind(task: Task) -> None:
    with pytest.raises(KeyboardInterrupt), start_beside(task) as beside:
        raise KeyboardInterrupt
    assert beside.process.returncode is not None


@pytest.mark.slow
def test_both_ways_make_the_same_bundle(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles, steps = [], []
    for name, least in (("alone", 1e30), ("beside", 0)):
        monkeypatch.setattr(export, "_MACS_FOR_A_PROCESS", least)
        monkeypatch.setattr(export, "usable_processors", lambda: 2)
        options = ExportOptions(("tflite", "onnx"), ("float32", "int8"), tmp_path / name, max_drop=100)
        bundles.append(export_run(trained, options, steps.append).path)
    alone, beside = (read_bundle(path) for path in bundles)
    assert [variant.name for variant in beside.manifest.variants] == [v.name for v in alone.manifest.variants]
    assert alone.manifest.variants == beside.manifest.variants
    assert alone.manifest.golden == beside.manifest.golden
    names = {path.relative_to(alone.path) for path in alone.path.rglob("*") if path.is_file()}
    assert names == {path.relative_to(beside.path) for path in beside.path.rglob("*") if path.is_file()}
    names.remove(Path("manifest.json"))
    for file in names:
        assert filecmp.cmp(alone.path / file, beside.path / file, shallow=False)
    assert steps.count("onnx int8: converting") == 2
