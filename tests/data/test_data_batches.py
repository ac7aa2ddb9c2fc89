"""Batches: nothing dropped, nothing alone, the same images from memory and from disk, under spawn too."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from msd_edge.data.batches import Feeder, batch_bounds, epoch_order
from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import Dataset, MemorySet, hold
from msd_edge.data.load import load_dataset
from msd_edge.errors import ConfigError, DataError

CPU = torch.device("cpu")


def make_split(count: int, channels: int = 3) -> MemorySet:
    images = np.random.default_rng(count).integers(0, 256, (count, 4, 5, channels), dtype=np.uint8)
    return hold(images, np.arange(count) % 7)


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A folder of 24 images that are not allowed in memory."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir()
        for i in range(12):
            Image.fromarray(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(root / name / f"{i}.png")
    dataset = load_dataset(DataConfig(source=str(root), size=(6, 6), memory_gib=0))
    assert not dataset.train.in_memory
    return dataset


@given(size=st.integers(0, 400), batch_size=st.integers(1, 70))
def test_bounds_cover_everything_once_and_leave_no_image_alone(size: int, batch_size: int) -> None:
    bounds = batch_bounds(size, batch_size)
    assert [i for start, stop in bounds for i in range(start, stop)] == list(range(size))
    assert all(0 < stop - start <= batch_size + 1 for start, stop in bounds)
    if batch_size > 1 and size > 1:
        assert all(stop - start > 1 for start, stop in bounds)


@pytest.mark.parametrize(
    ("size", "expected"), [(65, [65]), (129, [64, 65]), (10, [10]), (1, [1]), (0, []), (66, [64, 2])]
)
def test_batches_of_64(size: int, expected: list[int]) -> None:
    split = make_split(max(size, 1))
    assert [len(labels) for _, labels in Feeder(split, CPU).batches(np.arange(size), 64)] == expected


def test_a_batch_size_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="not 0"):
        batch_bounds(4, 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_hold_the_images_in_order_and_channels_last(channels: int) -> None:
    split = make_split(23, channels)
    order = epoch_order(23, 0, 0)
    images, labels = zip(*Feeder(split, CPU).batches(order, 8), strict=True)
    assert np.array_equal(torch.cat(images).permute(0, 2, 3, 1).numpy(), split.images[order])
    assert np.array_equal(torch.cat(labels).numpy(), split.labels[order])
    assert images[0].dtype == torch.uint8
    assert labels[0].dtype == torch.int64
    assert images[0].is_contiguous(memory_format=torch.channels_last)


def test_read_only_arrays_are_fine() -> None:
    split = make_split(5)
    split.images.setflags(write=False)
    split.labels.setflags(write=False)
    assert [len(labels) for _, labels in Feeder(split, CPU).batches(np.arange(5), 5)] == [5]


@given(size=st.integers(0, 200), seed=st.integers(0, 2**31), epoch=st.integers(0, 1000))
def test_an_epoch_order_is_a_permutation_that_can_be_made_again(size: int, seed: int, epoch: int) -> None:
    order = epoch_order(size, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(size))
    assert np.array_equal(order, epoch_order(size, seed, epoch))


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_images_from_disk_are_those_in_memory(streamed: Dataset, workers: int) -> None:
    split = streamed.train
    everything = np.arange(len(split))
    held = MemorySet(split.read(everything), split.labels, split.hashes)
    order = epoch_order(len(split), 1, 2)
    for (a, b), (c, d) in zip(
        Feeder(split, CPU, workers).batches(order, 5), Feeder(held, CPU).batches(order, 5), strict=True
    ):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
        assert a.stride() == c.stride()


def test_a_reader_that_stops_early_leaves_no_thread(streamed: Dataset) -> None:
    import threading

    before = threading.active_count()
    batches = Feeder(streamed.train, CPU, 2).batches(np.arange(len(streamed.train)), 2)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_file_that_goes_away_is_named(streamed: Dataset, tmp_path: Path) -> None:
    from msd_edge.data.scan import StreamedSet

    gone = StreamedSet((str(tmp_path / "gone.png"),), np.zeros(1, np.int64), ("0" * 64,), (4, 4, 3))
    with pytest.raises(DataError, match=r"gone.png: cannot read this image: No such file"):
        list(Feeder(gone, CPU, 2).batches(np.zeros(1, np.int64), 4))


def test_splits_travel_to_spawned_processes(streamed: Dataset) -> None:
    """Spawn (Windows, macOS) must pickle what a process gets, and import it anew."""
    context = multiprocessing.get_context("spawn")
    everything = np.arange(len(streamed.train))
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        halves = np.array_split(everything, 2)
        read = [part.result(60) for part in [pool.submit(streamed.train.read, half) for half in halves]]
    assert np.array_equal(np.concatenate(read), streamed.train.read(everything))
