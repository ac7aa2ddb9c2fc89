"""Random crop, flip, cutout and shrinking on whole batches of raw uint8 images, on the device they are on."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from msd_edge.data.dataset import Dataset
from msd_edge.data.shards import WHOLE, Shard
from msd_edge.data.transfer import send
from msd_edge.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training image, in this order.

    Attributes:
        pad: pixels of ``fill`` added on each side before a random crop back to the old size; 0: no crop.
        flip: mirror left and right, every other image.
        cutout: side of a square of ``fill`` at a random place, cut at the borders; 0: none (DeVries and Taylor 2017).
        fill: a pixel value for all channels, or one per channel; the mean, so that it is zero once normalized.
    """

    pad: int = 4
    flip: bool = True
    cutout: int = 0
    fill: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if self.pad < 0 or self.cutout < 0 or not self.fill or not all(0 <= value <= 255 for value in self.fill):
            raise ConfigError(f"no such augmentation: {self}; sizes are 0 or more, fill is 0 to 255.")


def default_augmentation(dataset: Dataset) -> Augmentation:
    """Return what suits a data set.

    Crops move by an eighth of the shorter side. Images are mirrored, except where they may show characters: digits, and
    grey images of a .npz file.

    Args:
        dataset: its name and the shape of its images decide.
    """
    height, width, channels = dataset.image_shape
    characters = dataset.name == "digits" or (channels == 1 and dataset.name.lower().endswith(".npz"))
    return Augmentation(pad=min(height, width) // 8, flip=not characters)


def augment(
    images: Tensor,
    augmentation: Augmentation,
    generator: torch.Generator,
    *,
    whole: int | None = None,
    shard: Shard = WHOLE,
) -> Tensor:
    """Return images changed at random, each in its own way.

    Where several processes share a batch, each draws for all of it, so that an image gets the same changes however many
    they are.

    Args:
        images: (batch, C, H, W) uint8; fastest when channels last.
        augmentation: what may happen.
        generator: on the CPU, so that every device sees the same changes.
        whole: images of the batch in all processes; None: those given are all.
        shard: which part of it is given.

    Returns:
        (batch, C, H, W) uint8, channels last in memory.

    Raises:
        ConfigError: ``fill`` has neither one value nor one per channel.
    """
    channels = images.shape[1]
    if len(augmentation.fill) not in (1, channels):
        raise ConfigError(f"fill has {len(augmentation.fill)} values, the images have {channels} channels.")
    fill = send(torch.tensor(augmentation.fill, dtype=torch.uint8), images.device).expand(channels)
    pixels = images.permute(0, 2, 3, 1)
    draw = _Draw(generator, images.shape[0] if whole is None else whole, shard)
    if augmentation.pad:
        pixels = _crop(pixels, augmentation.pad, fill, draw)
    if augmentation.flip:
        pixels = _flip(pixels, draw)
    if augmentation.cutout:
        pixels = _cut_out(pixels, augmentation.cutout, fill, draw)
    return pixels.permute(0, 3, 1, 2)


def shrink(images: Tensor, sides: tuple[int, int]) -> Tensor:
    """Return images of another height and width, antialiased; images that have these sides already as they are.

    Args:
        images: (batch, C, H, W) uint8.
        sides: height and width.

    Returns:
        (batch, C, *sides): float32 pixels where they were resized.
    """
    if tuple(images.shape[2:]) == sides:
        return images
    return functional.interpolate(images.float(), sides, mode="bilinear", antialias=True)


@dataclass(frozen=True)
class _Draw:
    """Draws a number for every image of a batch of ``whole``, and gives those of one part."""

    generator: torch.Generator
    whole: int
    shard: Shard

    def below(self, limit: int) -> Tensor:
        """Return whole numbers 0..limit-1."""
        return self._part(torch.randint(0, limit, (self.whole,), generator=self.generator))

    def share(self) -> Tensor:
        """Return numbers from 0 to 1."""
        return self._part(torch.rand(self.whole, generator=self.generator))

    def _part(self, drawn: Tensor) -> Tensor:
        start, stop = self.shard.bounds(self.whole)
        return drawn[start:stop]


def _crop(pixels: Tensor, pad: int, fill: Tensor, draw: _Draw) -> Tensor:
    """Move each image (batch, H, W, C) by up to ``pad`` pixels each way."""
    count, height, width, channels = pixels.shape
    tall, wide = height + 2 * pad, width + 2 * pad
    down, right = draw.below(2 * pad + 1), draw.below(2 * pad + 1)
    if not count:
        return pixels

    padded = fill.repeat(wide).expand(count, tall, wide * channels).contiguous()
    padded.view(count, tall, wide, channels)[:, pad : pad + height, pad : pad + width] = pixels
    # A row of a crop is a run of bytes: all runs there can be, seen without copying, and then one choice a row.
    run = width * channels
    runs = padded.view(-1).as_strided((padded.numel() - run + 1, run), (1, 1))
    rows = (torch.arange(count) * tall + down)[:, None] + torch.arange(height)
    starts = (rows * wide + right[:, None]) * channels
    return runs.index_select(0, send(starts.reshape(-1), pixels.device)).view(count, height, width, channels)


def _flip(pixels: Tensor, draw: _Draw) -> Tensor:
    """Mirror every other image (batch, H, W, C), by chance."""
    chosen = send((draw.share() < 0.5).nonzero().squeeze(1), pixels.device)
    return pixels.index_copy(0, chosen, pixels.index_select(0, chosen).flip(2))


def _cut_out(pixels: Tensor, side: int, fill: Tensor, draw: _Draw) -> Tensor:
    """Cover a square of each image (batch, H, W, C) whose centre is any of its pixels."""
    _, height, width, _ = pixels.shape
    top, left = draw.below(height) - side // 2, draw.below(width) - side // 2
    y, x = torch.arange(height), torch.arange(width)
    covered_y = (y >= top[:, None]) & (y < top[:, None] + side)
    covered_x = (x >= left[:, None]) & (x < left[:, None] + side)
    covered = (covered_y[:, :, None] & covered_x[:, None, :])[..., None]
    return torch.where(send(covered, pixels.device), fill, pixels)
