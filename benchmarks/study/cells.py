"""The cells of a study: which are known by now, and how one is run; what is done is kept in a small file each."""

import functools
import hashlib
import io
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from msd_edge.benchmarks.environment import describe_machine
from msd_edge.data.batches import Feeder
from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import Dataset
from msd_edge.data.load import load_dataset
from msd_edge.data.select import select_images
from msd_edge.errors import ConfigError, DataError, MsdEdgeError
from msd_edge.files import read_json, write_bytes, write_json, write_text
from msd_edge.locks import hold
from msd_edge.training import setup
from msd_edge.training.config import ComputeConfig
from msd_edge.training.evaluate import collect_logits
from msd_edge.training.methods import LossConfig
from msd_edge.training.run import RunFolder, load_trained

from .settings import Cell, DataSetting, Study, combinations, fingerprint, make_loss, make_optim, pairs

Step = Callable[[str], None]

# Beside a run: the settings of the study that it was begun with.
_SETTINGS = "study-settings"


class CellHeld(MsdEdgeError):
    """Another process runs this cell, or has done so meanwhile."""


@dataclass(frozen=True)
class Running:
    """How cells are run, which decides nothing about them.

    Attributes:
        compute: device and precision.
        keep: leave the runs of the table's cells where they are.
    """

    compute: ComputeConfig
    keep: bool = False


def cells_of(study: Study, out: Path) -> Iterator[Cell]:
    """Yield the cells that are known by now: a method's trials, then, with what won, its seeds.

    What a method's seeds look like is known when its trials are done; until then they are left out.
    """
    for data, network, method in pairs(study):
        trials = list(combinations(study.methods[method]))
        tried = [
            Cell(network, data, method, study.search_seed, make_loss(study, method, values), number)
            for number, values in enumerate(trials)
        ]
        loss: LossConfig | None = tried[0].loss
        if len(tried) > 1:
            yield from tried
            loss = _choose(study, tried, out)
        if loss is None:
            continue
        for seed in study.seeds:
            yield Cell(network, data, method, seed, loss)


def _choose(study: Study, tried: list[Cell], out: Path) -> LossConfig | None:
    """Return what won, by the mean of all exits on the calibration split at its best epoch; None: not all are done."""
    results = [read_result(study, cell, out) for cell in tried]
    scores = [float(np.mean(result["calibration"])) for result in results if result is not None]
    return tried[int(np.argmax(scores))].loss if len(scores) == len(tried) else None


def result_path(cell: Cell, out: Path) -> Path:
    """Return where a cell's result is kept."""
    return out / "cells" / f"{cell.name}.json"


def read_result(study: Study, cell: Cell, out: Path) -> dict[str, Any] | None:
    """Return a cell's result, None if there is none.

    Raises:
        ConfigError: it was made with other settings.
    """
    path = result_path(cell, out)
    if not path.is_file():
        return None
    result: dict[str, Any] = read_json(path, what="result of a cell", error=MsdEdgeError)
    if result.get("settings") != fingerprint(study, cell):
        raise ConfigError(
            f"{path}: it was made with other settings than the study has now; --out names another folder, or remove it."
        )
    return result


def run_cell(study: Study, cell: Cell, out: Path, step: Step, running: Running) -> dict[str, Any]:
    """Train a cell, or go on with it, and measure it once; a trial never sees the test split.

    Args:
        study: all settings.
        cell: which one.
        out: the study's folder.
        step: told what is going on.
        running: how.

    Returns:
        What its file holds: accuracies of every exit, costs, times, where it ran.

    Raises:
        CellHeld: another process is at it.
    """
    path = result_path(cell, out)
    with hold(path, work="is running this cell", error=CellHeld):
        if read_result(study, cell, out) is not None:
            raise CellHeld(f"{path}: another process has just written it.")
        return _run(study, cell, out, step, running)


def _run(study: Study, cell: Cell, out: Path, step: Step, running: Running) -> dict[str, Any]:
    folder = RunFolder(out / "runs" / cell.name)
    plan = _plan(study, cell, out, folder, running)
    with folder.lock():
        trainer, info, _ = setup.start_trainer(plan)
        total = info.config.optim.all_epochs
        trainer.train(lambda _: None, lambda epoch, number, count: step(f"epoch {epoch}/{total}, {number}/{count}"))
        rows = folder.read_metrics()
    network, info, best = load_trained(folder.path)
    result: dict[str, Any] = {
        "settings": fingerprint(study, cell),
        "data": cell.data,
        "network": cell.network,
        "method": cell.method,
        "seed": cell.seed,
        "trial": cell.trial,
        "loss": cell.loss.model_dump(mode="json"),
        "images": len(plan.dataset.train),
        "epochs": total,
        "best_epoch": best,
        "calibration": next(row["accuracy"] for row in rows if row["epoch"] == best),
        "seconds": math.fsum(row["seconds"] for row in rows),
        "macs": [cost.chain_macs for cost in plan.costs],
        "exit_macs": [cost.macs for cost in plan.costs],
        "parameters": plan.costs[-1].parameters,
        "machine": describe_machine(trainer.device),
        "precision": info.config.compute.precision,
        "versions": info.versions,
    }
    if cell.trial is None:
        step("reading the test images")
        test = plan.dataset.test
        logits = collect_logits(network.to(trainer.device), Feeder(test, trainer.device), len(test))
        result["test"] = [float(value) for value in (logits.argmax(-1) == test.labels[:, None]).mean(axis=0)]
        result["test_images"] = len(test)
    write_json(result_path(cell, out), result)
    if cell.trial is not None or not running.keep:
        shutil.rmtree(folder.path)
    return result


def _plan(study: Study, cell: Cell, out: Path, folder: RunFolder, running: Running) -> setup.Plan:
    made_with = folder.path / _SETTINGS
    if made_with.is_file() and made_with.read_text(encoding="utf-8") == fingerprint(study, cell):
        if (folder.path / "run.json").is_file():
            return setup.plan_resume(folder, device=running.compute.device)
    elif folder.path.exists():  # begun with other settings
        shutil.rmtree(folder.path)
    write_text(made_with, fingerprint(study, cell))
    network = study.networks[cell.network]
    source = _find_data(study, cell.data, out)
    options = setup.TrainOptions(
        data=DataConfig(source=source),
        arch=network.arch,
        arch_options=network.arch_options,
        width=network.width,
        exits=network.exits,
        exits_at=network.exits_at,
        branch=network.branch,
        branch_width=network.branch_width,
        loss=cell.loss,
        optim=make_optim(study, cell.data, cell.method),
        compute=running.compute,
        flip=study.data[cell.data].flip,
        cutout=study.data[cell.data].cutout,
        seed=cell.seed,
    )
    return setup.plan_run(options, folder.path, dataset=_load(source))


@functools.lru_cache(maxsize=3)
def _load(source: str) -> Dataset:
    return load_dataset(DataConfig(source=source))


def _find_data(study: Study, name: str, out: Path) -> str:
    """Return the source of a data set; where only a part of it is wanted, that part is written to a file once."""
    setting = study.data[name]
    path = Path(setting.source).expanduser()
    source = str(path.resolve()) if path.exists() else setting.source
    if setting.images_per_class is None:
        return source
    mark = hashlib.sha256(source.encode()).hexdigest()[:8]
    part = out / "data" / f"{name}-{setting.images_per_class}-{mark}.npz"
    if not part.is_file():
        _write_part(setting, setting.images_per_class, source, part)
    return str(part.resolve())


def _write_part(setting: DataSetting, count: int, source: str, part: Path) -> None:
    whole = load_dataset(DataConfig(source=source, calibration_share=0.001))
    labels = whole.train.labels
    if np.bincount(labels, minlength=len(whole.classes)).min() < count:
        raise DataError(f"{setting.source}: a class has fewer than {count} training images.")
    mixed = select_images(labels, None)
    chosen = np.concatenate([mixed[labels[mixed] == label][:count] for label in range(len(whole.classes))])
    every = np.arange(len(whole.test))
    content = io.BytesIO()
    np.savez(
        content,
        x_train=whole.train.read(chosen),
        y_train=labels[chosen],
        x_test=whole.test.read(every),
        y_test=whole.test.labels,
    )
    write_bytes(part, content.getvalue())
