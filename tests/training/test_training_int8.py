"""Fine-tuning in int8 arithmetic: what is rounded, how near it comes to the files, and what a run keeps."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from msd_edge.converters.proof import open_chain, run_chain, to_logits
from msd_edge.converters.variants import open_converter
from msd_edge.models.build import NetworkConfig, build_network
from msd_edge.training.distributed import World
from msd_edge.training.int8 import Int8Arithmetic, round_activation, round_weight


def quantized(module: nn.Module, *inputs: Tensor) -> Tensor:
    with Int8Arithmetic():
        result = module(*inputs)
    assert isinstance(result, Tensor)
    return result


@pytest.mark.parametrize(("low", "high"), [(-3.0, 5.0), (0.0, 6.0), (-2.0, -1.0), (0.0, 0.0)])
def test_an_activation_has_256_steps_with_zero_among_them(low: float, high: float) -> None:
    given = torch.linspace(low, high, 1000, requires_grad=True)
    found = round_activation(given)
    step = (max(high, 0) - min(low, 0)) / 255
    assert len(found.unique()) <= 256
    assert (found - given).abs().max() <= step / 2 + 1e-6
    assert (round_activation(torch.cat([given, torch.zeros(1)]))[-1] == 0).item()
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert given.grad is not None
    assert given.grad.mean() > 0.99


def test_parts_of_a_batch_in_several_processes_share_a_range() -> None:
    parts = [torch.randn(3, 4), 5 * torch.randn(2, 4), torch.zeros(0, 4)]

    class Others(World):
        def gather_rows(self, values: Tensor) -> Tensor:
            own = [torch.stack([part.min().clamp(max=0), -part.max().clamp(min=0)]) for part in parts[:2]]
            return torch.stack([*own, values])

    whole = round_activation(torch.cat(parts))
    found = [round_activation(part, Others()) for part in parts]
    assert torch.equal(torch.cat(found), whole)


def test_weights_have_a_scale_for_each_channel() -> None:
    weight = torch.stack([torch.linspace(-1, 1, 50), torch.linspace(-100, 100, 50), torch.zeros(50)])
    found = round_weight(weight)
    assert ((found - weight).abs().amax(1) <= torch.tensor([1, 100, 0]) / 254 + 1e-6).all()
    assert found[1].abs().max() == 100


def test_batch_norm_and_relu_merge_into_the_layer() -> None:
    torch.manual_seed(0)
    layer, norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4).eval()
    assert norm.running_mean is not None
    nn.init.normal_(norm.running_mean)
    images = torch.randint(0, 256, (2, 3, 8, 8)).float()
    ahead = nn.Conv2d(4, 5, 1)
    found = quantized(nn.Sequential(layer, norm, nn.ReLU(), ahead), images)
    inside = functional.relu(norm(functional.conv2d(images, round_weight(layer.weight))))
    expected = functional.conv2d(round_activation(inside), round_weight(ahead.weight), ahead.bias)
    assert torch.equal(found, expected)


def test_a_sum_rounds_what_it_takes_and_what_it_gives_also_in_place() -> None:
    torch.manual_seed(0)
    one, two, ahead = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
    images = torch.randint(0, 256, (2, 3, 4, 4)).float()

    class Sum(nn.Module):
        def __init__(self, kind: str) -> None:
            super().__init__()
            self.kind = kind

        def forward(self, x: Tensor) -> Tensor:
            a, b = one(x), two(x)
            if self.kind == "named":
                a.add_(b)
            elif self.kind == "augmented":
                a += b
            else:
                a = a + b
            result: Tensor = ahead(functional.relu_(a))
            return result

    parts = [
        round_activation(functional.conv2d(images, round_weight(layer.weight), layer.bias)) for layer in (one, two)
    ]
    inside = round_activation(functional.relu(parts[0] + parts[1]))
    expected = functional.conv2d(inside, round_weight(ahead.weight), ahead.bias)
    for kind in ("plain", "named", "augmented"):
        found = quantized(Sum(kind), images)
        assert torch.equal(found, expected), kind
        found.sum().backward()  # type: ignore[no-untyped-call]
        assert one.weight.grad is not None
        assert one.weight.grad.abs().sum() > 0
        one.zero_grad()


def test_pixels_and_what_is_made_of_them_stay_exact() -> None:
    images = torch.randint(0, 256, (1, 3, 4, 4)).float()
    assert torch.equal(quantized(nn.ReLU(), images), images)

    class Scale(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x - 121.3) / 64.7

    assert torch.equal(quantized(Scale(), images), Scale()(images))


def stretch_a_channel(network: nn.Module, factor: float) -> None:
    """Let one channel behind the first layer be so much larger, and its weights in the next so much smaller.

    The network computes the same, and int8 has a few steps left for all other channels.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    with torch.no_grad():
        norm.weight[0] *= factor
        norm.bias[0] *= factor
        layers[1].weight[:, 0] /= factor


@pytest.mark.slow
def test_what_int8_files_lose_is_foreseen() -> None:
    torch.manual_seed(0)
    config = NetworkConfig(
        arch="vgg11", width=8, exits=2, classes=5, image_shape=(3, 32, 32), mean=(120.0,), std=(64.0,)
    )
    network = build_network(config)
    images = np.random.default_rng(0).integers(0, 256, (48, 32, 32, 3), dtype=np.uint8)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        for _ in range(20):
            network.train()(pixels)
        network.eval()
        stretch_a_channel(network, 60)
        plain = torch.stack(network(pixels), 1).numpy()
        with Int8Arithmetic():
            logits = network(pixels)
        foreseen = torch.stack(logits, 1).numpy()
    variant = open_converter("tflite").prepare(network, lambda _: None).variant("int8", images)
    raw = run_chain(open_chain(variant.segments, "tflite", 1), variant.segments, images, lambda: None)
    files = to_logits(raw, [file.logits for file in variant.segments])
    assert np.abs(files - foreseen).mean() < 0.5 * np.abs(files - plain).mean()
