"""The converter on small networks, its files run by the real interpreter."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from msd_edge.converters.base import ConvertedVariant
from msd_edge.converters.tflite import PreparedTflite, TfliteConverter, census
from msd_edge.converters.tflite.census import refuse_floats
from msd_edge.converters.tflite.compose import join
from msd_edge.converters.tflite.flatbuffer import read
from msd_edge.converters.tflite.quantize import to_int8
from msd_edge.converters.tflite.quiet import quiet
from msd_edge.errors import ExportError, ParityError
from msd_edge.models.network import Branch, GlobalPool, MultiExitNetwork, Normalize
from msd_edge.segments import cut

WIDTH, CLASSES, HEIGHT, BREADTH = 8, 5, 12, 8


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=False)
    )


class Residual(nn.Module):
    """Takes the features twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.body(x))


def network(
    channels: int = 3, mean: tuple[float, ...] = (121.0,), std: tuple[float, ...] = (64.0,), exits: int = 3
) -> MultiExitNetwork:
    """Strides 1, 2, 1, the last piece with a shortcut; a branch with blocks, one without, the head."""
    torch.manual_seed(7)
    trunk = [conv(channels, WIDTH), conv(WIDTH, WIDTH, 2), Residual()][:exits]
    blocks = [conv(WIDTH, WIDTH, 2), nn.Identity(), nn.Identity()][:exits]
    branches = [Branch(block, GlobalPool(), WIDTH, CLASSES) for block in blocks]
    net = MultiExitNetwork(
        Normalize(mean, std), trunk, branches, ["a", "b", "c"][:exits], (channels, HEIGHT, BREADTH)
    ).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    for index, branch in enumerate(net.branches, 1):
        nn.init.constant_(branch.classifier.bias, 8.0 * index)  # so that no exit can be taken for another
    return net


def pixels(count: int, channels: int = 3, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, HEIGHT, BREADTH, channels)).astype(np.uint8)


def torch_logits(net: MultiExitNetwork, images: Any) -> list[Any]:
    with torch.no_grad():
        return [logits.numpy() for logits in net(torch.from_numpy(images).permute(0, 3, 1, 2).float())]


def interpreter(data: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        return Interpreter(model_content=data, num_threads=1)


def feed(images: Any, dtype: str) -> Any:
    """What the manifest says of an image input: pixels, or pixels minus 128."""
    return (images.astype(np.int16) - 128).astype(np.int8) if dtype == "int8" else images.astype(np.float32)


def run_chain(variant: ConvertedVariant, images: Any) -> list[Any]:
    runners = [interpreter(file.data).get_signature_runner() for file in variant.segments]
    logits: list[list[Any]] = [[] for _ in runners]
    for image in feed(images, variant.segments[0].inputs[0].dtype):
        x, name = image[None], "image"
        for place, runner in enumerate(runners):
            outputs = runner(**{name: x})
            logits[place].append(outputs["logits"][0])
            x, name = outputs.get("features"), "features"
    return [np.stack(values) for values in logits]


def run_exit(data: bytes, images: Any, dtype: str, signature: str | None = None) -> Any:
    runner = interpreter(data).get_signature_runner(signature)
    return np.stack([runner(image=image[None])["logits"][0] for image in feed(images, dtype)])


def real(values: Any, spec: Any) -> Any:
    return values if spec.scale is None else spec.scale * (values.astype(np.float64) - spec.zero_point)


@dataclass(frozen=True)
class Case:
    net: MultiExitNetwork
    prepared: PreparedTflite
    float32: ConvertedVariant
    float16: ConvertedVariant
    int8: ConvertedVariant
    steps: list[str]


@pytest.fixture(scope="module")
def case() -> Case:
    net, steps = network(), []
    prepared = TfliteConverter().prepare(net, steps.append)
    made = [prepared.variant(p, pixels(48, seed=1), step=steps.append) for p in ("float32", "float16", "int8")]
    return Case(net, prepared, *made, steps)


@pytest.fixture(params=["float32", "float16", "int8"])
def variant(request: pytest.FixtureRequest, case: Case) -> ConvertedVariant:
    return getattr(case, request.param)


def test_float_files_compute_what_the_network_computes(case: Case) -> None:
    images = pixels(8)
    for given, expected in zip(run_chain(case.float32, images), torch_logits(case.net, images), strict=True):
        assert np.abs(given - expected).max() <= 1e-4 * np.ptp(expected)


def test_float16_files_compute_nearly_what_the_network_computes_in_fewer_bytes(case: Case) -> None:
    images = pixels(8)
    for given, expected in zip(run_chain(case.float16, images), torch_logits(case.net, images), strict=True):
        assert np.abs(given - expected).max() <= 1e-2 * np.ptp(expected)
    assert len(case.float16.segments[1].data) < len(case.float32.segments[1].data)
    assert {spec.dtype for spec in (case.float16.segments[0].inputs[0], case.float16.segments[0].logits)} == {"float32"}


def test_int8_files_follow_the_network(case: Case) -> None:
    images = pixels(32)
    files = zip(run_chain(case.int8, images), case.int8.segments, torch_logits(case.net, images), strict=True)
    for given, file, expected in files:
        difference = np.abs(real(given, file.logits) - expected)
        assert difference.max() <= 3 * file.logits.scale
        assert difference.mean() <= file.logits.scale


def test_exit_k_really_is_exit_k(variant: ConvertedVariant) -> None:
    """A14, A16: outputs of the same shape are told apart by name, in every file."""
    images = pixels(2)
    dtype = variant.segments[0].inputs[0].dtype
    for index, (file, chained) in enumerate(zip(variant.exits, run_chain(variant, images), strict=True), 1):
        alone = real(run_exit(file.data, images, dtype), file.logits)
        assert np.all(np.abs(alone - 8 * index) < 4)
        assert np.all(np.abs(real(chained, variant.segments[index - 1].logits) - 8 * index) < 4)


def test_a_stand_alone_exit_is_the_chain_bit_for_bit(variant: ConvertedVariant) -> None:
    images = pixels(8)
    dtype = variant.segments[0].inputs[0].dtype
    for file, chained in zip(variant.exits, run_chain(variant, images), strict=True):
        assert np.array_equal(run_exit(file.data, images, dtype), chained)
        assert file.features == ()
        assert [spec.name for spec in file.inputs] == ["image"]


def test_one_file_with_all_signatures_is_the_others_bit_for_bit_and_smaller(variant: ConvertedVariant) -> None:
    images = pixels(4)
    assert variant.multi_signature is not None
    assert variant.signatures == ("segment_1", "segment_2", "segment_3", "exit_1", "exit_2", "exit_3")
    loaded = interpreter(variant.multi_signature)
    assert set(loaded.get_signature_list()) == set(variant.signatures)
    dtype = variant.segments[0].inputs[0].dtype
    for index, chained in enumerate(run_chain(variant, images), 1):
        assert np.array_equal(run_exit(variant.multi_signature, images, dtype, f"exit_{index}"), chained)
    first = interpreter(variant.segments[0].data).get_signature_runner()
    again = interpreter(variant.multi_signature).get_signature_runner("segment_1")
    for image in feed(images, dtype):
        expected, given = first(image=image[None]), again(image=image[None])
        assert set(expected) == set(given) == {"logits", "features"}
        assert all(np.array_equal(expected[name], given[name]) for name in expected)
    assert len(variant.multi_signature) < sum(len(file.data) for file in (*variant.segments, *variant.exits))
    assert census(variant.multi_signature) == variant.multi_operators


def test_an_exit_carries_no_branch_of_another(case: Case) -> None:
    assert case.float32.exits[2].operators == {
        "ADD": 1,
        "CONV_2D": 3,
        "FULLY_CONNECTED": 1,
        "MEAN": 1,
        "PAD": 1,
        "SUB": 1,
    }
    assert len(case.float32.exits[0].data) < len(case.float32.segments[0].data) + 100


def test_seams_are_exactly_equal(variant: ConvertedVariant) -> None:
    """B9, on what the files say."""
    for given, taken in zip(variant.segments, variant.segments[1:], strict=False):
        assert given.features == taken.inputs
        details = interpreter(given.data).get_signature_runner().get_output_details()["features"]
        following = interpreter(taken.data).get_signature_runner().get_input_details()["features"]
        assert details["dtype"] == following["dtype"]
        assert details["quantization"] == following["quantization"]
        assert np.array_equal(details["shape"], following["shape"])


def test_a_seam_with_another_range_is_refused(case: Case) -> None:
    """B9: a second segment that was calibrated with another range."""
    features = case.int8.segments[0].features[0]
    ranges = case.prepared._observe(pixels(48, seed=1), lambda _: None)[1] | {"features": (0.0, 300.0)}
    other = to_int8(case.float32.segments[1].data, ranges)
    with pytest.raises(ParityError, match=rf"seam 1→2: scale {features.scale} is given and 1.17"):
        join([read(case.int8.segments[0].data), read(other)])


def test_the_image_is_the_raw_pixel(case: Case) -> None:
    image = case.int8.segments[0].inputs[0]
    assert (image.scale, image.zero_point, image.layout, image.shape) == (1.0, -7, "NHWC", (1, HEIGHT, BREADTH, 3))
    assert "SUB" not in case.int8.segments[0].operators
    assert case.float32.segments[0].inputs[0].dtype == "float32"
    assert case.float32.segments[0].operators["SUB"] == 1
    # Grey of the mean value is zero inside: q = m - 128 stands for 0.
    assert image.scale * ((121 - 128) - image.zero_point) == 0


def test_int8_files_are_integer_from_end_to_end(case: Case) -> None:
    """B7: dtypes as the interpreter reports them, no cast, no layout change."""
    for file in (*case.int8.segments, *case.int8.exits):
        runner = interpreter(file.data)
        assert {d["dtype"] for d in (*runner.get_input_details(), *runner.get_output_details())} == {np.int8}
        assert not any(np.issubdtype(d["dtype"], np.floating) for d in runner.get_tensor_details())
        assert not {"QUANTIZE", "DEQUANTIZE", "TRANSPOSE"} & file.operators.keys()
        assert census(file.data) == file.operators


def test_float_input_and_output_are_refused_when_int8_was_asked(case: Case) -> None:
    with pytest.raises(ExportError, match=r"segment 2 of 3: features is FLOAT32 instead of INT8"):
        refuse_floats(read(case.float32.segments[1].data), frozenset(), "segment 2 of 3")


def test_pads_stand_before_strided_convolutions_only(case: Case) -> None:
    """A2: segment 1 holds a convolution of stride 1 and one of stride 2, segment 3 one of stride 1."""
    for made in (case.float32, case.int8):
        assert [file.operators.get("PAD", 0) for file in made.segments] == [1, 1, 0]


def test_no_layout_changes_even_where_a_branch_pools_the_features_themselves(variant: ConvertedVariant) -> None:
    """A6, A7: branch 2 has no blocks; the converter alone would leave a TRANSPOSE there."""
    for file in (*variant.segments, *variant.exits):
        assert "TRANSPOSE" not in file.operators
        assert all(spec.layout == "NHWC" for spec in (*file.inputs, *file.features))
    assert variant.segments[0].features[0].shape == (1, HEIGHT, BREADTH, WIDTH)


def test_names_bind(variant: ConvertedVariant) -> None:
    expected = [("image", {"logits", "features"}), ("features", {"logits", "features"}), ("features", {"logits"})]
    for file, (taken, given) in zip(variant.segments, expected, strict=True):
        runner = interpreter(file.data).get_signature_runner()
        assert list(runner.get_input_details()) == [taken] == [spec.name for spec in file.inputs]
        assert set(runner.get_output_details()) == given
        assert file.logits.shape == (1, CLASSES)


def test_layers_have_the_names_of_the_modules(case: Case) -> None:
    assert case.prepared.layers[:4] == (
        "segment-1/piece.0",
        "segment-1/branch.blocks.0",
        "segment-1/branch.pool.pool",
        "segment-1/branch.classifier",
    )
    assert "segment-3/branch.classifier" in case.prepared.layers
    assert len(set(case.prepared.layers)) == len(case.prepared.layers)


def test_layers_can_be_kept_in_float(case: Case) -> None:
    kept = frozenset({"segment-1/branch.blocks.0", "segment-2/piece.0", "segment-3/branch.classifier"})
    made = case.prepared.variant("int8", pixels(48, seed=1), kept)
    assert set(made.float_layers) == kept
    assert [file.operators["DEQUANTIZE"] for file in made.segments] == [1, 1, 1]
    assert made.segments[0].features == made.segments[1].inputs == case.int8.segments[0].features
    assert made.segments[1].features == made.segments[2].inputs
    assert {made.segments[0].inputs[0].dtype, made.segments[2].logits.dtype} == {"int8"}
    images = pixels(8)
    for file, chained in zip(made.exits, run_chain(made, images), strict=True):
        assert np.array_equal(run_exit(file.data, images, "int8"), chained)


def test_a_float_convolution_gives_what_int8_only_approximates(case: Case) -> None:
    made = case.prepared.variant("int8", pixels(48, seed=1), frozenset(case.prepared.layers))
    images = pixels(16)
    expected = torch_logits(case.net, images)
    for index, chained in enumerate(run_chain(made, images)):
        spec = made.segments[index].logits
        assert np.abs(real(chained, spec) - expected[index]).mean() <= spec.scale


def test_progress_names_every_piece_of_work(case: Case) -> None:
    assert case.steps[:3] == [f"segment {k} of 3 → tflite float32" for k in (1, 2, 3)]
    assert "segment 2 of 3 → int8" in case.steps
    assert "activation ranges over 48 images" in case.steps


def test_int8_needs_images_that_fit(case: Case) -> None:
    with pytest.raises(ExportError, match="there are none"):
        case.prepared.variant("int8", None)
    with pytest.raises(ExportError, match="there are none"):
        case.prepared.variant("int8", pixels(0))
    with pytest.raises(ExportError, match=r"uint8 \[12, 8, 1\]; the network takes uint8 \[12, 8, 3\]"):
        case.prepared.variant("int8", pixels(4, channels=1))
    with pytest.raises(ExportError, match="float32"):
        case.prepared.variant("int8", pixels(4).astype(np.float32))


def test_unknown_layers_and_float_layers_of_float_files_are_refused(case: Case) -> None:
    with pytest.raises(ExportError, match=r"no layer 'segment-9/x'.*'segment-1/piece.0'"):
        case.prepared.variant("int8", pixels(4), frozenset({"segment-9/x"}))
    with pytest.raises(ExportError, match="float16 ones are float"):
        case.prepared.variant("float16", None, frozenset({"segment-1/piece.0"}))


@pytest.mark.slow
def test_tensorflows_interpreter_gives_the_same(case: Case) -> None:
    with quiet():
        tensorflow = pytest.importorskip("tensorflow")
        loaded = tensorflow.lite.Interpreter(model_content=case.int8.multi_signature)
        runner = loaded.get_signature_runner("exit_3")
    images = pixels(4)
    given = np.stack([runner(image=image[None])["logits"][0] for image in feed(images, "int8")])
    assert np.array_equal(given, run_chain(case.int8, images)[2])


def test_grey_images_one_exit_silence_and_the_same_bytes_twice(capfd: pytest.CaptureFixture[str]) -> None:
    net = network(channels=1, exits=1)
    net.train()
    first, again = TfliteConverter().prepare(net), TfliteConverter().prepare(net)
    images = pixels(16, channels=1)
    made = first.variant("int8", images)
    assert made.multi_signature == again.variant("int8", images).multi_signature
    assert net.training
    assert made.signatures == ("segment_1", "exit_1")
    assert capfd.readouterr() == ("", "")
    (expected,) = torch_logits(net.eval(), images)
    assert np.abs(real(run_chain(made, images)[0], made.segments[0].logits) - expected).max() < 0.3


def test_normalization_per_channel_stays_inside(capfd: pytest.CaptureFixture[str]) -> None:
    net = network(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4), exits=1)
    prepared, images = TfliteConverter().prepare(net), pixels(16)
    made = prepared.variant("int8", images)
    image = made.segments[0].inputs[0]
    assert (image.scale, image.zero_point) == (1.0, -128)
    assert made.segments[0].operators["SUB"] == 1
    (expected,) = torch_logits(net, images)
    (float32,) = run_chain(prepared.variant("float32"), images)
    assert np.abs(float32 - expected).max() <= 1e-4 * np.ptp(expected)
    assert np.abs(real(run_chain(made, images)[0], made.segments[0].logits) - expected).max() < 0.3


class PoolAndConv(nn.Module):
    """The two operators of A1 side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.conv = nn.Conv2d(1, 1, 3, 2, 1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.pool(x), self.conv(x)], 1)


def test_strided_windows_pad_as_torch_does() -> None:
    """A1: MaxPool2d(3, 2, 1) of 0..15 is [[5, 7], [13, 15]], not [[10, 11], [14, 15]]."""
    trunk = [PoolAndConv(), nn.Conv2d(2, 2, 1)]
    branches = [Branch(nn.Identity(), GlobalPool(), 2, 2) for _ in trunk]
    net = MultiExitNetwork(Normalize((0.0,), (1.0,)), trunk, branches, ["a", "b"], (1, 4, 4)).eval()
    made = TfliteConverter().prepare(net).variant("float32")
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    features = interpreter(made.segments[0].data).get_signature_runner()(image=image)["features"]
    assert features[0, :, :, 0].tolist() == [[5, 7], [13, 15]]
    with torch.no_grad():
        expected = cut(net)[0](torch.from_numpy(image).permute(0, 3, 1, 2))[1]
    assert np.array_equal(features, expected.permute(0, 2, 3, 1).numpy())
    assert made.segments[0].operators["PAD"] == 1


class Hesitant(nn.Module):
    """Branches on data: no exported graph can hold that."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.max() > 0.5 else -x


def test_what_cannot_be_converted_is_named() -> None:
    net = network(exits=2)
    net.trunk[1] = Hesitant()
    with pytest.raises(ExportError, match=r"^segment 2 of 2: conversion to TFLite failed: .*\.$") as caught:
        TfliteConverter().prepare(net)
    assert "\n" not in str(caught.value)


def test_a_flattened_map_is_refused_with_what_to_do() -> None:
    net = network(exits=1)
    pool = nn.Sequential(nn.Flatten(), nn.Sigmoid())  # a linear layer right behind it would take the map as it is
    net.branches[0] = Branch(conv(WIDTH, WIDTH, 2), pool, WIDTH * HEIGHT * BREADTH // 4, CLASSES)
    with pytest.raises(ExportError, match=r"segment 1 of 1: .* TRANSPOSE at .*AdaptiveAvgPool2d\(1\)"):
        TfliteConverter().prepare(net.eval())
