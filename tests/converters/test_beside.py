"""A target converted in a process beside this one: the same files, errors under their names, no process left over."""

import filecmp
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.small_run import train_small_run, write_stripes

from msd_edge.bundle.reader import read_bundle
from msd_edge.converters import export
from msd_edge.converters.beside import AtWork, Beside, Task, start_beside
from msd_edge.converters.export import ExportOptions, export_run
from msd_edge.converters.reference import run_network
from msd_edge.errors import CheckpointError, ExportError
from msd_edge.files import sha256_file
from msd_edge.training.run import RunFolder, load_network


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("beside é")
    return train_small_run(where / "runs/small", write_stripes(where / "stripes.npz"), exits=2)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Of a bundle that is being filled."""
    path = tmp_path / "bundle"
    path.mkdir()
    yield path
    assert [found.name for found in path.iterdir() if found.name.startswith("beside")] == []


@pytest.fixture
def task(trained: Path) -> Task:
    return Task(
        run=str(trained),
        weights_sha256=sha256_file(RunFolder(trained).weights_path),
        keep_exits=(),
        target="onnx",
        precisions=("float32",),
        split_sha256="0" * 64,
        max_drop=0.5,
        fallback=False,
    )


IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
LABELS = np.zeros(40, np.int64)


def begin(beside: Beside, folder: Path) -> AbstractContextManager[AtWork]:
    return beside.work_in(folder, IMAGES, LABELS, IMAGES)


def test_weights_that_changed_meanwhile_are_refused(task: Task, folder: Path) -> None:
    other = task.model_copy(update={"weights_sha256": "0" * 64})
    changed = pytest.raises(CheckpointError, match="have changed since the export began")
    with start_beside(other) as beside, begin(beside, folder) as at_work, changed:
        at_work.finish(lambda _: None)
    assert beside.process.returncode is not None


def test_it_gives_the_reference_first_then_its_variants(task: Task, folder: Path, trained: Path) -> None:
    said: list[str] = []
    with start_beside(task.model_copy(update={"max_drop": 100})) as beside, begin(beside, folder) as at_work:
        reference = at_work.take_reference(said.append)
        assert said == ["running the network on the proof images"]
        (made,) = at_work.finish(said.append)
    np.testing.assert_allclose(reference, run_network(load_network(trained), IMAGES), atol=1e-5 * np.ptp(reference))
    assert made.variant.name == "onnx-float32"
    assert made.variant.accuracy.images == 40
    assert (folder / made.variant.segments[0].path).is_file()
    assert said[1] == "onnx: torch → onnx, 2 segments"


@pytest.mark.parametrize("wait", ["take_reference", "finish"])
def test_a_process_that_was_killed_is_an_error(task: Task, folder: Path, wait: str) -> None:
    with start_beside(task) as beside:
        beside.process.kill()
        died = pytest.raises(ExportError, match=r"onnx: .* ended with exit code -9 \(out of memory\?\)")
        with begin(beside, folder) as at_work, died:  # what it is sent goes nowhere
            getattr(at_work, wait)(lambda _: None)


def test_an_export_ends_as_soon_as_the_process_beside_is_killed(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, steps = list[Beside](), list[str]()

    @contextmanager
    def start(task: Task) -> Iterator[Beside]:
        with start_beside(task) as beside:
            started.append(beside)
            yield beside

    def step(text: str) -> None:
        steps.append(text)
        if text.startswith("tflite: segment 1 of 2"):
            started[0].process.kill()  # as the system does where memory is short
            started[0].process.wait()

    monkeypatch.setattr(export, "start_beside", start)
    monkeypatch.setattr(export, "_MACS_FOR_A_PROCESS", 0)
    monkeypatch.setattr(export, "usable_processors", lambda: 2)
    options = ExportOptions(("tflite", "onnx"), ("float32",), tmp_path / "bundle")
    with pytest.raises(ExportError, match=r"^onnx: .* ended with exit code -9 \(out of memory\?\)"):
        export_run(trained, options, step)
    assert steps[-1].startswith("tflite: segment 1 of 2")
    assert not any(path.is_dir() for path in tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
def test_an_array_that_was_written_in_part_is_told_with_its_place(task: Task, folder: Path) -> None:
    import resource

    images = np.repeat(IMAGES, 20, 0)
    full = pytest.raises(ExportError, match=r"requested and \d+ written; is the disk full\?$")
    with start_beside(task) as beside:
        resource.prlimit(beside.process.pid, resource.RLIMIT_FSIZE, (8192, 8192))  # as a disk with no more room
        with beside.work_in(folder, images, np.zeros(len(images), np.int64), IMAGES) as at_work, full as caught:
            at_work.take_reference(lambda _: None)
    assert str(caught.value).startswith(f"{folder}: ")


def test_what_it_failed_with_is_told_at_the_next_step(task: Task, folder: Path) -> None:
    said: list[str] = []
    with start_beside(task.model_copy(update={"weights_sha256": "0" * 64})) as beside, begin(beside, folder):
        step = beside.watched(said.append)
        beside.process.wait()
        for text in ("first", "second"):  # whoever catches it once hears of it again
            with pytest.raises(CheckpointError, match="have changed since the export began"):
                step(text)
    assert said == ["first", "second"]


def test_it_ends_with_the_one_that_asked(task: Task) -> None:
    with start_beside(task) as beside:
        assert beside.process.stdin is not None
        beside.process.stdin.close()  # what the system does when a process dies
        assert beside.process.wait(60) == 0


def test_an_error_ends_the_process_before_its_folders_go(task: Task, folder: Path) -> None:
    with start_beside(task) as beside:
        with pytest.raises(KeyboardInterrupt), begin(beside, folder):
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
