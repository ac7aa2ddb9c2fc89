"""A small working folder with one of everything, for command lines that are wrong."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from support.report_data import results, save_results
from support.small_run import train_small_run, write_stripes


def make_place(folder: Path, bundle: Path) -> Path:
    """Fill ``folder``. ``bundle``: a calibrated bundle of all four variants, to be copied."""
    shutil.copytree(bundle, folder / "bundles/tiny")
    shutil.copytree(bundle, folder / "bundles/bare")
    _change(folder / "bundles/bare/manifest.json", lambda value: [v.pop("calibration") for v in value["variants"]])
    shutil.copytree(bundle, folder / "bundles/newer")
    _change(folder / "bundles/newer/manifest.json", lambda value: value.update(schema_version=9))
    (folder / "bundles/broken").mkdir()
    (folder / "bundles/broken/manifest.json").write_text("{")
    train_small_run(folder / "runs/small", write_stripes(folder / "stripes.npz", 60, 12), epochs=1)
    shutil.copytree(folder / "runs/small", folder / "runs/newer")
    _change(folder / "runs/newer/run.json", lambda value: value.update(schema_version=9))
    shutil.copytree(folder / "runs/small", folder / "runs/moved")
    _change(folder / "runs/moved/run.json", lambda value: value["config"]["data"].update(source="/nowhere/else.npz"))
    shutil.copytree(folder / "runs/small", folder / "runs/cut")
    weights = folder / "runs/cut/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    shutil.copytree(folder / "runs/small", folder / "runs/unfinished")
    for name in ("model.safetensors", "state.safetensors", "metrics.jsonl"):
        (folder / f"runs/unfinished/{name}").unlink()
    os.utime(folder / "bundles/tiny/manifest.json", (2_000_000_000, 2_000_000_000))
    os.utime(folder / "runs/small/run.json", (2_000_000_000, 2_000_000_000))
    save_results(folder / "results/desk.json", results())
    (folder / "results/broken.json").write_text("[1, 2")
    (folder / "results/other.json").write_text('{"a": 1}')
    os.utime(folder / "results/desk.json", (2_000_000_000, 2_000_000_000))
    (folder / "empty").mkdir()
    (folder / "text.txt").write_text("no image\n")
    (folder / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(folder / "photo.png")
    for name in ("cat", "dog"):
        (folder / "photos/train" / name).mkdir(parents=True)
        for place in range(3):
            shade = np.full((8, 8, 3), 40 * place + (7 if name == "cat" else 9), np.uint8)
            Image.fromarray(shade).save(folder / f"photos/train/{name}/{place}.png")
    (folder / "photos/val/bird").mkdir(parents=True)
    shutil.copy(folder / "photo.png", folder / "photos/val/bird/a.png")
    (folder / "one/cat").mkdir(parents=True)
    shutil.copy(folder / "photo.png", folder / "one/cat/a.png")
    np.savez(folder / "strange.npz", a=np.zeros(3))
    (folder / "net.pth").write_bytes(b"\x80\x02}q\x00.")
    (folder / "net.py").write_text("def build():\n    return 3\n")
    (folder / "options.toml").write_text("epcohs = 3\n")
    (folder / "options.json").write_text('{"rule": "entrpy"}')
    (folder / "cut.toml").write_text("epochs = \n")
    (folder / "list.json").write_text("[1]")
    return folder


def _change(path: Path, change: "object") -> None:
    assert callable(change)
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
