"""Parameters and multiply-adds against published figures; values against torchvision's own networks."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn

from msd_edge.models.build import ExitCost, NetworkConfig, build_network, measure_costs
from msd_edge.models.network import MultiExitNetwork

LEAVES = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)


def single(arch: str, classes: int, height: int, width: int) -> MultiExitNetwork:
    shape = (3, height, width)
    config = NetworkConfig(arch=arch, exits=1, classes=classes, image_shape=shape, mean=(0.0,), std=(1.0,))
    return build_network(config)


def cost(arch: str, classes: int, side: int) -> ExitCost:
    with torch.device("meta"):
        network = single(arch, classes, side, side)
    return measure_costs(network)[-1]


# Millions of parameters and of multiply-adds for 224x224 images and 1,000 classes, as papers and the authors' own
# repositories print them; None: not printed.
PUBLISHED_224 = {
    "resnext50-32x4d": (25.0, 4200),
    "seresnet50": (28.1, 4100),
    "densenet121": (7.98, None),
    "mobilenetv1": (4.2, 569),
    "mobilenetv1-0.5": (1.3, 149),
    "mobilenetv2": (3.5, 300),
    "mobilenetv3-small": (2.54, 56.5),
    "mobilenetv3-large": (5.48, 217),
    "efficientnet-b0": (5.29, 390),
    "efficientnet-lite0": (4.65, 385),
    "shufflenetv2-0.5": (1.4, 41),
    "shufflenetv2-1.0": (2.3, 146),
    "shufflenetv2-2.0": (7.4, 591),
    "regnetx-200mf": (2.7, 200),
    "regnetx-400mf": (5.2, 400),
    "regnetx-800mf": (7.3, 800),
    "regnety-200mf": (3.2, 200),
    "regnety-400mf": (4.3, 400),
    "regnety-800mf": (6.3, 800),
}
# Millions of parameters for CIFAR-10.
PUBLISHED_32 = {
    "preresnet18": 11.17,
    "wrn-16-4": 2.7,
    "wrn-28-10": 36.5,
    "resnext29-8x64d": 34.4,
    "resnext29-2x64d": 9.13,
    "densenet-bc-100-12": 0.8,
    "vgg16": 14.72,
    "mobilenetv2": 2.24,
}


@pytest.mark.parametrize("arch", PUBLISHED_224)
def test_parameters_and_multiply_adds_as_published(arch: str) -> None:
    parameters, macs = PUBLISHED_224[arch]
    found = cost(arch, 1000, 224)
    assert found.parameters / 1e6 == pytest.approx(parameters, rel=0.015, abs=0.05)
    if macs is not None:
        assert found.macs / 1e6 == pytest.approx(macs, rel=0.03)


@pytest.mark.parametrize("arch", PUBLISHED_32)
def test_parameters_of_the_cifar_networks_as_published(arch: str) -> None:
    assert cost(arch, 10, 32).parameters / 1e6 == pytest.approx(PUBLISHED_32[arch], rel=0.01, abs=0.05)


def in_order(network: nn.Module, images: torch.Tensor) -> list[nn.Module]:
    """The layers that have weights, as they run."""
    ran: list[nn.Module] = []
    hooks = [
        module.register_forward_hook(lambda layer, _given, _made: ran.append(layer))
        for module in network.modules()
        if isinstance(module, LEAVES)
    ]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return ran


def key(layer: nn.Module) -> tuple[object, ...]:
    if isinstance(layer, nn.Conv2d):
        return (layer.weight.shape, layer.stride, layer.groups)
    return (type(layer), *(p.shape for p in layer.parameters()))


def transplant(source: nn.Module, target: nn.Module, images: torch.Tensor) -> None:
    """Give ``target`` the weights of ``source``, layer by layer in the order they run in.

    A shortcut may run before or behind the block that it goes round: a layer that does not fit waits for its place, and
    what comes behind a layer there comes behind it here.
    """
    others = in_order(source, images)
    waiting = list(range(len(others)))
    following = 0
    for layer in in_order(target, images):
        fitting = [place for place in waiting if key(others[place]) == key(layer)]
        place = following if following in fitting else fitting[0]
        waiting.remove(place)
        following = place + 1
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = others[place].eps
        state = others[place].state_dict()
        layer.load_state_dict({name: state[name] for name in layer.state_dict()})
    assert not waiting


def randomize(network: nn.Module) -> None:
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in")


TORCHVISION: dict[str, Callable[..., nn.Module]] = {
    "resnext50-32x4d": torchvision.models.resnext50_32x4d,
    "densenet121": torchvision.models.densenet121,
    "mobilenetv2": torchvision.models.mobilenet_v2,
    "mobilenetv3-small": torchvision.models.mobilenet_v3_small,
    "efficientnet-b0": torchvision.models.efficientnet_b0,
    "regnetx-800mf": torchvision.models.regnet_x_800mf,
    "regnety-400mf": torchvision.models.regnet_y_400mf,
}


@pytest.mark.parametrize("arch", TORCHVISION)
def test_values_are_those_of_torchvision_with_the_same_weights(arch: str) -> None:
    theirs = TORCHVISION[arch](num_classes=7).eval()
    ours = single(arch, 7, 160, 129).eval()
    randomize(theirs)
    images = torch.rand(1, 3, 160, 129)
    transplant(theirs, ours, images)
    with torch.no_grad():
        expected, found = theirs(images), ours(images)[0]
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


def test_the_multiply_adds_that_a_densenet_saves_are_those_of_its_transitions() -> None:
    """Torchvision's DenseNet-121 has 2,834,161,664; three quarters of each transition's convolution fall away."""
    saved = 3 / 4 * sum(channels * channels // 2 * side**2 for channels, side in ((256, 56), (512, 28), (1024, 14)))
    assert cost("densenet121", 1000, 224).macs == 2_834_161_664 - saved


@pytest.mark.parametrize(
    ("arch", "theirs"),
    [
        ("shufflenetv2-1.0", torchvision.models.shufflenet_v2_x1_0),
        ("shufflenetv2-0.5", torchvision.models.shufflenet_v2_x0_5),
        ("efficientnet-b1", torchvision.models.efficientnet_b1),
        ("efficientnet-b2", torchvision.models.efficientnet_b2),
    ],
)
def test_parameters_are_those_of_torchvision(arch: str, theirs: Callable[[], nn.Module]) -> None:
    with torch.device("meta"):
        assert cost(arch, 1000, 224).parameters == sum(p.numel() for p in theirs().parameters())


def test_a_vgg_has_torchvisions_convolutions() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.vgg11_bn().features
    biases = sum(m.bias.numel() for m in theirs if isinstance(m, nn.Conv2d) and m.bias is not None)
    convolutions = sum(p.numel() for p in theirs.parameters()) - biases
    assert cost("vgg11", 1000, 224).parameters == convolutions + 512 * 1000 + 1000
