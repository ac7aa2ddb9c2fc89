"""The ONNX target from network to files, run by onnxruntime."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.onnx_layers import integer_layers, optimized
from support.onnx_networks import CLASSES, HEIGHT, WIDTH, digit_images, pre_activated, residual
from torch import nn

from msd_edge.converters.base import ConvertedFile, ConvertedVariant
from msd_edge.converters.onnx import OnnxConverter
from msd_edge.errors import ExportError, UnsupportedTarget
from msd_edge.models.network import MultiExitNetwork

CALIBRATION, PROOF = 64, 40


def run_file(file: ConvertedFile, given: np.ndarray) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    rows = [session.run(None, {file.inputs[0].name: row[None]}) for row in given]
    return {name: np.concatenate([row[place] for row in rows]) for place, name in enumerate(names)}


def run_chain(variant: ConvertedVariant, images: np.ndarray) -> list[np.ndarray]:
    logits, given = [], images
    for segment in variant.segments:
        made = run_file(segment, given)
        logits.append(made[segment.logits.name])
        if segment.features:
            given = made[segment.features[0].name]
    return logits


def real(logits: np.ndarray, file: ConvertedFile) -> np.ndarray:
    assert file.logits.scale is not None
    assert file.logits.zero_point is not None
    return (logits.astype(np.float32) - file.logits.zero_point) * np.float32(file.logits.scale)


@dataclass
class Case:
    network: MultiExitNetwork

    def __post_init__(self) -> None:
        channels = self.network.image_shape[0]
        self.images = digit_images(CALIBRATION + PROOF, channels)
        self.proof = np.ascontiguousarray(self.images[CALIBRATION:].transpose(0, 3, 1, 2))
        with torch.no_grad():
            self.expected = [x.numpy() for x in self.network(torch.from_numpy(self.proof).float())]
        self.prepared = OnnxConverter().prepare(self.network)

    @cached_property
    def float32(self) -> ConvertedVariant:
        return self.prepared.variant("float32", None)

    @cached_property
    def int8(self) -> ConvertedVariant:
        return self.prepared.variant("int8", self.images[:CALIBRATION])


@pytest.fixture(scope="module")
def rgb() -> Case:
    return Case(residual())


@pytest.fixture(scope="module")
def grey() -> Case:
    return Case(residual(channels=1, mean=33.0, std=78.5))


@pytest.fixture(scope="module")
def by_channel() -> Case:
    return Case(pre_activated())


CASES = ["rgb", "grey", "by_channel"]


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.getfixturevalue(request.param)
    return found


every_case = pytest.mark.parametrize("case", CASES, indirect=True)


@every_case
def test_float_files_compute_what_the_network_computes(case: Case) -> None:
    """Case A9: real images, batch statistics that are not trivial, a convolution on the shortcut."""
    chain = run_chain(case.float32, case.proof.astype(np.float32))
    for index, expected in enumerate(case.expected):
        tolerance = 1e-4 * np.ptp(expected)
        np.testing.assert_allclose(chain[index], expected, rtol=0, atol=tolerance)
        alone = run_file(case.float32.exits[index], case.proof.astype(np.float32))["logits"]
        np.testing.assert_allclose(alone, expected, rtol=0, atol=tolerance)


@every_case
def test_exit_k_is_exit_k(case: Case) -> None:
    """Case A14: heads of one shape are told apart by what they compute."""
    chain = run_chain(case.float32, case.proof.astype(np.float32))
    for index, logits in enumerate(chain):
        gaps = [float(np.abs(logits - other).mean()) for other in case.expected]
        assert int(np.argmin(gaps)) == index
        assert sorted(gaps)[1] > 100 * gaps[index]


@every_case
def test_the_int8_chain_and_the_exits_alone_agree_bit_for_bit(case: Case) -> None:
    chain = run_chain(case.int8, case.proof)
    for index, logits in enumerate(chain):
        alone = run_file(case.int8.exits[index], case.proof)["logits"]
        np.testing.assert_array_equal(alone, logits)


@every_case
def test_int8_logits_are_near(case: Case) -> None:
    for logits, file, expected in zip(run_chain(case.int8, case.proof), case.int8.segments, case.expected, strict=True):
        assert len(np.unique(logits)) > 30
        assert np.abs(real(logits, file) - expected).mean() < 0.05 * np.ptp(expected)


@every_case
def test_seams_are_exact(case: Case) -> None:
    """Case B9."""
    for before, after in zip(case.int8.segments, case.int8.segments[1:], strict=False):
        (given,), (taken,) = before.features, after.inputs
        assert (given.dtype, given.scale, given.zero_point) == (taken.dtype, taken.scale, taken.zero_point)
        assert given.shape == taken.shape


@every_case
def test_names_types_and_layouts(case: Case) -> None:
    channels = case.network.image_shape[0]
    for variant, dtype in ((case.float32, "float32"), (case.int8, "uint8")):
        for place, file in enumerate(variant.segments):
            assert [spec.name for spec in file.inputs] == ["features" if place else "image"]
            assert file.logits.name == "logits"
            assert [spec.name for spec in file.features] == ([] if place == 2 else ["features_out"])
        for file in (*variant.segments, *variant.exits):
            assert {spec.dtype for spec in (*file.inputs, file.logits, *file.features)} == {dtype}
            assert file.logits.shape == (1, CLASSES)
        for file in (variant.segments[0], *variant.exits):
            assert file.inputs[0].shape == (1, channels, HEIGHT, WIDTH)
            assert file.inputs[0].layout == "NCHW"
            assert file.inputs[0].name == "image"


@every_case
def test_every_layer_runs_in_integers(case: Case) -> None:
    """Case B7: not only asked for, but taken up by the runtime."""
    for file in (*case.int8.segments, *case.int8.exits):
        integer, whole = integer_layers(file.data)
        assert integer == whole > 0


@every_case
def test_maps_are_handed_on_as_int8_kernels_compute_them(case: Case) -> None:
    for place, file in enumerate(case.int8.segments):
        seams = [spec for spec in (*file.inputs, *file.features) if spec.name != "image"]
        assert {spec.layout for spec in seams} <= {"NHWC"}
        assert file.operators.get("Transpose", 0) == len(seams) == (1 if place != 1 else 2)
        names = {spec.name for spec in seams}
        level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        for node in optimized(file.data, level).graph.node:
            assert node.op_type != "Transpose" or not names & {*node.input, *node.output}
    for file in case.int8.exits:
        assert "Transpose" not in file.operators


@pytest.mark.parametrize(("case", "mean", "std"), [("rgb", 121, 64.0), ("grey", 33, 78.5)], indirect=["case"])
def test_a_whole_mean_costs_no_operator(case: Case, mean: int, std: float) -> None:
    for file in (case.int8.segments[0], *case.int8.exits):
        assert file.inputs[0].scale == np.float32(1 / std)
        assert file.inputs[0].zero_point == mean
        assert not {"Sub", "Mul"} & set(file.operators)
    assert case.float32.segments[0].operators["Sub"] == 1


def test_means_by_channel_stay_inside(by_channel: Case) -> None:
    image = by_channel.int8.segments[0].inputs[0]
    assert (image.scale, image.zero_point) == (1.0, 0)
    nodes = onnx.load_model_from_string(by_channel.int8.segments[0].data).graph.node
    subtract = next(node for node in nodes if node.op_type == "Sub")
    after = [node.op_type for node in nodes if subtract.output[0] in node.input]
    assert after == ["Mul"]  # float from the pixel to the normalized pixel, quantized once
    kept = by_channel.prepared.variant("int8", by_channel.images[:CALIBRATION], frozenset({"segment-1/trunk.0"}))
    assert integer_layers(kept.segments[0].data) == (2, 3)


def test_a_batch_normalization_that_cannot_fold_is_a_convolution(by_channel: Case) -> None:
    for file in (*by_channel.float32.segments, *by_channel.int8.segments):
        assert "BatchNormalization" not in file.operators
    assert by_channel.float32.segments[2].operators["Conv"] == 3
    assert "segment-3/trunk.2.0" in by_channel.prepared.layers


def test_a_stand_alone_exit_holds_no_other_branch(rgb: Case) -> None:
    for variant in (rgb.float32, rgb.int8):
        for file in variant.exits:
            assert file.operators["Gemm"] == 1
        convolutions = [file.operators["Conv"] for file in variant.exits]
        assert convolutions == [6, 6, 9]  # stem and one block, then a block of branch 1 or of the trunk each


def test_layers_bear_the_modules_names(rgb: Case) -> None:
    modules = {name for name, module in rgb.network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert {layer.split("/", 1)[1] for layer in rgb.prepared.layers} == modules
    assert "segment-2/trunk.1.shortcut.0" in rgb.prepared.layers
    assert "segment-1/branches.0.classifier" in rgb.prepared.layers


def test_layers_kept_in_float_leave_the_seams_alone(rgb: Case) -> None:
    kept = frozenset(
        {
            "segment-1/trunk.0.0.0",
            "segment-1/trunk.0.1.conv2",
            "segment-2/trunk.1.conv1",
            "segment-2/trunk.1.shortcut.0",
            "segment-3/branches.2.classifier",
        }
    )
    steps: list[str] = []
    assert rgb.int8.float_layers == ()
    variant = rgb.prepared.variant("int8", rgb.images[:CALIBRATION], kept, steps.append)
    assert not any("ranges" in step for step in steps)  # measured once for the same images
    assert frozenset(variant.float_layers) == kept
    assert variant.segments[0].inputs == rgb.int8.segments[0].inputs
    for before, after in zip(variant.segments, variant.segments[1:], strict=False):
        assert before.features[0].scale == after.inputs[0].scale
    floats = sum(whole - integer for integer, whole in (integer_layers(file.data) for file in variant.segments))
    assert floats == len(kept)
    for index, logits in enumerate(run_chain(variant, rgb.proof)):
        alone = run_file(variant.exits[index], rgb.proof)["logits"]
        # a float layer may sum in another order inside a larger graph
        assert np.abs(alone.astype(int) - logits.astype(int)).max() <= 1
        assert np.abs(real(logits, variant.segments[index]) - rgb.expected[index]).mean() < 0.05 * np.ptp(
            rgb.expected[index]
        )


def test_keeping_everything_in_float_gives_the_network_back(rgb: Case) -> None:
    variant = rgb.prepared.variant("int8", rgb.images[:CALIBRATION], frozenset(rgb.prepared.layers))
    for logits, file, expected in zip(run_chain(variant, rgb.proof), variant.segments, rgb.expected, strict=True):
        assert np.abs(real(logits, file) - expected).mean() < 0.01 * np.ptp(expected)


def test_the_same_request_gives_the_same_bytes(rgb: Case) -> None:
    again = rgb.prepared.variant("int8", rgb.images[:CALIBRATION].copy())
    assert [file.data for file in again.segments] == [file.data for file in rgb.int8.segments]
    assert [file.data for file in again.exits] == [file.data for file in rgb.int8.exits]


def test_files_are_whole_pinned_and_tell_nothing_of_this_machine(rgb: Case) -> None:
    """Cases A17 and A18."""
    for variant in (rgb.float32, rgb.int8):
        for file in (*variant.segments, *variant.exits):
            model = onnx.load_model_from_string(file.data)
            assert model.ir_version == 8
            assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
            assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
            assert not re.search(rb"\.py\b|/work|site-packages", file.data)
    assert len(rgb.int8.exits[2].data) < len(rgb.float32.exits[2].data)


def test_odd_folders_and_no_litter(
    rgb: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "temp evil é 模型"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("TMPDIR", str(here))
    monkeypatch.setattr("tempfile.tempdir", None)
    variant = rgb.prepared.variant("int8", rgb.images[:16])
    integer_layers(variant.exits[0].data)
    assert list(here.iterdir()) == []
    moved = here / "renamed.onnx"
    moved.write_bytes(variant.exits[0].data)
    onnxruntime.InferenceSession(str(moved), providers=["CPUExecutionProvider"])
    assert capfd.readouterr() == ("", "")


def test_the_network_is_left_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    network = residual(channels=1).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    steps: list[str] = []
    OnnxConverter().prepare(network, steps.append)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert steps == ["torch → onnx, 3 segments"]
    assert capfd.readouterr() == ("", "")


def test_calibration_images_are_checked_first(rgb: Case) -> None:
    """Case B20."""
    with pytest.raises(ExportError, match="calibration set is empty"):
        rgb.prepared.variant("int8", None)
    with pytest.raises(ExportError, match="calibration set is empty"):
        rgb.prepared.variant("int8", rgb.images[:0])
    with pytest.raises(ExportError, match=r"uint8 \[8, 12, 3\]; this network takes uint8 \[12, 8, 3\]"):
        rgb.prepared.variant("int8", np.zeros((4, 8, 12, 3), np.uint8))


def test_unknown_layers_and_precisions_are_refused(rgb: Case) -> None:
    with pytest.raises(ExportError, match=r"trunk\.1\.conv9: .* did you mean segment-2/trunk\.1\.conv"):
        rgb.prepared.variant("int8", rgb.images[:4], frozenset({"segment-2/trunk.1.conv9"}))
    with pytest.raises(UnsupportedTarget, match="onnx float16 is not offered"):
        rgb.prepared.variant("float16", None)


def test_batch_statistics_are_refused_by_name() -> None:
    """Case A21."""
    network = residual(channels=1)
    network.branches[1].blocks = nn.Sequential(nn.BatchNorm2d(16, track_running_stats=False))
    with pytest.raises(ExportError, match=r"branches\.1\.blocks\.0: .* no running statistics"):
        OnnxConverter().prepare(network)


class Undecided(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.max() > 1 else x


def test_branching_on_data_is_refused_with_the_line(capfd: pytest.CaptureFixture[str]) -> None:
    """Case A22."""
    network = residual(channels=1)
    network.branches[1].blocks = Undecided()
    with pytest.raises(
        ExportError, match=r"segment 2 cannot be exported to ONNX: .*onnx_converter\.py, line \d+"
    ) as wrong:
        OnnxConverter().prepare(network)
    assert "\n" not in str(wrong.value)
    assert capfd.readouterr() == ("", "")
