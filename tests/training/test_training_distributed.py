"""Several processes train what one does: the same numbers up to rounding, every image counted once, one sentence."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import ranks
from support.small_run import write_stripes

from msd_edge.data.augment import Augmentation, augment
from msd_edge.data.batches import Feeder
from msd_edge.data.config import DataConfig
from msd_edge.data.load import load_dataset
from msd_edge.data.shards import Shard
from msd_edge.errors import ConfigError
from msd_edge.training.batch_norm import GlobalBatchNorm
from msd_edge.training.distributed import ALONE, World, read_place
from msd_edge.training.run import RunFolder

T = TypeVar("T")
# Weights after two epochs, beside the one process's: sums of a batch in another order, carried through 8 steps.
TOLERANCE = 5e-5
METHODS: tuple[dict[str, Any], ...] = (
    {"ema": 0.9},
    {"loss": {"method": "annealed", "tau": 0.5}},
    {"branch": "pooled", "initial_scale": 0.5, "freeze_early": 0.3, "whiten": True},
)


@given(st.integers(0, 2000), st.integers(1, 40))
def test_every_image_is_in_one_part(count: int, size: int) -> None:
    parts = [Shard(rank, size).bounds(count) for rank in range(size)]
    assert [i for start, stop in parts for i in range(start, stop)] == list(range(count))
    lengths = [stop - start for start, stop in parts]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("size", [2, 3, 5])
def test_an_image_is_changed_the_same_however_many_share_the_batch(size: int) -> None:
    images = torch.randint(0, 256, (7, 3, 9, 8), dtype=torch.uint8)
    how = Augmentation(pad=2, flip=True, cutout=3, fill=(128,))
    whole = augment(images, how, torch.Generator().manual_seed(1))
    parts = []
    for rank in range(size):
        shard = Shard(rank, size)
        start, stop = shard.bounds(7)
        given_part = augment(images[start:stop], how, torch.Generator().manual_seed(1), whole=7, shard=shard)
        parts.append(given_part)
    assert torch.equal(torch.cat(parts), whole)


def test_streamed_images_are_read_by_one_process_each(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos")
    split = load_dataset(DataConfig(source=str(tmp_path / "photos"), size=(8, 8), memory_gib=0)).train
    assert not split.in_memory
    order = np.random.default_rng(0).permutation(len(split))
    whole = list(Feeder(split, torch.device("cpu"), 1).batches(order, 5))
    shards = [Feeder(split, torch.device("cpu"), 1, Shard(rank, 3)).batches(order, 5) for rank in range(3)]
    for (images, labels), *parts in zip(whole, *shards, strict=True):
        assert torch.equal(torch.cat([part[0] for part in parts]), images)
        assert torch.equal(torch.cat([part[1] for part in parts]), labels)


@pytest.mark.parametrize("shape", [(6, 4, 5, 5), (6, 4)])
@pytest.mark.parametrize("affine", [True, False])
def test_own_batch_norm_is_torchs(shape: tuple[int, ...], affine: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape) * 3 + 1
    kind = torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d
    found = []
    for mode in (False, True):
        layer = kind(4, affine=affine)
        given_x = x.clone().requires_grad_(True)
        if mode:
            with GlobalBatchNorm(ALONE):
                out = layer(given_x)
        else:
            out = layer(given_x)
        (out * torch.arange(out.numel()).view(shape).sin()).sum().backward()
        grads = [given_x.grad, *(p.grad for p in layer.parameters())]
        found.append([out, layer.running_mean, layer.running_var, *grads])
    for own, torchs in zip(*found, strict=True):
        torch.testing.assert_close(own, torchs, rtol=1e-5, atol=1e-5)


class Two(World):
    """Two processes of which the other says ``other``."""

    def __init__(self, other: Any) -> None:
        super().__init__(Shard(0, 2))
        self.other = other

    def gather(self, value: T) -> list[T]:
        return [value, self.other]


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ConfigError, match="--batch-size 15 is the batch of all"):
        Two({}).check_batch(15)
    assert Two({"lr": "0.1", "seed": "0"}).find_difference({"lr": "0.2", "seed": "0"}) == ("lr", 1, "0.1", "0.2")
    assert Two({"lr": "0.1"}).find_difference({"lr": "0.1"}) is None
    assert ALONE.find_difference({"lr": "0.1"}) is None


def test_an_environment_that_is_no_jobs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    assert read_place().size == 1
    monkeypatch.setenv("RANK", "first")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(ConfigError, match="RANK=first"):
        read_place()


def test_three_processes_train_resume_and_count_as_one(tmp_path: Path) -> None:
    """The last batch has two images for three processes, so that one of them has none."""
    data = str(write_stripes(tmp_path / "s.npz", train=62, test=10))
    cases = [
        {"data": data, "epochs": 2, "batch": 18, "out": str(tmp_path / f"many{i}"), **method}
        for i, method in enumerate(METHODS)
    ]
    begun = {"data": data, "epochs": 2, "batch": 18, "ema": 0.9}
    ranks.train({**begun, "epochs": 1, "out": str(tmp_path / "alone-first")})
    onwards = {"resume": True, "epochs": 2}
    script = tmp_path / "cases.json"
    rounded = {"data": data, "epochs": 1, "qat_epochs": 1, "batch": 18}
    jobs = [
        *cases,
        {**rounded, "out": str(tmp_path / "many-int8")},
        {**onwards, "out": str(tmp_path / "alone-first")},
        {**begun, "epochs": 1, "out": str(tmp_path / "many-first")},
    ]
    counted = [(str(tmp_path / "many0"), size) for size in (21, 2, 1)]
    script.write_text(json.dumps({"train": jobs, "count": counted}))
    finish(ranks.start(3, [str(script), str(tmp_path / "counts.json")]))

    for i, method in enumerate(METHODS):
        alone = tmp_path / f"one{i}"
        ranks.train({"data": data, "epochs": 2, "batch": 18, "out": str(alone), **method})
        compare(alone, tmp_path / f"many{i}")
    ranks.train({**onwards, "out": str(tmp_path / "many-first")})
    # Begun for one epoch, so its learning rate had another course: the same one process does the same.
    ranks.train({**begun, "epochs": 1, "out": str(tmp_path / "reference")})
    ranks.train({**onwards, "out": str(tmp_path / "reference")})
    compare(tmp_path / "reference", tmp_path / "alone-first")
    compare(tmp_path / "reference", tmp_path / "many-first")

    # A value that rounding brings to the other side of a step is a step away: the losses tell, not the weights.
    ranks.train({**rounded, "out": str(tmp_path / "one-int8")})
    rows = [RunFolder(tmp_path / name).read_metrics() for name in ("one-int8", "many-int8")]
    assert [row["int8"] for row in rows[1]] == [False, True]
    assert rows[1][1]["loss"] == pytest.approx(rows[0][1]["loss"], rel=0.02)

    for (path, size), found in zip(counted, json.loads((tmp_path / "counts.json").read_text()), strict=True):
        assert sum(found["seen"]) == size
        assert found["correct"] == ranks.count(Path(path), size)["correct"]


def compare(one: Path, many: Path) -> None:
    """Weights, momentum and metrics are the same up to rounding."""
    states = [RunFolder(path).read_tensors(path / "state.safetensors")[0] for path in (one, many)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(
            states[1][name], value, rtol=TOLERANCE, atol=TOLERANCE, msg=lambda m, n=name: f"{n}: {m}"
        )
    rows = [RunFolder(path).read_metrics() for path in (one, many)]
    assert len(rows[0]) == len(rows[1])
    for a, b in zip(*rows, strict=True):
        for name in ("loss", "losses", "distillation", "features", "lr", "tau"):
            assert b[name] == pytest.approx(a[name], rel=1e-4), name
        assert b["accuracy"] == a["accuracy"]


def finish(processes: Sequence["subprocess.Popen[str]"], timeout: float = 800) -> None:
    for process in processes:
        out, err = process.communicate(timeout=timeout)
        assert process.returncode == 0, out + err


def write_folder(path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (path / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(path / name / f"{i}.png")


def launch(place: Path, arguments: list[str], *, agents: int = 1, each: int = 2) -> list["subprocess.Popen[str]"]:
    """Start ``torchrun`` as on ``agents`` hosts."""
    port = ranks.free_port()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(each), "--nnodes", str(agents)]
    if agents > 1:
        torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "test"]
    else:
        torchrun += ["--master-port", str(port)]
    return [
        subprocess.Popen(
            [*torchrun, "-m", "msd_edge", *arguments],
            cwd=place / f"host{agent}",
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for agent in range(agents)
    ]


def small(place: Path, epochs: int, out: str = "run") -> list[str]:
    for agent in range(2):
        (place / f"host{agent}").mkdir(exist_ok=True)
    data = place / "s.npz"
    if not data.exists():
        write_stripes(data, train=70, test=21)
    shape = ["--arch", "resnet8", "--width", "8", "--batch-size", "16", "--epochs", str(epochs), "--precision", "fp32"]
    return ["train", "--data", str(data), *shape, "--out", out, "--json"]


def find_ranks(folder: Path) -> dict[int, int]:
    """Return the processes that train into a run of a test, by rank."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        rank = [word for word in environment if word.startswith(b"RANK=")]
        if rank and str(folder).encode() in words:
            found[int(rank[0][5:])] = int(process.name)
    return found


def wait_for(path: Path, processes: Sequence["subprocess.Popen[str]"]) -> None:
    deadline = time.monotonic() + 600
    while not path.exists():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes), processes[0].communicate()
        time.sleep(0.1)


def sentences(err: str) -> list[str]:
    lines = [line for line in err.splitlines() if line.startswith("msd-edge: ")]
    return [line for line in lines if not line.startswith("msd-edge: note: ")]


@pytest.mark.timeout(2400)
@pytest.mark.slow
@pytest.mark.parametrize(("agents", "each"), [(1, 2), (2, 1)])
def test_torchrun_trains_and_evaluates_as_one_process(tmp_path: Path, agents: int, each: int) -> None:
    alone = [sys.executable, "-m", "msd_edge"]
    subprocess.run([*alone, *small(tmp_path, 2, "one")], cwd=tmp_path, check=True, capture_output=True)
    processes = launch(tmp_path, small(tmp_path, 2, str(tmp_path / "many")), agents=agents, each=each)
    outputs = [process.communicate(timeout=800) for process in processes]
    assert [process.returncode for process in processes] == [0] * agents, outputs
    printed = [json.loads(line) for out, _ in outputs for line in out.splitlines() if line.startswith("{")]
    assert [row["epoch"] for row in printed] == [1, 2]
    compare(tmp_path / "one", tmp_path / "many")
    evaluation = ["eval", str(tmp_path / "many"), "--split", "test", "--json"]
    one = subprocess.run([*alone, *evaluation], check=True, capture_output=True, text=True).stdout
    processes = launch(tmp_path, evaluation, agents=agents, each=each)
    many = [process.communicate(timeout=800)[0] for process in processes]
    assert json.loads("".join(many)) == json.loads(one)
    assert json.loads(one)["images"] == 21


@pytest.mark.timeout(2400)
@pytest.mark.slow
@pytest.mark.parametrize(("agents", "each", "victim"), [(1, 2, 0), (1, 2, 1), (2, 1, 1)])
def test_a_killed_process_ends_the_job_with_a_sentence(tmp_path: Path, agents: int, each: int, victim: int) -> None:
    out = tmp_path / "run"
    processes = launch(tmp_path, small(tmp_path, 500, str(out)), agents=agents, each=each)
    wait_for(out / "state.safetensors", processes)
    pids = find_ranks(out)
    assert sorted(pids) == [0, 1]
    os.kill(pids[victim], signal.SIGKILL)
    outputs = [process.communicate(timeout=400) for process in processes]
    assert all(process.returncode for process in processes)
    told = [sentences(err) for _, err in outputs]
    assert sorted(len(lines) for lines in told) == ([1] if agents == 1 else [0, 1])
    line = next(lines[0] for lines in told if lines)
    assert "another process of this job has died" in line
    assert "--resume" in line


@pytest.mark.timeout(2400)
@pytest.mark.slow
def test_ctrl_c_stops_all_and_one_process_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    processes = launch(tmp_path, small(tmp_path, 500, str(out)))
    wait_for(out / "state.safetensors", processes)
    processes[0].send_signal(signal.SIGINT)
    _, err = processes[0].communicate(timeout=400)
    assert [line for line in sentences(err) if "goes on" in line] == sentences(err)
    assert len(sentences(err)) == 1
    trained = len(RunFolder(out).read_metrics())
    done = [sys.executable, "-m", "msd_edge", "train", "--resume", str(out), "--epochs", str(trained + 1)]
    subprocess.run(done, check=True, capture_output=True)
    assert len(RunFolder(out).read_metrics()) == trained + 1


@pytest.mark.timeout(2400)
@pytest.mark.slow
def test_what_cannot_be_done_together_is_told_once(tmp_path: Path) -> None:
    arguments = small(tmp_path, 1)
    agent = launch(tmp_path, [*arguments, "--batch-size", "15"])[0]
    assert (
        "is the batch of all processes together, and 2 cannot share it"
        in sentences(agent.communicate(timeout=800)[1])[0]
    )
    assert not (tmp_path / "run").exists()
    agent = launch(tmp_path, ["export"])[0]
    (line,) = sentences(agent.communicate(timeout=800)[1])
    assert "is work for one process" in line
