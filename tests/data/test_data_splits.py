"""Three splits share no image, depend on seed and content only, and no class is lost."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import Dataset, MemorySet, hash_image, hash_split, hold
from msd_edge.data.splits import Source, split_source
from msd_edge.errors import DataError


def make_pool(pairs: list[tuple[int, int]]) -> MemorySet:
    """Return images of 2 x 2 pixels that show a number, with labels."""
    numbers = np.array([number for number, _ in pairs], dtype=np.uint32)
    return hold(numbers.view(np.uint8).reshape(-1, 2, 2, 1), np.array([label for _, label in pairs]))


def make_source(train: list[tuple[int, int]], test: list[tuple[int, int]] | None, classes: int = 3) -> Source:
    names = tuple("abcdefgh"[:classes])
    return Source("photos", names, (2, 2, 1), make_pool(train), make_pool(test) if test is not None else None)


def parts(dataset: Dataset) -> tuple[set[str], set[str], set[str]]:
    return set(dataset.train.hashes), set(dataset.calibration.hashes), set(dataset.test.hashes)


# Images 0..59 with a clear label, image 60.. with any label: duplicates and contradictions come by themselves.
pair = st.integers(0, 59).map(lambda n: (n, n % 3)) | st.tuples(st.integers(60, 66), st.integers(0, 2))
enough = st.just([(n, n % 3) for n in range(200, 209)])
trains = st.builds(lambda base, more: base + more, enough, st.lists(pair, max_size=80))
tests_ = st.lists(pair, min_size=1, max_size=30)


@given(train=trains, test=tests_ | st.none(), seed=st.integers(0, 5), share=st.floats(0.01, 0.99))
@settings(max_examples=150, deadline=None)
def test_splits_share_no_image_and_lose_none(
    train: list[tuple[int, int]], test: list[tuple[int, int]] | None, seed: int, share: float
) -> None:
    source = make_source(train, test)
    dataset = split_source(source, DataConfig(seed=seed, calibration_share=share))
    learned, calibration, tested = parts(dataset)
    assert len(learned | calibration | tested) == len(learned) + len(calibration) + len(tested)
    assert learned | calibration | tested == set(source.train.hashes) | set(source.test.hashes if source.test else ())
    leaked = sum(digest in set(source.test.hashes) for digest in source.train.hashes) if source.test else 0
    assert len(dataset.train) + len(dataset.calibration) == len(train) - leaked - (0 if test else len(dataset.test))
    assert bool(dataset.notes) == bool(leaked)
    if test is not None:
        assert dataset.test is source.test
    for split in (dataset.train, dataset.calibration):
        assert set(split.labels.tolist()) == {0, 1, 2}
        assert [hash_image(image) for image in split.read(np.arange(len(split)))] == list(split.hashes)


@given(train=trains, seed=st.integers(0, 5), order=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_cut_hangs_on_seed_and_content_not_on_order(train: list[tuple[int, int]], seed: int, order: object) -> None:
    config = DataConfig(seed=seed)
    mixed = list(train)
    order.shuffle(mixed)  # type: ignore[attr-defined]
    one, same = split_source(make_source(train, None), config), split_source(make_source(mixed, None), config)
    for split in ("train", "calibration", "test"):
        assert hash_split(getattr(one, split)) == hash_split(getattr(same, split))


def test_another_seed_cuts_another_calibration_split() -> None:
    source = make_source([(n, n % 3) for n in range(300)], [(900, 0)])
    cuts = {hash_split(split_source(source, DataConfig(seed=seed)).calibration) for seed in range(5)}
    assert len(cuts) == 5


def test_shares_hold_in_every_class() -> None:
    train = [(n, 0) for n in range(100)] + [(n, 1) for n in range(100, 150)] + [(n, 2) for n in range(150, 160)]
    dataset = split_source(make_source(train, None), DataConfig(calibration_share=0.25, test_share=0.2))
    assert Counter(dataset.test.labels.tolist()) == {0: 20, 1: 10, 2: 2}
    assert Counter(dataset.calibration.labels.tolist()) == {0: 20, 1: 10, 2: 2}
    assert Counter(dataset.train.labels.tolist()) == {0: 60, 1: 30, 2: 6}


def test_duplicates_stay_together_and_contradictions_train() -> None:
    train = [(n, n % 3) for n in range(30)] * 2 + [(77, 0), (77, 1)]
    dataset = split_source(make_source(train, [(99, 0)]), DataConfig(calibration_share=0.5))
    learned, calibration, _ = parts(dataset)
    assert not learned & calibration
    disputed = make_pool([(77, 0)]).hashes[0]
    assert dataset.train.hashes.count(disputed) == 2
    assert all(count == 2 for count in Counter(dataset.calibration.hashes).values())


def test_training_images_that_are_test_images_are_left_out_with_a_note() -> None:
    train = [(n, n % 3) for n in range(30)]
    dataset = split_source(make_source(train, train[:12]), DataConfig())
    assert len(dataset.test) == 12
    assert len(dataset.train) + len(dataset.calibration) == 18
    assert dataset.notes == ("12 training images that are test images too were left out of training.",)
    one = split_source(make_source(train, train[:1]), DataConfig())
    assert one.notes == ("1 training image that is a test image too was left out of training.",)


def test_same_images_for_training_and_testing_are_refused() -> None:
    train = [(n, n % 3) for n in range(30)]
    with pytest.raises(DataError, match="photos: every training image is a test image too"):
        split_source(make_source(train, train), DataConfig())


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ([(n, n % 2) for n in range(20)] + [(50, 2)], "class 'c' has one distinct training image"),
        ([(n, n % 2) for n in range(20)] + [(50, 2)] * 9, "class 'c' has one distinct training image"),
        ([(n, n % 2) for n in range(20)], "class 'c' has no training image"),
        ([(n, n % 2) for n in range(20)] + [(1, 2), (2, 2)], "every image of class 'c' carries another label too"),
    ],
)
def test_a_class_too_small_is_named(train: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_source(make_source(train, [(99, 0)]), DataConfig())


def test_two_images_a_class_are_enough() -> None:
    dataset = split_source(make_source([(n, n % 3) for n in range(6)], [(99, 0)]), DataConfig(calibration_share=0.01))
    assert sorted(dataset.train.labels) == sorted(dataset.calibration.labels) == [0, 1, 2]


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DataError, match="photos: the test split has no images"):
        split_source(make_source([(n, n % 3) for n in range(6)], []), DataConfig())


def test_hashing_tells_shapes_apart_and_ignores_memory_order() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert hash_image(image) == hash_image(np.asfortranarray(image)) != hash_image(image.reshape(4, 2, 3))
