"""Lets contenders take turns on blocks of images, so that their ratios hold on a machine that others use as well."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]


class Contender(Protocol):
    """Something whose time per image is taken.

    Attributes:
        name: its name, unique among the contenders.
        every_image: it has to see every image once, whatever the time; the others share the time there is.
    """

    name: str
    every_image: bool

    def warm(self, image: Images) -> None:
        """Run once, keep nothing."""
        ...

    def run(self, index: int, image: Images) -> float:
        """Run image ``index`` (H, W, C), keep its times, return the whole time in milliseconds."""
        ...


@dataclass(frozen=True)
class Turn:
    """One contender on one block of images: wall-clock and processor seconds, the sum of its times in milliseconds."""

    contender: str
    block: int
    images: int
    milliseconds: float
    wall: float
    processor: float


@dataclass
class Turns:
    """All turns taken, in order."""

    taken: list[Turn] = field(default_factory=list)

    def ratio(self, slow: str, fast: str) -> float | None:
        """Return how many times as long ``slow`` took: the median over all blocks where both had a turn.

        A disturbance hits one contender in one block; the median of ratios does not follow it, and no time is dropped
        from any distribution for it. None where they never met.
        """
        a, b = self._by_block(slow), self._by_block(fast)
        ratios = [a[block] / b[block] for block in a.keys() & b.keys() if b[block] > 0]
        return statistics.median(ratios) if ratios else None

    def processor_share(self, contender: str) -> float | None:
        """Return processor seconds per second of a contender's turns; None where it had none."""
        turns = [turn for turn in self.taken if turn.contender == contender]
        wall = sum(turn.wall for turn in turns)
        return sum(turn.processor for turn in turns) / wall if wall else None

    def _by_block(self, contender: str) -> dict[int, float]:
        return {turn.block: turn.milliseconds for turn in self.taken if turn.contender == contender}


def take_turns(
    contenders: Sequence[Contender],
    images: Images,
    *,
    block: int,
    seconds: float,
    on_block: Callable[[int, Images], None],
    on_step: Callable[[int, int], None],
) -> Turns:
    """Run contenders over blocks of images, each block by one contender after the other.

    Every image is seen once by those that must see every image. The others, and further rounds of all, share
    ``seconds``, spread evenly over the first round; each has at least one turn. The order rotates from block to block.
    A turn begins with one run whose time is not kept: caches then hold this contender's data, not the one's before.

    Args:
        contenders: who takes part.
        images: (images, H, W, C).
        block: images in a turn.
        seconds: for what need not see every image.
        on_block: called with the first index and the images of each block of the first round, outside all times.
        on_step: called with the number of images of the first round that are done, and of all.
    """
    turns = Turns()
    starts = range(0, len(images), block)
    must = [contender for contender in contenders if contender.every_image]
    spent = 0.0
    number = 0

    def run(chosen: Sequence[Contender], start: int, *, again: bool) -> float:
        took = 0.0
        piece = np.array(images[start : start + block])  # from the disk into memory before the clock starts
        shift = number % len(chosen) if chosen else 0
        for contender in (*chosen[shift:], *chosen[:shift]):
            began = time.perf_counter()
            turns.taken.append(_take_turn(contender, number, start, piece))
            if again or not contender.every_image:
                took += time.perf_counter() - began
        return took

    collecting = gc.isenabled()
    gc.collect()
    gc.freeze()  # what is here stays here: collections between turns look at new objects only
    gc.disable()
    try:
        for start in starts:
            on_block(start, np.array(images[start : start + block]))
            everyone = number == 0 or spent < seconds * (number + 1) / len(starts)
            spent += run(contenders if everyone else must, start, again=False)
            number += 1
            on_step(min(start + block, len(images)), len(images))
        while contenders and spent < seconds:
            spent += run(contenders, starts[number % len(starts)], again=True)
            number += 1
            on_step(len(images), len(images))
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()
    return turns


def _take_turn(contender: Contender, number: int, start: int, piece: Images) -> Turn:
    gc.collect()
    contender.warm(piece[-1])
    wall, processor = time.perf_counter(), time.process_time()
    total = 0.0
    for place, image in enumerate(piece):
        total += contender.run(start + place, image)
    return Turn(
        contender.name,
        number,
        len(piece),
        total,
        time.perf_counter() - wall,
        time.process_time() - processor,
    )
