"""Turns: who runs when, on how many images, and what ratios are made of."""

import gc
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msd_edge.benchmarks.turns import Images, Turn, Turns, take_turns

NOTHING = {"on_block": lambda start, piece: None, "on_step": lambda done, total: None}


@dataclass
class Counter:
    """Takes ``cost`` seconds an image and writes down what it saw."""

    name: str
    every_image: bool
    cost: float = 0.0
    seen: list[int] = field(default_factory=list)
    warmed: int = 0
    collected: bool = False

    def warm(self, image: Images) -> None:
        self.warmed += 1

    def run(self, index: int, image: Images) -> float:
        assert image[0, 0, 0] == index % 256  # the image that belongs to the index
        self.collected = self.collected or gc.isenabled()
        self.seen.append(index)
        time.sleep(self.cost)
        return max(self.cost * 1000, 1.0)


def make_images(count: int) -> Images:
    return np.broadcast_to(np.arange(count).astype(np.uint8)[:, None, None, None], (count, 2, 2, 1))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20))
def test_without_time_everyone_has_one_turn_and_the_cascade_sees_all(count: int, block: int) -> None:
    all_images, some = Counter("all", True), Counter("some", False)
    take_turns([all_images, some], make_images(count), block=block, seconds=0, **NOTHING)
    assert all_images.seen == list(range(count))
    assert some.seen == list(range(min(block, count)))


def test_the_time_is_spread_over_all_images_not_spent_on_the_first() -> None:
    all_images, some = Counter("all", True), Counter("some", False, cost=0.002)
    take_turns([all_images, some], make_images(200), block=10, seconds=0.2, **NOTHING)
    assert all_images.seen == list(range(200))
    assert max(some.seen) > 100
    assert len(some.seen) < 200


def test_time_left_over_is_used_for_further_rounds_of_all() -> None:
    all_images, some = Counter("all", True, cost=0.001), Counter("some", False, cost=0.001)
    take_turns([all_images, some], make_images(8), block=4, seconds=0.1, **NOTHING)
    assert len(all_images.seen) > 8
    assert abs(len(all_images.seen) - len(some.seen)) <= 4


def test_every_turn_begins_with_a_run_that_is_not_kept_and_the_collector_is_off() -> None:
    one = Counter("one", True)
    turns = take_turns([one], make_images(30), block=10, seconds=0, **NOTHING)
    assert one.warmed == len(turns.taken) == 3
    assert not one.collected
    assert gc.isenabled()


def test_the_collector_is_on_again_after_a_failure() -> None:
    class Broken(Counter):
        def run(self, index: int, image: Images) -> float:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_turns([Broken("broken", True)], make_images(3), block=2, seconds=0, **NOTHING)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_the_order_rotates_from_block_to_block() -> None:
    contenders = [Counter(name, True) for name in "abc"]
    turns = take_turns(contenders, make_images(6), block=2, seconds=0, **NOTHING)
    assert [turn.contender for turn in turns.taken] == list("abcbcacab")


def test_each_block_is_shown_once_and_progress_ends_at_all() -> None:
    blocks: list[tuple[int, int]] = []
    steps: list[tuple[int, int]] = []
    take_turns(
        [Counter("a", True)],
        make_images(25),
        block=10,
        seconds=0,
        on_block=lambda start, piece: blocks.append((start, len(piece))),
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert blocks == [(0, 10), (10, 10), (20, 5)]
    assert steps == [(10, 25), (20, 25), (25, 25)]


def test_a_ratio_is_the_median_over_shared_blocks() -> None:
    turns = Turns(
        [
            *(Turn("slow", block, 4, 40.0, 1.0, 1.0) for block in range(3)),
            *(Turn("fast", block, 4, 10.0, 1.0, 0.5) for block in range(2)),
            Turn("fast", 2, 4, 900.0, 1.0, 1.0),  # a disturbance
            *(Turn("fast", block, 4, 10.0, 1.0, 1.5) for block in (3, 4)),  # the slow one had no turn here
        ]
    )
    assert turns.ratio("slow", "fast") == 4.0
    assert turns.ratio("slow", "absent") is None
    assert turns.processor_share("fast") == 1.0
    assert turns.processor_share("absent") is None
