"""Maps that a segment only passes on: the same values behind it, in every target and precision."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from msd_edge.bundle.manifest import Target
from msd_edge.converters.proof import ProofSet
from msd_edge.converters.prove import Prover
from msd_edge.converters.reference import run_network
from msd_edge.converters.variants import open_converter
from msd_edge.errors import ExportError
from msd_edge.models.network import Branch, GlobalPool, MultiExitNetwork, Normalize
from msd_edge.runtime.open import open_session

IMAGES = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), dtype=np.uint8)


def conv(taken: int, given: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(taken, given, 3, padding=1), nn.ReLU())


class Fork(nn.Module):
    """Gives what it takes, and a map made of it."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.made = conv(taken, given)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, self.made(x)


class Keep(nn.Module):
    """Goes on with the second map and passes the first on."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.made = conv(taken, given)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x, self.made(y)


class Twice(nn.Module):
    """Gives one map under two names."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Join(nn.Module):
    """Takes both maps."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.made = conv(taken, given)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        made: Tensor = self.made(torch.cat([x, y], 1))
        return made


class Second(nn.Module):
    """Takes both maps and has no use for the first."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.relu(y)


NETWORKS: dict[str, Callable[[], list[nn.Module]]] = {
    "earlier": lambda: [conv(3, 4), Fork(4, 6), Keep(6, 4), Join(8, 4)],
    "image": lambda: [Fork(3, 4), Keep(4, 4), Join(7, 4)],
    "whole": lambda: [conv(3, 4), nn.Identity(), conv(4, 4)],
    "twice": lambda: [conv(3, 4), Twice(), Join(8, 4)],
    "useless": lambda: [conv(3, 4), Fork(4, 4), Second()],
}
WHOLE = [name for name in NETWORKS if name != "useless"]


def build(name: str, mean: tuple[float, ...] = (121.0,)) -> MultiExitNetwork:
    torch.manual_seed(0)
    pieces = NETWORKS[name]()
    state: tuple[Tensor, ...] = (torch.zeros(1, 3, 8, 8),)
    branches = []
    for piece in pieces:
        made = piece(*state)
        state = made if isinstance(made, tuple) else (made,)
        branches.append(Branch(nn.Sequential(), GlobalPool(), state[-1].shape[1], 3))
    places = [str(place) for place in range(len(pieces))]
    return MultiExitNetwork(Normalize(mean, (64.0,) * len(mean)), pieces, branches, places, (3, 8, 8)).eval()


def check(network: MultiExitNetwork, target: Target) -> None:
    proof = ProofSet(IMAGES, np.zeros(len(IMAGES), np.int64), run_network(network, IMAGES))
    prepared = open_converter(target).prepare(network, lambda _: None)
    for precision in ("float32", "int8"):
        # The prover runs chain, stand-alone exits and signatures, and holds them against the network.
        made = Prover(proof, "0" * 64, 100, fallback=False).prove(prepared, precision, IMAGES, lambda _: None).variant
        assert len(made.segments) == network.exits
        for before, after in pairwise(made.segments):
            assert [(t.shape, t.scale, t.zero_point) for t in before.features] == [
                (t.shape, t.scale, t.zero_point) for t in after.inputs
            ]


@pytest.mark.parametrize("mean", [(121.0,), (121.0, 120.0, 110.0)])
@pytest.mark.parametrize("name", WHOLE)
def test_onnx(name: str, mean: tuple[float, ...]) -> None:
    check(build(name, mean), "onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_tflite(name: str) -> None:
    check(build(name), "tflite")


def test_onnx_int8_gives_the_bytes_that_it_took() -> None:
    prepared = open_converter("onnx").prepare(build("earlier"), lambda _: None)
    made = prepared.variant("int8", IMAGES)
    third = made.segments[2]
    session = open_session(third.data, "onnx")
    rng = np.random.default_rng(1)
    taken = {spec.name: rng.integers(0, 256, spec.shape, dtype=np.uint8) for spec in third.inputs}
    given = session.run(taken)
    np.testing.assert_array_equal(given["features_1_out"], taken["features_1"])
    assert onnx.load_model_from_string(third.data).graph.output[1].name == "features_1_out"


@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_a_map_that_nobody_takes_is_refused_before_anything_is_converted(target: Target) -> None:
    network = build("useless")
    steps: list[str] = []
    with pytest.raises(ExportError, match="segment 3 has no use for features_1, which segment 2 hands on to it"):
        open_converter(target).prepare(network, steps.append)
    assert not any("segment 1" in step for step in steps)
