"""``scripts/demo.sh``: its steps, and the images that it leaves to be classified."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.bench_data import CLASSES
from support.bundles import make_bundle
from support.tinynet import HEIGHT, WIDTH, make_images

from msd_edge.bundle.reader import read_bundle
from msd_edge.cli.app import run
from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import hash_split
from msd_edge.data.load import load_dataset

SCRIPTS = Path(__file__).parents[1] / "scripts"


def test_its_images_are_test_images_named_by_what_they_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = {"x_train": make_images(40, 3, seed=1), "y_train": np.arange(40) % 4}
    arrays |= {"x_test": make_images(12, 3, seed=2), "y_test": np.arange(12) // 3}
    np.savez(tmp_path / "photos.npz", **arrays, classes=np.array(CLASSES))
    config = DataConfig(source=str(tmp_path / "photos.npz"), size=(HEIGHT, WIDTH))
    dataset = load_dataset(config)
    digests = {"calibration_sha256": hash_split(dataset.calibration), "test_sha256": hash_split(dataset.test)}
    folder = make_bundle(tmp_path / "bundle", variants=("tflite-int8",), **digests)
    manifest = read_bundle(folder).manifest
    manifest = manifest.model_copy(update={"source": manifest.source.model_copy(update={"data": config})})
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    monkeypatch.chdir(tmp_path)

    command = [sys.executable, str(SCRIPTS / "demo_images.py"), "bundle", "images"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "images: 4 test images, each named by what it shows\n"
    found = sorted(path.name for path in Path("images").iterdir())
    assert found == [f"class {letter}-test-{3 * place}.png" for place, letter in enumerate("abcd")]
    for place, name in enumerate(found):
        assert np.array_equal(np.asarray(Image.open(f"images/{name}")), arrays["x_test"][3 * place])
    assert run(["predict", "bundle", "images", "--json"]) == 0
    assert [Path(each["path"]).name for each in json.loads(capsys.readouterr().out)["images"]] == found


def test_the_demo_ends_by_classifying_them(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPTS / "demo.sh", tmp_path / "scripts")
    (tmp_path / "scripts/setup.sh").write_text('cd "$(dirname "$BASH_SOURCE")/.."\nvenv=.venv\nset -euo pipefail\n')
    for name in ("msd-edge", "python"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "scripts/demo.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    steps = [line.removeprefix("$ ").split() for line in done.stdout.splitlines() if line.startswith("$ ")]
    verbs = [words[1] for words in steps if words[0] == "msd-edge"]
    assert verbs == ["train", "export", "calibrate", "bench", "report", "predict"]
    made, predict = steps[-2:]
    assert made == ["python", "../scripts/demo_images.py", "bundles/resnet20-digits", "images"]
    assert predict == ["msd-edge", "predict", "bundles/resnet20-digits", "images"]
    assert "`msd-edge predict bundles/resnet20-digits IMAGE`" in done.stdout
