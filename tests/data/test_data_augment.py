"""Augmentation against a slow, literal version, one image at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from msd_edge.data.augment import Augmentation, augment, default_augmentation, shrink
from msd_edge.data.dataset import Dataset, hold
from msd_edge.errors import ConfigError


def make_images(count: int = 6, channels: int = 3, height: int = 7, width: int = 9, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 200, (count, channels, height, width), dtype=torch.uint8, generator=generator)


def slow_augment(images: Tensor, augmentation: Augmentation, seed: int) -> Tensor:
    """Do to each pixel of each image what the docstring says, with the same draws."""
    generator = torch.Generator().manual_seed(seed)
    count, channels, height, width = images.shape
    fill = augmentation.fill * channels if len(augmentation.fill) == 1 else augmentation.fill
    pad, side = augmentation.pad, augmentation.cutout
    zeros = torch.zeros(count, dtype=torch.int64)
    down = torch.randint(0, 2 * pad + 1, (count,), generator=generator) if pad else zeros
    right = torch.randint(0, 2 * pad + 1, (count,), generator=generator) if pad else zeros
    mirrored = torch.rand(count, generator=generator) < 0.5 if augmentation.flip else zeros.bool()
    centre_y = torch.randint(0, height, (count,), generator=generator) if side else zeros
    centre_x = torch.randint(0, width, (count,), generator=generator) if side else zeros
    result = torch.empty_like(images)
    for n in range(count):
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    from_x = width - 1 - x if mirrored[n] else x
                    old_y, old_x = int(y + down[n]) - pad, int(from_x + right[n]) - pad
                    inside = 0 <= old_y < height and 0 <= old_x < width
                    value = int(images[n, c, old_y, old_x]) if inside else fill[c]
                    from_top, from_left = y - (int(centre_y[n]) - side // 2), x - (int(centre_x[n]) - side // 2)
                    if 0 <= from_top < side and 0 <= from_left < side:
                        value = fill[c]
                    result[n, c, y, x] = value
    return result


@given(
    pad=st.integers(0, 3),
    flip=st.booleans(),
    cutout=st.integers(0, 12),
    channels=st.sampled_from([1, 3]),
    one_fill=st.booleans(),
    last=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_equals_the_literal_version(
    pad: int, flip: bool, cutout: int, channels: int, one_fill: bool, last: bool, seed: int
) -> None:
    images = make_images(channels=channels, seed=seed, count=4)
    if last:
        images = images.contiguous(memory_format=torch.channels_last)
    fill = (250,) if one_fill else (250, 251, 252)[:channels]
    augmentation = Augmentation(pad=pad, flip=flip, cutout=cutout, fill=fill)
    before = images.clone()
    result = augment(images, augmentation, torch.Generator().manual_seed(seed))
    assert torch.equal(result, slow_augment(images, augmentation, seed))
    assert torch.equal(images, before)
    assert result.dtype == torch.uint8


def test_all_off_changes_nothing_and_draws_nothing() -> None:
    images = make_images()
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    assert torch.equal(augment(images, Augmentation(0, False, 0), generator), images)
    assert torch.equal(generator.get_state(), state)


def test_every_shift_and_both_sides_occur() -> None:
    image = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
    image[0, 0, 2, 2], image[0, 0, 2, 3] = 1, 2
    many = augment(image.expand(4000, 1, 5, 5), Augmentation(pad=2, fill=(9,)), torch.Generator().manual_seed(0))
    assert len(torch.unique(many.reshape(4000, -1), dim=0)) == 50


def test_the_result_is_channels_last() -> None:
    images = make_images().contiguous(memory_format=torch.channels_last)
    result = augment(images, Augmentation(pad=2, cutout=3), torch.Generator().manual_seed(0))
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_wrong_values_are_refused() -> None:
    for wrong in ({"pad": -1}, {"cutout": -1}, {"fill": (256,)}, {"fill": ()}):
        with pytest.raises(ConfigError, match="no such augmentation"):
            Augmentation(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="fill has 3 values, the images have 1 channels"):
        augment(make_images(channels=1), Augmentation(fill=(1, 2, 3)), torch.Generator())


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("digits", (16, 16, 1), Augmentation(2, False)),
        ("fashion-mnist", (28, 28, 1), Augmentation(3, True)),
        ("cifar10", (32, 32, 3), Augmentation(4, True)),
        ("x/letters.npz", (28, 28, 1), Augmentation(3, False)),
        ("x/CIFAR.NPZ", (32, 32, 3), Augmentation(4, True)),
        ("photos", (224, 160, 3), Augmentation(20, True)),
    ],
)
def test_defaults_suit_the_data(name: str, shape: tuple[int, int, int], expected: Augmentation) -> None:
    empty = hold(np.empty((0, *shape), np.uint8), np.empty(0, int))
    assert default_augmentation(Dataset(name, ("a", "b"), shape, empty, empty, empty)) == expected


def test_shrunk_images_keep_their_means_and_channels() -> None:
    halves = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    halves[:, :, :, 4:] = 200
    small = shrink(halves, (4, 4))
    assert small.shape == (2, 3, 4, 4)
    assert small.dtype == torch.float32
    assert torch.allclose(small.mean((2, 3)), torch.full((2, 3), 100.0))
    noise = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    assert shrink(noise, (16, 16)).std() < 0.6 * noise.float().std()  # antialiased: not every other pixel
    assert shrink(noise, (32, 32)) is noise
