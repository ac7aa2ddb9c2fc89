"""Batch normalizations folded into convolutions: the same values, and what cannot be shown to be safe stays."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from msd_edge.converters.rewrites import cut_copy
from msd_edge.converters.rewrites.equalize import equalize_concatenations
from msd_edge.converters.rewrites.fold import fold_batch_norms
from msd_edge.models.build import NetworkConfig, build_network
from msd_edge.models.network import Branch, GlobalPool, MultiExitNetwork, Normalize
from msd_edge.segments import cut

SHAPE = (3, 16, 16)


def network_of(*trunk: nn.Module) -> MultiExitNetwork:
    branch = Branch(nn.Identity(), GlobalPool(), 8, 5)
    network = MultiExitNetwork(Normalize((120.0,), (64.0,)), [nn.Sequential(*trunk)], [branch], ("a",), SHAPE)
    return trained(network)


def trained(network: MultiExitNetwork) -> MultiExitNetwork:
    """BatchNorms have statistics, scales and shifts of their own."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.normal_(module.bias)
    with torch.no_grad():
        for _ in range(5):
            network.train()(images(32, network.image_shape))
    return network.eval()


def images(count: int, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(0)).float()


def logits_of(network: nn.Module, given: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack(network(given), 1)


def norms_in(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


class Shared(nn.Module):
    """One convolution, called twice, with a BatchNorm behind each call."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.one, self.two = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.two(self.layer(self.one(self.layer(x))))
        return result


class Skipped(nn.Module):
    """What the convolution gives is used without its BatchNorm as well."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        made = self.layer(x)
        result: Tensor = made + self.norm(made)
        return result


class Named(nn.Module):
    """Its BatchNorm has two names, and is called by the second."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)
        self.also = self.norm

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.also(self.layer(x))
        return result


class Listed(nn.Module):
    """What it calls stands in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)
        self.steps = [self.layer, self.norm]

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x


class Functional(nn.Module):
    """No module computes it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(F.conv2d(x, self.layer.weight))
        return result


def hooked() -> nn.Module:
    layer = nn.Conv2d(3, 8, 1)
    layer.register_forward_hook(lambda module, given, made: made * 2)
    return layer


def test_a_network_computes_the_same_without_batch_norms() -> None:
    torch.manual_seed(0)
    network = network_of(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
                         nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8, affine=False))  # fmt: skip
    before = copy.deepcopy(network.state_dict())
    (segment,) = cut_copy(network)
    assert norms_in(segment) == 0
    given = images(8)
    torch.testing.assert_close(torch.stack(segment(given), 1), logits_of(network, given), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("trunk", "folded"),
    [
        pytest.param(lambda: [nn.Conv2d(3, 8, 1), Shared()], 0, id="a layer of two calls"),
        pytest.param(lambda: [Skipped()], 0, id="another user"),
        pytest.param(lambda: [Functional()], 0, id="no module's call"),
        pytest.param(lambda: [weight_norm(nn.Conv2d(3, 8, 1)), nn.BatchNorm2d(8)], 0, id="computed weights"),
        pytest.param(lambda: [hooked(), nn.BatchNorm2d(8)], 0, id="a hook"),
        pytest.param(lambda: [nn.Conv2d(3, 8, 1), nn.ReLU(), nn.BatchNorm2d(8)], 0, id="a ReLU between them"),
        pytest.param(lambda: [nn.ConvTranspose2d(3, 8, 1), nn.BatchNorm2d(8)], 0, id="transposed"),
        pytest.param(lambda: [nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.BatchNorm2d(8)], 1, id="two in a row"),
    ],
)
def test_what_cannot_be_shown_to_be_safe_stays(trunk: Callable[[], list[nn.Module]], folded: int) -> None:
    torch.manual_seed(0)
    network = network_of(*trunk())
    given = images(8)
    expected, norms = logits_of(network, given), norms_in(network)
    assert fold_batch_norms(network) == folded
    assert norms_in(network) == norms - folded
    torch.testing.assert_close(logits_of(network, given), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trunk", [Named, Listed])
def test_whoever_holds_a_folded_one_calls_nothing(trunk: Callable[[], nn.Module]) -> None:
    network = network_of(trunk())
    given = images(4)
    expected = logits_of(network, given)
    assert fold_batch_norms(network) == 1
    torch.testing.assert_close(logits_of(network, given), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("arch", "left"),
    [("resnet8", 0), ("preresnet8", None), ("mobilenetv2", 0), ("shufflenetv2-0.5", 0), ("densenet-bc-10-12", None)],
)
def test_families_compute_the_same(arch: str, left: int | None) -> None:
    torch.manual_seed(0)
    shape = (3, 32, 32)
    config = NetworkConfig(arch=arch, width=8, exits=2, classes=5, image_shape=shape, mean=(120.0,), std=(64.0,))
    network = trained(build_network(config))
    given = images(8, shape)
    expected = logits_of(network, given)
    assert fold_batch_norms(network) > 0
    if left is not None:
        assert norms_in(network) == left
    torch.testing.assert_close(logits_of(network, given), expected, rtol=1e-3, atol=1e-4)


def test_one_run_tells_what_to_equalize_and_what_to_fold() -> None:
    torch.manual_seed(0)
    config = NetworkConfig(
        arch="densenet-bc-10-12", exits=2, classes=5, image_shape=(3, 32, 32), mean=(120.0,), std=(64.0,)
    )  # fmt: skip
    network = trained(build_network(config))
    apart = copy.deepcopy(network)
    assert equalize_concatenations(apart) > 0
    assert fold_batch_norms(apart) > 0
    for own, other in zip(cut_copy(network), cut(apart), strict=True):
        assert own.state_dict().keys() == other.state_dict().keys()
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in own.state_dict().items())
