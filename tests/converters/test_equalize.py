"""Equalized concatenations: the same network, with room for every channel in int8, and nothing else touched."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msd_edge.converters.proof import open_chain, run_chain, to_logits
from msd_edge.converters.rewrites.equalize import equalize_concatenations
from msd_edge.converters.variants import open_converter
from msd_edge.models.build import NetworkConfig, build_network
from msd_edge.models.network import Branch, GlobalPool, MultiExitNetwork, Normalize

SHAPE = (3, 16, 16)


class Joined(nn.Module):
    """Two layers side by side, the second 400 times larger, and what follows them."""

    def __init__(self, after: nn.Module, *, shared: bool = False) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(3, 4, 3, 1, 1)
        if shared:
            self.two = self.one
        self.after = after
        with torch.no_grad():
            self.two.weight.mul_(1 if shared else 400)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([F.relu(self.one(x)), F.max_pool2d(self.two(x), 3, 1, 1)], 1)
        result: Tensor = self.after(joined)
        return result


def network_of(trunk: nn.Module, features: int = 8) -> MultiExitNetwork:
    branch = Branch(nn.Identity(), GlobalPool(), features, 5)
    network = MultiExitNetwork(Normalize((120.0,), (64.0,)), [trunk], [branch], ("a",), SHAPE)
    images = torch.randint(0, 256, (64, *SHAPE), generator=torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        for _ in range(40):  # BatchNorm learns its statistics
            network.train()(images)
    return network.eval()


def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack(network(images), 1)


def images_of(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


def to_tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


def test_a_concatenation_before_batch_norm_computes_the_same() -> None:
    torch.manual_seed(0)
    after = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1))
    network = network_of(Joined(after))
    own = copy.deepcopy(network)
    assert equalize_concatenations(own) == 8
    images = to_tensor(images_of(4))
    torch.testing.assert_close(logits_of(own, images), logits_of(network, images), rtol=1e-4, atol=1e-5)
    trunk = own.trunk[0]
    assert isinstance(trunk, Joined)
    joined = torch.cat([F.relu(trunk.one(own.normalize(images))), trunk.two(own.normalize(images))], 1)
    reach = joined.abs().amax((0, 2, 3))
    assert reach.max() < 6 * reach.min()  # 400 times and more before
    assert equalize_concatenations(own) == 8  # once more changes little
    torch.testing.assert_close(logits_of(own, images), logits_of(network, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(lambda: network_of(Joined(nn.Conv2d(8, 8, 1))), id="a convolution takes it"),
        pytest.param(lambda: network_of(Joined(nn.Identity())), id="the classifier takes it"),
        pytest.param(lambda: network_of(Joined(nn.BatchNorm2d(8, affine=False))), id="no weights"),
        pytest.param(lambda: network_of(Joined(nn.Sequential(nn.ReLU6(), nn.BatchNorm2d(8)))), id="it is cut off"),
        pytest.param(lambda: network_of(Joined(nn.BatchNorm2d(8), shared=True)), id="one layer for both parts"),
    ],
)  # fmt: skip
def test_what_others_use_stays_as_it_is(network) -> None:
    torch.manual_seed(0)
    built = network()
    before = {name: value.clone() for name, value in built.state_dict().items()}
    assert equalize_concatenations(built) == 0
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())


@pytest.mark.parametrize("arch", ["resnet8", "preresnet8", "mobilenetv2", "shufflenetv2-0.5", "densenet-bc-10-12"])
def test_families_compute_the_same(arch: str) -> None:
    torch.manual_seed(0)
    config = NetworkConfig(
        arch=arch, width=8, exits=2, classes=5, image_shape=(3, 32, 32), mean=(120.0,), std=(64.0,)
    )  # fmt: skip
    network = build_network(config)
    images = torch.randint(0, 256, (16, 3, 32, 32)).float()
    with torch.no_grad():
        for _ in range(5):
            network.train()(images)
    network.eval()
    own = copy.deepcopy(network)
    assert (equalize_concatenations(own) > 0) == (arch == "densenet-bc-10-12")
    torch.testing.assert_close(logits_of(own, images), logits_of(network, images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_int8_loses_less(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    after = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
    network = network_of(Joined(after))
    images = images_of(48)
    reference = logits_of(network, to_tensor(images)).numpy()

    def error() -> float:
        variant = open_converter(target).prepare(network, lambda _: None).variant("int8", images)
        raw = run_chain(open_chain(variant.segments, target, 1), variant.segments, images, lambda: None)
        found = to_logits(raw, [file.logits for file in variant.segments])
        return float(np.abs(found - reference).mean())

    equalized = error()
    monkeypatch.setattr("msd_edge.converters.rewrites.chain.equalize_concatenations", lambda *_: 0)
    assert equalized < 0.6 * error()
