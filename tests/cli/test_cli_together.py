"""A bundle evaluated by several processes: each image counted once, one of them prints, one sentence where it fails."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import ranks
from support.bench_data import CLASSES
from support.bundles import make_bundle
from support.tinynet import HEIGHT, WIDTH, make_images

from msd_edge.bundle.reader import read_bundle
from msd_edge.cli.app import run
from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import hash_split
from msd_edge.data.load import load_dataset

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle ``b`` whose data has 23 test images."""
    rng = np.random.default_rng(0)
    arrays = {"x_train": make_images(40, 3, seed=1), "y_train": np.arange(40) % 4}
    arrays |= {"x_test": make_images(23, 3, seed=2), "y_test": rng.integers(0, 4, 23)}
    np.savez(tmp_path / "photos.npz", **arrays, classes=np.array(CLASSES))
    config = DataConfig(source=str(tmp_path / "photos.npz"), size=(HEIGHT, WIDTH))
    dataset = load_dataset(config)
    digests = {"calibration_sha256": hash_split(dataset.calibration), "test_sha256": hash_split(dataset.test)}
    folder = make_bundle(tmp_path / "b", variants=("tflite-int8",), calibrated=False, **digests)
    manifest = read_bundle(folder).manifest
    manifest = manifest.model_copy(update={"source": manifest.source.model_copy(update={"data": config})})
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def work(count: int, *arguments: str, folders: tuple[str, ...] = ()) -> list[tuple[int, str, str]]:
    """Run a command line in a job of ``count`` processes; return exit code, output and errors of each.

    Args:
        count: of processes.
        arguments: of ``msd-edge``.
        folders: where each works, as if on a host of its own; default all here.
    """
    processes = ranks.start(count, list(arguments), program=("-m", "msd_edge"), folders=folders)
    outputs = [process.communicate(timeout=800) for process in processes]
    return [(process.returncode, *said) for process, said in zip(processes, outputs, strict=True)]


def test_processes_count_each_image_of_a_bundle_once(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", "b", "--split", "test", "--json"]
    assert run(arguments) == 0
    alone = json.loads(capfd.readouterr().out)
    assert alone["images"] == 23
    found = work(3, *arguments)
    assert [code for code, _, _ in found] == [0, 0, 0], found
    assert json.loads(found[0][1]) == alone
    assert [out for _, out, _ in found[1:]] == ["", ""]


def test_another_bundle_on_another_host_is_told_once(place: Path) -> None:
    for host in ("one", "two"):
        shutil.copytree(place / "b", place / host / "b")
    manifest = place / "two/b/manifest.json"
    manifest.write_text(manifest.read_text().replace('"tiny"', '"other"', 1))
    found = work(2, "eval", "b", folders=("one", "two"))
    assert [code for code, _, _ in found] == [2, 2], found
    assert said(found) == ["msd-edge: b: process 1 has another bundle there than process 0."]


def test_refusals_under_torchrun_are_one_sentence(place: Path) -> None:
    refusals = (
        (("eval", "nowhere"), "nowhere"),
        (("eval", "b", "--variant", "tflite-int9"), "did you mean tflite-int8?"),
    )
    for arguments, words in refusals:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
        torchrun += ["--master-port", str(ranks.free_port()), "-m", "msd_edge"]
        ended = subprocess.run([*torchrun, *arguments], capture_output=True, text=True, check=False, timeout=800)
        assert ended.returncode, arguments
        (line,) = said([(ended.returncode, ended.stdout, ended.stderr)])
        assert words in line, arguments
        assert ended.stdout == ""


def said(found: list[tuple[int, str, str]]) -> list[str]:
    """Return what processes said to people."""
    lines = [line for _, _, err in found for line in err.splitlines() if line.startswith("msd-edge: ")]
    return [line for line in lines if not line.startswith("msd-edge: note: ")]
