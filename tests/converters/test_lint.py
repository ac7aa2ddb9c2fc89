"""Said before training: what int8 kernels will not take, each kind once with its module, and nothing that they take."""

import torch
import torch.nn.functional as F
from torch import nn

import msd_edge
from msd_edge.converters.lint import find_untaken
from msd_edge.models.build import NetworkConfig, build_network


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.GELU())
        self.two = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.GELU(), nn.PReLU(), nn.LeakyReLU())
        self.three = nn.Sequential(Many(6), Many(7))
        self.fc = nn.Linear(28, 5)

    def forward(self, x):
        return self.fc(F.adaptive_avg_pool2d(self.three(self.two(self.one(x))), 1).flatten(1))


class Many(nn.Module):
    """A convolution's map so many times over."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4 if times == 6 else 24, 4, 3, 2, 1)
        self.times = times

    def forward(self, x):
        return torch.cat([self.conv(x)] * self.times, 1)


def test_each_kind_is_named_once_with_its_module():
    network = msd_edge.add_exits(Odd(), ["two"], classes=5, image_shape=(3, 16, 16), branch="pooled").train()
    found = find_untaken(network)
    assert network.training
    assert [(one.module, one.count) for one in found] == [
        ("trunk.0.0.one.1", 2),
        ("trunk.0.1.two.2", 1),
        ("trunk.1.0", 2),
    ]
    assert "GELU" in found[0].why
    assert "PReLU" in found[1].why
    assert "a concatenation of more than 5" in found[2].why


def test_what_the_kernels_take_is_not_listed():
    for arch in ("resnet8", "mobilenetv3-small", "airbench"):
        config = NetworkConfig(arch=arch, width=8, classes=3, image_shape=(3, 32, 32), mean=(1.0,), std=(1.0,))
        assert not find_untaken(build_network(config)), arch
