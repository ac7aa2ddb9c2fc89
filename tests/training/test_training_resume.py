"""Exact resume: a run stopped anywhere and gone on with has the weights, bit for bit, of one that never stopped."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msd_edge.data.config import DataConfig
from msd_edge.errors import CheckpointError, MsdEdgeError
from msd_edge.training.choices import METHODS
from msd_edge.training.config import ComputeConfig, OptimConfig
from msd_edge.training.methods import LossConfig
from msd_edge.training.run import RunFolder, load_trained
from msd_edge.training.setup import Plan, TrainOptions, plan_resume, plan_run, start_trainer

FILES = ("model.safetensors", "state.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "stripes.npz"
    images, labels = draw(52)
    np.savez(path, x_train=images[:40], y_train=labels[:40], x_test=images[40:], y_test=labels[40:])
    return path


def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (count, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(count) % 2
    images[labels == 0, ::2] += 150
    return images, labels


def options(data: Path, **changes: object) -> TrainOptions:
    optim = {"epochs": 3, "batch_size": 16} | {
        k: changes.pop(k) for k in list(changes) if k in OptimConfig.model_fields
    }
    compute = {k: changes.pop(k) for k in list(changes) if k in ComputeConfig.model_fields}
    source = {k: changes.pop(k) for k in list(changes) if k in DataConfig.model_fields and k != "seed"}
    base: dict[str, object] = {
        "data": DataConfig.model_validate({"source": str(data), **source}),
        "arch": "resnet8",
        "width": 4,
        "exits": 2,
        "exits_at": None,
        "arch_options": {},
        "branch": "sampled",
        "branch_width": 1.0,
        "branch_interval": None,
        "loss": LossConfig.model_validate({"method": changes.pop("method", "msd")}),
        "optim": OptimConfig.model_validate(optim),
        "compute": ComputeConfig.model_validate({"device": "cpu", "precision": "fp32", **compute}),
        "pad": None,
        "flip": None,
        "cutout": 0,
        "seed": 3,
    }
    return TrainOptions(**(base | changes))  # type: ignore[arg-type]


def train(plan: Plan, stop: tuple[int, int] | None = None) -> None:
    """Train; stopped at (epoch, step) as a killed process is: nothing more is written."""

    def on_step(epoch: int, step: int, _steps: int) -> None:
        if (epoch, step) == stop:
            raise KeyboardInterrupt

    with plan.folder.lock():
        trainer, _, _ = start_trainer(plan)
        try:
            trainer.train(lambda _: None, on_step)
        except KeyboardInterrupt:
            assert stop is not None
            return
    assert stop is None


def same(one: Path, other: Path) -> None:
    for name in FILES:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    rows = [RunFolder(path).read_metrics() for path in (one, other)]
    timeless = [[{k: v for k, v in row.items() if k not in ("speed", "seconds")} for row in part] for part in rows]
    assert timeless[0] == timeless[1]


CASES: list[dict[str, object]] = [
    *({"method": method} for method in METHODS),
    {"method": "annealed", "ema": 0.9, "schedule": "one-cycle"},
    {"ema": 0.9, "schedule": "cosine", "warmup": 0.5},
    {"momentum": 0.0, "schedule": "one-cycle"},
    {"pad": 2, "flip": True, "cutout": 3},
    {"initial_scale": 0.5},
    {"freeze_early": 0.3, "whiten": True, "ema": 0.5},
    {"freeze_early": 0.3, "schedule": "one-cycle", "qat_epochs": 1},
    {"branch": "separable", "branch_width": 0.5, "width": 16},
    {"precision": "bf16"},
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_stopped_in_the_middle_of_an_epoch(data: Path, tmp_path: Path, case: dict[str, object]) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(plan_run(options(data, **case), whole))
    train(plan_run(options(data, **case), parts), stop=(1, 2))  # nothing is there yet to go on from
    train(plan_resume(RunFolder(parts)), stop=(2, 1))
    train(plan_resume(RunFolder(parts)), stop=(3, 2))
    train(plan_resume(RunFolder(parts)))
    same(whole, parts)


def test_images_that_stream_from_disk_come_in_the_same_order(tmp_path: Path) -> None:
    images, labels = draw(40)
    for split, where in (("train", slice(0, 30)), ("test", slice(30, 40))):
        for place, (image, label) in enumerate(zip(images[where], labels[where], strict=True)):
            path = tmp_path / "photos" / split / f"class {label}" / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(path)
    case = {"size": (8, 8), "channels": 1, "memory_gib": 0.0, "workers": 3, "batch_size": 8, "pad": 1}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    plan = plan_run(options(tmp_path / "photos", **case), whole)
    assert not plan.dataset.train.in_memory
    train(plan)
    train(plan_run(options(tmp_path / "photos", **case), parts), stop=(2, 2))
    train(plan_resume(RunFolder(parts)))
    same(whole, parts)


def test_weights_to_start_from_are_in_the_state_from_the_beginning(data: Path, tmp_path: Path) -> None:
    train(plan_run(options(data, exits=1, epochs=1), tmp_path / "single"))
    case = {"weights": str(tmp_path / "single"), "freeze_trunk": True, "ema": 0.5}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(plan_run(options(data, **case), whole))
    train(plan_run(options(data, **case), parts), stop=(1, 2))
    shutil.rmtree(tmp_path / "single")  # they are not read again
    train(plan_resume(RunFolder(parts)))
    same(whole, parts)
    (parts / "state.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"before it had taken over the weights of .*single; train it anew"):
        train(plan_resume(RunFolder(parts)))


@pytest.mark.parametrize("lost", [["model"], ["model", "metrics"], ["metrics"]])
def test_the_state_alone_is_enough_to_go_on(data: Path, tmp_path: Path, lost: list[str]) -> None:
    """Killed between the files of an epoch, with what stood there before or nothing."""
    folder = RunFolder(tmp_path / "run")
    train(plan_run(options(data, epochs=1, ema=0.5), folder.path))
    kept = folder.weights_path.read_bytes()
    assert load_trained(folder.path)[2] == 1
    for name in lost:
        (folder.weights_path if name == "model" else folder.metrics_path).unlink()
    train(plan_resume(folder))
    assert folder.weights_path.read_bytes() == kept


@pytest.mark.parametrize("reached", [0, 1, 3])
def test_with_more_epochs_the_schedule_is_the_new_one_from_the_epoch_reached(
    data: Path, tmp_path: Path, reached: int
) -> None:
    """From the beginning that is the longer run itself; later, the same whether finished or stopped in an epoch."""
    one, other = tmp_path / "one", tmp_path / "other"
    if reached == 3:
        train(plan_run(options(data), one))
    else:
        train(plan_run(options(data), one), stop=(reached + 1, 1))
    shutil.copytree(one, other)
    train(plan_resume(RunFolder(one), epochs=5))
    train(plan_resume(RunFolder(other), epochs=5), stop=(4, 2))
    train(plan_resume(RunFolder(other)))  # the new number is the run's own by now
    same(one, other)
    rates = [row["lr"] for row in RunFolder(one).read_metrics()]
    assert len(rates) == 5
    whole = tmp_path / "whole"
    train(plan_run(options(data, epochs=5), whole))
    assert rates[reached:] == [row["lr"] for row in RunFolder(whole).read_metrics()][reached:]
    if reached == 0:
        same(one, whole)


def test_a_run_stays_until_the_one_that_replaces_it_has_finished_an_epoch(data: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    train(plan_run(options(data, epochs=1), folder.path))
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}

    def now() -> dict[str, bytes]:
        with folder.lock():
            pass
        return {path.name: path.read_bytes() for path in folder.path.iterdir()}

    train(plan_run(options(data, epochs=2, seed=4), folder.path), stop=(1, 2))
    assert now() == before
    with pytest.raises(MsdEdgeError, match="no longer a number"):
        train(plan_run(options(data, epochs=2, lr=1e12), folder.path))
    folder.discard()
    assert now() == before
    train(plan_run(options(data, epochs=2, seed=4), folder.path), stop=(2, 1))
    assert RunFolder(folder.path).read_info().config.seed == 4
    assert load_trained(folder.path)[1].config.seed == 4
    train(plan_resume(folder))
    train(plan_run(options(data, epochs=2, seed=4), tmp_path / "new"))
    same(folder.path, tmp_path / "new")
    assert {path.name for path in folder.path.iterdir()} == set(before)


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_killed_while_one_run_takes_the_place_of_another_it_is_the_new_one(
    data: Path, tmp_path: Path, moved: int
) -> None:
    old, new = tmp_path / "run", tmp_path / "new"
    train(plan_run(options(data, epochs=1), old))
    train(plan_run(options(data, epochs=1, seed=4, width=6), new))
    files = {path.name: path.read_bytes() for path in new.iterdir()}
    ready = old / ".ready"
    new.rename(ready)
    for path in sorted(ready.iterdir())[:moved]:
        path.rename(old / path.name)
    assert load_trained(old)[1].config.seed == 4  # readers see the new one, whatever has been moved
    assert RunFolder(old).read_metrics()
    with RunFolder(old).lock():
        pass
    assert {path.name: path.read_bytes() for path in old.iterdir()} == files


def test_whoever_comes_second_is_told_at_once_who_trains(data: Path, tmp_path: Path) -> None:
    from msd_edge.training.setup import prepare_folder

    folder = RunFolder(tmp_path / "run")
    train(plan_run(options(data, epochs=1), folder.path))
    with folder.lock():
        for overwrite in (False, True):
            with pytest.raises(CheckpointError, match=r"run: process \d+ on \S+ is training into this run since"):
                prepare_folder(folder.path, overwrite=overwrite)
        with pytest.raises(CheckpointError, match=r"run: process \d+ on \S+ is training into this run since"):
            plan_resume(folder)
    with pytest.raises(CheckpointError, match="--resume goes on with it"):
        prepare_folder(folder.path, overwrite=False)


def test_the_remains_of_a_killed_beginning_are_no_obstacle(data: Path, tmp_path: Path) -> None:
    from msd_edge.training.setup import prepare_folder

    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".run.json.partial-abc").write_text("{")
    (folder / ".lock").write_text("{")
    prepare_folder(folder, overwrite=False)
    train(plan_run(options(data, epochs=1), folder))
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.jsonl",
        "model.safetensors",
        "run.json",
        "state.safetensors",
    ]
    assert json.loads((folder / "run.json").read_text())["schema_version"] == 1
