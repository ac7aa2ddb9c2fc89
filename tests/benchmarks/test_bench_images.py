"""Which test images are measured, and the file they travel in."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from msd_edge.benchmarks.images import store_images
from msd_edge.data.dataset import MemorySet
from msd_edge.data.select import select_images

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=120).map(lambda values: np.array(values, dtype=np.int64))


@settings(deadline=None)
@given(LABELS, st.integers(1, 130))
def test_shares_of_classes_are_kept_and_nothing_is_chosen_twice(labels: np.ndarray, limit: int) -> None:
    chosen = select_images(labels, limit)
    assert len(chosen) == min(limit, len(labels)) == len(set(chosen.tolist()))
    for label in np.unique(labels):
        exact = np.sum(labels == label) * len(chosen) / len(labels)
        assert abs(np.sum(labels[chosen] == label) - exact) <= 1


@settings(deadline=None)
@given(LABELS)
def test_the_choice_is_always_the_same_and_all_means_all(labels: np.ndarray) -> None:
    assert select_images(labels, None).tolist() == select_images(labels, len(labels)).tolist()
    assert sorted(select_images(labels, None).tolist()) == list(range(len(labels)))
    assert select_images(labels, 7).tolist() == select_images(labels, 7).tolist()


def test_the_order_is_mixed() -> None:
    labels = np.repeat(np.arange(10), 30)
    first = select_images(labels, None)[:60]
    assert len(set(labels[first].tolist())) == 10


def test_images_arrive_in_the_chosen_order(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (600, 3, 2, 1)).astype(np.uint8)
    split = MemorySet(images, np.zeros(600, np.int64), ("",) * 600)
    places = np.random.default_rng(1).permutation(600)
    store_images(split, places, (3, 2, 1), tmp_path / "images.npy")
    stored = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert stored.dtype == np.uint8
    assert np.array_equal(stored, images[places])
