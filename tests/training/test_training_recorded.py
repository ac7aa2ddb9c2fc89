"""Steps replayed on a GPU compute what steps as they are do."""

from pathlib import Path

import pytest
import torch

from msd_edge.data.config import DataConfig
from msd_edge.training import setup
from msd_edge.training.choices import Method
from msd_edge.training.config import ComputeConfig, OptimConfig
from msd_edge.training.methods import LossConfig, Terms
from msd_edge.training.recorded import RecordedStep, _Recording
from msd_edge.training.report import EpochReport
from msd_edge.training.trainer import Trainer


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: steps are recorded on one only")
@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("joint", {}),
        ("msd", {}),
        ("last-teacher", {}),
        ("joint", {"initial_scale": 0.5}),
        ("joint", {"freeze_early": 0.4}),
        ("msd", {"initial_scale": 0.5, "freeze_early": 0.4}),
    ],
)
def test_replayed_steps_train_like_others(
    tmp_path: Path, method: Method, changes: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(name: str) -> list[EpochReport]:
        options = setup.TrainOptions(
            data=DataConfig(source="digits"),
            arch="resnet8",
            width=8,
            loss=LossConfig(method=method),
            optim=OptimConfig.model_validate({"epochs": 3, "batch_size": 100, "lr": 0.05, **changes}),
            compute=ComputeConfig(device="cuda", precision="fp32"),
        )
        trainer, _, _ = setup.start_trainer(setup.plan_run(options, tmp_path / name))
        reports: list[EpochReport] = []
        trainer.train(reports.append, lambda epoch, step, steps: None)
        assert (trainer.recorded is not None and trainer.recorded._recording is not None) == (name == "replayed")
        return reports

    replayed = train("replayed")
    monkeypatch.setattr(Trainer, "_make_recorded", lambda self: None)
    for one, other in zip(replayed, train("plain"), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=0.02)
        assert one.accuracy == pytest.approx(other.accuracy, abs=0.06)


class Played:
    """In the place of a CUDA graph: notes that it was replayed."""

    def __init__(self) -> None:
        self.times = 0

    def replay(self) -> None:
        self.times += 1


def play(monkeypatch: pytest.MonkeyPatch, *parameters: torch.Tensor) -> list[Played]:
    """Let recordings be noted, not made, and return them; the n-th gives gradients of n."""
    graphs: list[Played] = []

    def record(self: RecordedStep, key: object, step: object, images: torch.Tensor, labels: torch.Tensor) -> _Recording:
        graphs.append(Played())
        gradients = tuple(torch.full_like(parameter, float(len(graphs))) for parameter in parameters)
        terms = Terms(*(torch.zeros(()),) * 4, 3.0)
        return _Recording(key, graphs[-1], images.clone(), labels.clone(), terms, gradients)  # type: ignore[arg-type]

    monkeypatch.setattr(RecordedStep, "_record", record)
    return graphs


def test_images_of_another_size_are_recorded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = play(monkeypatch)
    computed: list[int] = []

    def step(images: torch.Tensor, labels: torch.Tensor) -> Terms:
        computed.append(images.shape[-1])
        return Terms(*(torch.zeros(()),) * 4, 3.0)

    recorded = RecordedStep([], 4)
    for side in (16, 24, 32):
        for _ in range(5):
            images = torch.full((4, 3, side, side), side)
            recorded.run("key", step, images, torch.zeros(4))
            if graphs:
                assert recorded._recording is None or torch.equal(recorded._recording.images, images)
    assert computed == [16] * 3 + [24] * 3 + [32] * 3  # each size warms up
    assert [graph.times for graph in graphs] == [2, 2, 2]


def test_steps_that_do_something_else_are_run_as_they_are_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What compiles them, once early layers are frozen, cannot do so while a GPU records."""
    graphs = play(monkeypatch)
    computed: list[int] = []

    recorded = RecordedStep([], 4)
    for key, frozen in (("a", 0), ("b", 0), ("b", 1)):  # another value alone needs no warming up

        def step(images: torch.Tensor, labels: torch.Tensor, frozen: int = frozen) -> Terms:
            computed.append(frozen)
            return Terms(*(torch.zeros(()),) * 4, 3.0)

        for _ in range(5):
            recorded.run(key, step, torch.zeros(4, 3, 8, 8), torch.zeros(4), way=frozen)
    assert computed == [0] * 3 + [1] * 3
    assert [graph.times for graph in graphs] == [2, 5, 2]


def test_whole_batches_are_recorded_and_others_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    graphs = play(monkeypatch, weight)
    computed: list[int] = []

    def step(images: torch.Tensor, labels: torch.Tensor) -> Terms:
        computed.append(len(images))
        weight.grad = images.float().mean(0)
        total = weight.grad.sum()
        return Terms(total, total[None], total, total, 3.0)

    recorded = RecordedStep([weight], 4)
    for number in range(12):  # epochs of two steps, the second one smaller
        count, key = (4, 3)[number % 2], "early" if number < 10 else "late"
        images = torch.full((count, 2), number)
        recorded.run(key, step, images, torch.zeros(count))
        expected = images.float().mean(0) if count == 3 or number < 6 else torch.full((2,), float(len(graphs)))
        assert torch.equal(weight.grad, expected)
    assert computed == [4, 3] * 3 + [3] * 3  # three whole batches warm up
    assert [graph.times for graph in graphs] == [2, 1]  # a new key is recorded anew
