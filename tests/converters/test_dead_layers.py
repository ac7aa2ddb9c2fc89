"""Layers that give nothing but zeros on the calibration images: int8 files load, and compute what the network does."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msd_edge.bundle.manifest import Target
from msd_edge.converters.base import ignore
from msd_edge.converters.proof import open_chain, run_chain, to_logits
from msd_edge.converters.tflite.dead import widen_dead
from msd_edge.converters.tflite.flatbuffer import read
from msd_edge.converters.variants import open_converter
from msd_edge.models.network import Branch, GlobalPool, MultiExitNetwork, Normalize

WIDTH, SIDE, CLASSES = 8, 8, 4


class DeadPath(nn.Module):
    """A path that is dead after its activation, as in squeeze-and-excitation, beside one that lives."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(WIDTH, 4, 1), nn.Conv2d(4, WIDTH, 1)
        self.activation = activation
        nn.init.constant_(self.reduce.bias, -50.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        gate = self.expand(self.activation(self.reduce(x.mean((2, 3), keepdim=True))))
        return torch.relu(x * torch.sigmoid(gate) + self.expand(self.activation(self.reduce(x))))


def build(activation: Callable[[Tensor], Tensor]) -> MultiExitNetwork:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, WIDTH, 3, 1, 1), nn.ReLU(), DeadPath(activation))
    branch = Branch(nn.Identity(), GlobalPool(), WIDTH, CLASSES)
    return MultiExitNetwork(Normalize((121.0,), (64.0,)), [trunk], [branch], ("a",), (3, SIDE, SIDE)).eval()


def draw_images() -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (32, SIDE, SIDE, 3)).astype(np.uint8)
    return images


@pytest.mark.parametrize("activation", [torch.relu, nn.functional.hardswish], ids=["relu", "hard-swish"])
@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_a_dead_layer_converts(target: Target, activation: Callable[[Tensor], Tensor]) -> None:
    network, images = build(activation), draw_images()
    variant = open_converter(target).prepare(network, ignore).variant("int8", images)
    raw = run_chain(open_chain(variant.segments, target, 1), variant.segments, images, lambda: None)
    found = to_logits(raw, [variant.segments[0].logits])[:, 0]
    with torch.no_grad():
        expected = network(torch.from_numpy(images).permute(0, 3, 1, 2).float())[0].numpy()
    assert np.abs(found - expected).max() < 0.04 * np.ptp(expected)


def test_ranges_of_what_lives_stay_as_measured() -> None:
    from msd_edge.converters.tflite.floats import FloatSegments
    from msd_edge.converters.tflite.ranges import observe

    network = build(lambda x: torch.relu(x + 60))
    files = FloatSegments(network).files("int8", ignore)
    (ranges,) = observe(files, draw_images())
    assert widen_dead(read(files[0]), ranges) == ranges
    dead = {name: (0.0, 0.0) for name in ranges if name.endswith("reduce")}
    assert all(high > 0 for name, (_, high) in widen_dead(read(files[0]), ranges | dead).items() if name in dead)
