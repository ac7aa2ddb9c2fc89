"""Respelled networks through both converters and the real runtimes: exact in float, as good in int8, and what was to
go is gone."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.onnx_networks import digit_images
from torch import Tensor, nn

from msd_edge.bundle.manifest import Precision, Target
from msd_edge.converters.base import ConvertedFile, ConvertedVariant
from msd_edge.converters.variants import open_converter
from msd_edge.models.network import Branch, MultiExitNetwork, Normalize
from msd_edge.runtime.open import open_session
from msd_edge.runtime.session import dequantize

WIDTH, CLASSES, CALIBRATION = 8, 10, 128
CASTS = {"DEQUANTIZE", "TRANSPOSE", "Transpose"}


class Shuffle(nn.Module):
    """As ShuffleNet's authors write it."""

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width)
        return torch.transpose(x, 1, 2).contiguous().view(batch, -1, height, width)


class MeanWithFlatten(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True).flatten(1)


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(x)


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))


def network() -> MultiExitNetwork:
    """Two exits, with everything that there is to respell."""
    torch.manual_seed(5)
    trunk = [
        nn.Sequential(conv(3, WIDTH), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1), nn.Conv2d(WIDTH, WIDTH, 1)),
        nn.Sequential(
            nn.BatchNorm2d(WIDTH), nn.ReLU(), conv(WIDTH, WIDTH), nn.Hardswish(inplace=True), Shuffle(), conv(WIDTH, 12)
        ),
    ]
    branches = [
        Branch(nn.Sequential(Swish(), conv(WIDTH, WIDTH), nn.AvgPool2d(2)), MeanWithFlatten(), WIDTH, CLASSES),
        Branch(nn.Sequential(nn.LeakyReLU(0.1), conv(12, WIDTH, 2)), nn.Flatten(), WIDTH * 3 * 2, CLASSES),
    ]
    made = MultiExitNetwork(Normalize((121.0,), (64.0,)), trunk, branches, ("a", "b"), (3, 12, 8))
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return made.eval()


@dataclass(frozen=True)
class Case:
    target: Target
    network: MultiExitNetwork
    before: dict[str, Tensor]
    float32: ConvertedVariant
    int8: ConvertedVariant
    steps: list[str]
    layers: tuple[str, ...]


@pytest.fixture(scope="module", params=["tflite", "onnx"])
def case(request: pytest.FixtureRequest) -> Case:
    made, steps = network(), []
    before = copy.deepcopy(made.state_dict())
    prepared = open_converter(request.param).prepare(made, steps.append)
    variants = [prepared.variant(p, digit_images(CALIBRATION), step=steps.append) for p in ("float32", "int8")]
    return Case(request.param, made, before, *variants, steps, prepared.layers)


def run(file: ConvertedFile, target: Target, precision: Precision, images: np.ndarray) -> np.ndarray:
    session = open_session(file.data, target)
    if target == "onnx":
        images = images.transpose(0, 3, 1, 2)
    if precision == "float32":
        feeds = images.astype(np.float32)
    else:
        feeds = images if target == "onnx" else (images.astype(np.int16) - 128).astype(np.int8)
    raw = np.stack([session.run({"image": np.ascontiguousarray(image[None])})["logits"][0].copy() for image in feeds])
    return dequantize(raw, file.logits.scale, file.logits.zero_point)


def expected(case: Case, images: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        return [one.numpy() for one in case.network(torch.from_numpy(images).permute(0, 3, 1, 2).float())]


def test_float_files_compute_what_the_network_computes(case: Case) -> None:
    images = digit_images(8)
    for file, logits in zip(case.float32.exits, expected(case, images), strict=True):
        assert np.abs(run(file, case.target, "float32", images) - logits).max() <= 1e-5 * np.ptp(logits)


def test_int8_files_agree_with_the_network(case: Case) -> None:
    images = digit_images(CALIBRATION + 200)[CALIBRATION:]
    for file, logits in zip(case.int8.exits, expected(case, images), strict=True):
        given = run(file, case.target, "int8", images)
        assert (given.argmax(1) == logits.argmax(1)).mean() >= 0.95
        # Logits of untrained weights spread little; the same network as written is no closer.
        assert np.abs(given - logits).mean() <= 0.03 * np.ptp(logits)


def test_what_was_respelled_is_gone_from_the_int8_files(case: Case) -> None:
    gone = {"HARD_SWISH", "AVERAGE_POOL_2D", "PADV2", "HardSwish", "BatchNormalization", "LEAKY_RELU"}
    turned = {"Transpose"} if case.target == "onnx" else set()  # maps at a seam, which the runtime takes out
    for file in case.int8.segments:
        assert not (gone | CASTS) & file.operators.keys() - turned
    for file in case.int8.exits:
        assert not (gone | CASTS) & file.operators.keys()
    if case.target == "tflite":  # one change of scale, at the maximum that stands for the leaky ReLU
        assert [file.operators.get("QUANTIZE", 0) for file in (*case.int8.segments, *case.int8.exits)] == [0, 1, 0, 1]


def test_the_weights_stay_bit_for_bit(case: Case) -> None:
    after = case.network.state_dict()
    assert all(torch.equal(case.before[name], after[name]) for name in case.before)
    assert case.before.keys() == after.keys()


def test_float_is_converted_again_for_int8_only_where_the_spellings_differ(case: Case) -> None:
    again = [step for step in case.steps if "for int8" in step]
    expected = {
        "tflite": [f"segment {k} of 2 → tflite float32 for int8" for k in (1, 2)],
        "onnx": ["torch → onnx, 2 segments, in the spelling for int8"],
    }
    assert again == expected[case.target]


def test_layers_are_named_after_the_modules_that_they_stand_for(case: Case) -> None:
    names = {"tflite": "segment-1/branch.blocks.2", "onnx": "segment-1/branches.0.blocks.2"}
    assert names[case.target] in case.layers
