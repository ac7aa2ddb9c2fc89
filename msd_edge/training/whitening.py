"""A first layer that begins with what the images are made of, instead of noise."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from msd_edge.data.dataset import ImageSet
from msd_edge.data.select import lowest_hashes
from msd_edge.errors import ConfigError
from msd_edge.models.network import Normalize

_MOST_IMAGES = 2000
_MOST_PATCHES = 1 << 22
_AT_ONCE = 1 << 25  # values in memory
_LEAST_VARIANCE = 5e-4  # of normalized pixels: what varies less is noise, and is not made louder


def first_convolutions(network: nn.Module, image_shape: tuple[int, int, int]) -> list[nn.Conv2d]:
    """Return the convolutions that see the images themselves, all channels of them.

    Args:
        network: takes raw pixels (batch, C, H, W) and normalizes them; is run once in evaluation mode.
        image_shape: (channels, height, width).
    """
    channels = image_shape[0]
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1, *image_shape), generator=generator).float()
    images = images.to(next(network.parameters()).device)
    found: list[nn.Conv2d] = []
    normalized: list[Tensor] = []

    def note_output(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        normalized.append(output)

    def note_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.Conv2d)
        if module.in_channels == channels and module.groups == 1 and normalized:
            seen, whole = inputs[0], normalized[-1]
            if seen.shape == whole.shape and torch.equal(seen, whole):
                found.append(module)

    hooks = [m.register_forward_hook(note_output) for m in network.modules() if isinstance(m, Normalize)]
    hooks += [m.register_forward_pre_hook(note_input) for m in network.modules() if isinstance(m, nn.Conv2d)]
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(images)
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return found


def patch_sides(convolution: nn.Conv2d) -> tuple[int, int]:
    """Return height and width of what one output of a convolution sees."""
    height, width = (d * (k - 1) + 1 for k, d in zip(convolution.kernel_size, convolution.dilation, strict=True))
    return height, width


@torch.no_grad()
def whiten_first(network: nn.Module, split: ImageSet, image_shape: tuple[int, int, int]) -> None:
    """Begin the first convolution with the directions in which patches of the training images vary.

    Filters are pairs of an eigenvector of the patches' covariance and its negative, both over the root of the
    eigenvalue, largest first (Jordan 2024, arXiv 2404.00498, section 3.2); filters beyond twice the values of a patch
    keep the weights they have. They are trained like all others.

    Args:
        network: with fresh weights; takes raw pixels, and no image is smaller than a patch.
        split: the training images; 2,000 at most are read, those with the lowest hashes.
        image_shape: (channels, height, width).

    Raises:
        ConfigError: no convolution sees the images themselves.
    """
    convolutions = first_convolutions(network, image_shape)
    if not convolutions:
        raise ConfigError("--whiten: no convolution of this network sees the images themselves; leave it out.")
    normalize = next(module for module in network.modules() if isinstance(module, Normalize))
    for convolution in convolutions:
        variances, directions = _decompose(_measure_covariance(convolution, normalize, split, image_shape[1:]))
        pairs = min(len(variances), convolution.out_channels // 2)
        filters = directions[:pairs] / (variances[:pairs, None] + _LEAST_VARIANCE).sqrt()
        shape = convolution.weight.shape[1:]
        both = torch.stack([filters, -filters], 1).reshape(2 * pairs, *shape)
        convolution.weight[: 2 * pairs] = both.to(convolution.weight)


def _measure_covariance(
    convolution: nn.Conv2d, normalize: Normalize, split: ImageSet, sides: tuple[int, int]
) -> Tensor:
    """Return the covariance (values, values) of the patches that a convolution sees, without those at the edges."""
    kernel, stride, dilation = convolution.kernel_size, convolution.stride, convolution.dilation
    values = convolution.weight[0].numel()
    along = zip(sides, patch_sides(convolution), stride, strict=True)
    positions = math.prod((side - patch) // s + 1 for side, patch, s in along)
    count = min(_MOST_IMAGES, max(1, _MOST_PATCHES // positions))
    chosen = lowest_hashes(split, count)
    piece = max(1, _AT_ONCE // (positions * values))
    device = normalize.mean.device
    total = torch.zeros(values, dtype=torch.float64)
    products = torch.zeros(values, values, dtype=torch.float64)
    seen = 0
    for start in range(0, len(chosen), piece):
        pixels = torch.from_numpy(split.read(chosen[start : start + piece])).to(device)
        images = normalize(pixels.permute(0, 3, 1, 2).float())
        patches = functional.unfold(images, kernel, dilation, 0, stride).permute(0, 2, 1).reshape(-1, values).double()
        total += patches.sum(0).cpu()
        products += (patches.T @ patches).cpu()
        seen += len(patches)
    mean = total / seen
    return products / seen - torch.outer(mean, mean)


def _decompose(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return variances (values,), largest first, and their directions as rows, the largest part of each positive."""
    variances, columns = torch.linalg.eigh(covariance)
    directions = columns.T.flip(0)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return variances.flip(0).clamp(min=0), directions * largest.sign()
