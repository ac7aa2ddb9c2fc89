"""Training through its public face on small real images: learning, resuming bit for bit, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import msd_edge
from msd_edge.data.config import DataConfig
from msd_edge.errors import CheckpointError, ConfigError, DataError, MsdEdgeError
from msd_edge.training.choices import METHODS
from msd_edge.training.config import ComputeConfig, OptimConfig
from msd_edge.training.methods import LossConfig
from msd_edge.training.report import EpochReport
from msd_edge.training.run import RunFolder, load_network, load_trained
from msd_edge.training.setup import Plan, TrainOptions, plan_resume, plan_run, prepare_folder, start_trainer


def write_data(path: Path, count: int = 65, seed: int = 0) -> Path:
    """Stripes against checks, with noise: a few epochs learn them."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 60, (count + 20, 8, 8, 1), dtype=np.uint8)
    y = np.arange(count + 20) % 2
    x[y == 0, ::2] += 150
    x[y == 1, :, ::2] += 150
    np.savez(path, x_train=x[:count], y_train=y[:count], x_test=x[count:], y_test=y[count:])
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "stripes é.npz")


def options(data: Path, **changes: object) -> TrainOptions:
    optim = {"epochs": 4, "batch_size": 16, "lr": 0.1} | {
        k: changes.pop(k) for k in ("epochs", "qat_epochs", "ema", "batch_size", "lr") if k in changes
    }
    loss = changes.pop("loss", LossConfig())
    base: dict[str, object] = {
        "data": DataConfig(source=str(data)),
        "arch": "resnet8",
        "width": 4,
        "exits": 3,
        "exits_at": None,
        "arch_options": {},
        "branch": "sampled",
        "branch_width": 1.0,
        "branch_interval": None,
        "loss": loss,
        "optim": OptimConfig.model_validate(optim),
        "compute": ComputeConfig(device="cpu"),
        "pad": None,
        "flip": None,
        "cutout": 0,
        "seed": 3,
    }
    return TrainOptions(**(base | changes))  # type: ignore[arg-type]


def run(plan: Plan, stop_after: int | None = None) -> list[EpochReport]:
    trainer, _, _ = start_trainer(plan)
    reports: list[EpochReport] = []

    def on_epoch(report: EpochReport) -> None:
        reports.append(report)

    def on_step(epoch: int, step: int, steps: int) -> None:
        if stop_after is not None and epoch == stop_after + 1 and step == steps // 2:
            raise KeyboardInterrupt

    try:
        trainer.train(on_epoch, on_step)
    except KeyboardInterrupt:
        assert stop_after is not None
    return reports


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns(method: str, data: Path, tmp_path: Path) -> None:
    plan = plan_run(options(data, epochs=6, loss=LossConfig.model_validate({"method": method})), tmp_path / "run")
    reports = run(plan)
    assert reports[-1].loss < reports[0].loss
    assert min(reports[-1].accuracy) >= 0.8
    network, info, epoch = load_trained(tmp_path / "run")
    assert epoch == reports[-1].best_epoch
    assert len(network(torch.zeros(1, 1, 8, 8))) == 3
    assert info.config.loss.method == method


@pytest.mark.parametrize("loss", [LossConfig(), LossConfig(method="annealed")])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_stopped_in_an_epoch_and_resumed_is_the_same_run(
    data: Path, tmp_path: Path, loss: LossConfig, ema: float
) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    run(plan_run(options(data, ema=ema, loss=loss), whole))
    run(plan_run(options(data, ema=ema, loss=loss), halves), stop_after=2)
    assert len(RunFolder(halves).read_metrics()) == 2
    run(plan_resume(RunFolder(halves)))
    for name in ("model.safetensors", "state.safetensors"):
        assert (whole / name).read_bytes() == (halves / name).read_bytes(), name
    rows = [
        [{k: v for k, v in row.items() if k not in ("speed", "seconds")} for row in RunFolder(p).read_metrics()]
        for p in (whole, halves)
    ]
    assert rows[0] == rows[1]


def test_a_crash_between_two_files_costs_nothing(data: Path, tmp_path: Path) -> None:
    whole, crashed = tmp_path / "whole", tmp_path / "crashed"
    run(plan_run(options(data), whole))
    run(plan_run(options(data), crashed), stop_after=2)
    state = (crashed / "state.safetensors").read_bytes()
    run(plan_resume(RunFolder(crashed)), stop_after=3)
    # As if killed after weights and metrics of epoch 3 were written, and before its state; and in a metrics line.
    (crashed / "state.safetensors").write_bytes(state)
    with (crashed / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "loss"')
    run(plan_resume(RunFolder(crashed)))
    assert (whole / "state.safetensors").read_bytes() == (crashed / "state.safetensors").read_bytes()
    assert [row["epoch"] for row in RunFolder(crashed).read_metrics()] == [1, 2, 3, 4]


def test_more_epochs_go_on_from_where_it_ended(data: Path, tmp_path: Path) -> None:
    run(plan_run(options(data, epochs=2), tmp_path / "run"))
    folder = RunFolder(tmp_path / "run")
    reports = run(plan_resume(folder, epochs=4))
    assert [r.epoch for r in reports] == [3, 4]
    with pytest.raises(ConfigError, match="has trained 4 epochs"):
        plan_resume(folder, epochs=3)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_epochs_in_int8_arithmetic_follow_and_are_what_is_kept(data: Path, tmp_path: Path, ema: float) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    reports = run(plan_run(options(data, ema=ema, epochs=3, qat_epochs=2), whole))
    assert [report.int8 for report in reports] == [False, False, False, True, True]
    assert reports[3].lr < 0.05 * 0.1 < reports[0].lr
    assert load_trained(whole)[2] in (4, 5)
    run(plan_run(options(data, ema=ema, epochs=3, qat_epochs=2), halves), stop_after=4)
    run(plan_resume(RunFolder(halves)))
    for name in ("model.safetensors", "state.safetensors"):
        assert (whole / name).read_bytes() == (halves / name).read_bytes(), name


def test_a_trained_run_takes_epochs_in_int8_arithmetic(data: Path, tmp_path: Path) -> None:
    run(plan_run(options(data, epochs=3), tmp_path / "run"))
    before, _, _ = load_trained(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert [(r.epoch, r.int8) for r in run(plan_resume(folder, qat_epochs=2))] == [(4, True), (5, True)]
    after, info, _ = load_trained(tmp_path / "run")
    assert (info.config.optim.epochs, info.config.optim.qat_epochs) == (3, 2)
    # BatchNorm's statistics are those that it was trained with, and so are those of the last epoch in float.
    kept = folder.read_tensors(folder.state_path)[0]
    for name, value in after.state_dict().items():
        if "running" in name:
            assert torch.equal(value, kept[f"model/{name}"])
        elif value.dim() > 1:
            assert not torch.equal(value, before.state_dict()[name])
    with pytest.raises(ConfigError, match=r"--epochs 5: .* has trained 2 epochs in int8 arithmetic behind its 3"):
        plan_resume(folder, epochs=5)
    with pytest.raises(ConfigError, match=r"--qat-epochs 1: .* has trained 2 epochs already"):
        plan_resume(folder, qat_epochs=1)
    assert [r.epoch for r in run(plan_resume(folder, qat_epochs=3))] == [6]


def test_an_odd_image_at_the_end_joins_the_last_batch(data: Path, tmp_path: Path) -> None:
    plan = plan_run(options(data, epochs=1, batch_size=len_train(data) - 1), tmp_path / "run")
    trainer, _, _ = start_trainer(plan)
    assert trainer.steps == 1
    assert run(plan)[0].epoch == 1


def len_train(data: Path) -> int:
    return len(plan_run(options(data), data.parent / "unused").dataset.train)


def test_changed_data_is_refused_on_resume(data: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moving.npz"
    shutil.copy(data, moved)
    run(plan_run(options(moved, epochs=1), tmp_path / "run"))
    write_data(moved, seed=1)
    with pytest.raises(DataError, match="not those that"):
        plan_resume(RunFolder(tmp_path / "run"))


def test_weights_are_safetensors_and_a_pickle_is_refused(data: Path, tmp_path: Path) -> None:
    run(plan_run(options(data, epochs=1), tmp_path / "run"))
    weights = tmp_path / "run/model.safetensors"
    torch.save({"model": torch.zeros(1)}, weights)
    with pytest.raises(CheckpointError, match="damaged, or not written by msd-edge"):
        load_network(tmp_path / "run")


def test_a_truncated_or_foreign_state_is_named(data: Path, tmp_path: Path) -> None:
    run(plan_run(options(data, epochs=1), tmp_path / "run"))
    path = tmp_path / "run/state.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"state\.safetensors"):
        run(plan_resume(RunFolder(tmp_path / "run"), epochs=2))


def test_weights_of_another_network_are_named(data: Path, tmp_path: Path) -> None:
    run(plan_run(options(data, epochs=1), tmp_path / "run"))
    run(plan_run(options(data, epochs=1, width=6), tmp_path / "other"))
    shutil.copy(tmp_path / "other/model.safetensors", tmp_path / "run/model.safetensors")
    with pytest.raises(CheckpointError, match="branches"):
        load_network(tmp_path / "run")


def test_a_run_from_a_newer_release_says_so(data: Path, tmp_path: Path) -> None:
    run(plan_run(options(data, epochs=1), tmp_path / "run"))
    path = tmp_path / "run/run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2}))
    with pytest.raises(CheckpointError, match="needs a newer msd-edge"):
        load_network(tmp_path / "run")


def test_separate_exits_have_no_cascade(data: Path, tmp_path: Path) -> None:
    run(plan_run(options(data, epochs=1, loss=LossConfig(method="single")), tmp_path / "run"))
    with pytest.raises(CheckpointError, match="no cascade to cut"):
        msd_edge.load(tmp_path / "run")


def test_a_loss_that_is_no_number_stops_with_a_sentence(data: Path, tmp_path: Path) -> None:
    with pytest.raises(MsdEdgeError, match="no longer a number"):
        run(plan_run(options(data, lr=1e12), tmp_path / "run"))
    assert not (tmp_path / "run/model.safetensors").exists() or RunFolder(tmp_path / "run").read_metrics()


def test_two_processes_do_not_train_into_one_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.lock(), pytest.raises(CheckpointError, match="is training into this run"), folder.lock():
        pass


def test_folders_in_use_are_refused_before_any_work(tmp_path: Path) -> None:
    busy = tmp_path / "busy"
    busy.mkdir()
    (busy / "thesis.tex").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(CheckpointError, match="holds other things than a run"):
            prepare_folder(busy, overwrite=overwrite)
    (busy / "run.json").write_text("{}")
    with pytest.raises(CheckpointError, match="--resume goes on with it"):
        prepare_folder(busy, overwrite=False)
    prepare_folder(busy, overwrite=True)
    prepare_folder(tmp_path / "new", overwrite=False)
    with pytest.raises(CheckpointError, match="a file is there"):
        prepare_folder(busy / "thesis.tex", overwrite=True)


def test_the_same_seed_gives_the_same_run_and_another_another(data: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        run(plan_run(options(data, epochs=1, seed=seed), tmp_path / name))
    a, b, c = ((tmp_path / n / "model.safetensors").read_bytes() for n in "abc")
    assert a == b != c


@pytest.mark.parametrize("branch", ["separable", "pooled"])
def test_features_of_other_widths_go_through_adapters_that_no_file_holds(
    data: Path, tmp_path: Path, branch: str
) -> None:
    width = 0.5 if branch == "separable" else 1.0
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    shape = {"branch": branch, "branch_width": width, "width": 16, "epochs": 3}
    reports = run(plan_run(options(data, **shape), whole))
    assert reports[-1].features > 0
    run(plan_run(options(data, **shape), halves), stop_after=1)
    run(plan_resume(RunFolder(halves)))
    assert (whole / "state.safetensors").read_bytes() == (halves / "state.safetensors").read_bytes()
    state, _ = RunFolder(whole).read_tensors(whole / "state.safetensors")
    adapters = [name for name in state if "adapter" in name]
    assert adapters
    assert any(name.startswith("momentum/") for name in adapters)
    weights, _ = RunFolder(whole).read_tensors(whole / "model.safetensors")
    assert not [name for name in weights if "adapter" in name]


def test_a_compiled_network_trains_the_same_and_only_whole_batches_are_compiled(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    settings: list[object] = []

    def trace_alone(run: Callable[..., object], **how: object) -> Callable[..., object]:
        settings.append(how.pop("options"))
        compiled = whole(run, backend="aot_eager", **how)  # traces and differentiates, and needs no C++ compiler

        def noted(images: torch.Tensor) -> object:
            sizes.append(len(images))
            return compiled(images)

        return noted

    plain = run(plan_run(options(data, epochs=2), tmp_path / "plain"))
    whole = torch.compile
    monkeypatch.setattr(torch, "compile", trace_alone)
    compute = ComputeConfig(device="cpu", compile=True)
    compiled = run(plan_run(options(data, epochs=2, compute=compute), tmp_path / "compiled"))
    assert set(sizes) == {16}  # the last batch of an epoch is smaller
    # So narrow a network is not trained channels-last, and the compiler is not to lay it out so by itself.
    assert settings == [{"layout_optimization": False}]
    for one, other in zip(compiled, plain, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-3)
