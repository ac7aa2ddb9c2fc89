"""Batches of raw images on the device: from one tensor that lives there, or streamed from disk one batch ahead."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msd_edge.data.dataset import Images, ImageSet, MemorySet
from msd_edge.data.shards import WHOLE, Shard
from msd_edge.data.transfer import send
from msd_edge.errors import ConfigError
from msd_edge.processors import usable_processors


def epoch_order(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return a permutation of 0..size-1 that depends on ``seed`` and ``epoch`` alone: any epoch can be made again."""
    return np.random.default_rng((seed, epoch)).permutation(size).astype(np.int64)


def batch_bounds(size: int, batch_size: int) -> list[tuple[int, int]]:
    """Return the (start, stop) of each batch; every image is in one.

    A last batch of one image joins the batch before it, because BatchNorm cannot learn from one.

    Raises:
        ConfigError: ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ConfigError(f"a batch has at least one image, not {batch_size}.")
    stops = list(range(batch_size, size, batch_size)) + ([size] if size else [])
    if batch_size > 1 and size > batch_size and size % batch_size == 1:
        del stops[-2]
    return list(zip([0, *stops], stops, strict=False))


class Feeder:
    """Batches of one split on one device.

    A split in memory is copied to the device once, as uint8; one on disk is read by ``workers`` threads (Pillow decodes
    outside the interpreter's lock), the next batch while the last one is in use.

    Args:
        split: the images.
        device: where batches are to be.
        workers: threads that decode a split on disk; 0: as many as this process may use, at most 8.
        shard: which part of every batch to give, where several processes share it.
    """

    def __init__(self, split: ImageSet, device: torch.device, workers: int = 0, shard: Shard = WHOLE) -> None:
        self.split = split
        self.device = device
        self.shard = shard
        self.workers = workers if workers > 0 else min(8, usable_processors())
        self.labels = torch.from_numpy(split.labels.copy()).to(device)
        self.images: Tensor | None = None
        if split.in_memory:
            everything = np.arange(len(split), dtype=np.int64)
            images = split.images if isinstance(split, MemorySet) else split.read(everything)
            self.images = torch.from_numpy(_writable(images)).to(device)

    def batches(self, order: NDArray[np.int64], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's part of the images at ``order`` in batches; none is dropped (see ``batch_bounds``).

        With fewer images in the last batch than processes, a part may be empty.

        Yields:
            Images (batch, C, H, W) uint8, channels last in memory, and labels (batch,) int64, both on the device.

        Raises:
            ConfigError: ``batch_size`` is below 1.
        """
        pieces = [self._part(order[start:stop]) for start, stop in batch_bounds(len(order), batch_size)]
        if self.images is None:
            yield from self._streamed(pieces)
            return
        for piece in pieces:
            indices = send(torch.from_numpy(piece.copy()), self.device)
            # Chosen as NHWC and then seen as NCHW: that is channels_last, with no reordering.
            yield self.images.index_select(0, indices).permute(0, 3, 1, 2), self.labels.index_select(0, indices)

    def _part(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        start, stop = self.shard.bounds(len(batch))
        return batch[start:stop]

    def _streamed(self, pieces: list[NDArray[np.int64]]) -> Iterator[tuple[Tensor, Tensor]]:
        with ThreadPoolExecutor(self.workers, thread_name_prefix="read-images") as pool:
            waiting = self._start(pool, pieces[0]) if pieces else []
            try:
                for piece, following in zip(pieces, [*pieces[1:], None], strict=True):
                    images = np.concatenate([part.result() for part in waiting])
                    waiting = self._start(pool, following) if following is not None else []
                    pixels = send(torch.from_numpy(_writable(images)), self.device).permute(0, 3, 1, 2)
                    yield pixels, self.labels.index_select(0, send(torch.from_numpy(piece.copy()), self.device))
            finally:
                for part in waiting:
                    part.cancel()

    def _start(self, pool: ThreadPoolExecutor, piece: NDArray[np.int64]) -> list[Future[Images]]:
        parts = np.array_split(piece, max(1, min(self.workers, len(piece))))
        return [pool.submit(self.split.read, part) for part in parts]


def _writable(images: Images) -> Images:
    """Return the same array, or a copy where torch could not share it."""
    return images if images.flags.writeable and images.flags.c_contiguous else images.copy()
