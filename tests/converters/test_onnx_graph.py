"""Surgery on small graphs built by hand: no torch here."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support.onnx_layers import integer_layers

from msd_edge.converters.base import ConvertedFile
from msd_edge.converters.onnx.calibrate import Range, measure_ranges
from msd_edge.converters.onnx.check import describe, finish, require_int8, require_seams
from msd_edge.converters.onnx.graph import chain, make_model, reachable, slice_model, sort_nodes
from msd_edge.converters.onnx.pixels import Scale, take_pixels
from msd_edge.converters.onnx.quantize import quantize, read_scale, scale_of
from msd_edge.converters.onnx.tidy import tidy
from msd_edge.errors import ExportError

FLOAT = TensorProto.FLOAT


def value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, shape)


def constant(name: str, array: object) -> TensorProto:
    return numpy_helper.from_array(np.array(array, np.float32), name)


def segment(index: int, *, last: bool = False, bias: float = 0.0) -> ModelProto:
    """A 1 x 1 convolution, its ReLU handed on, a branch of pool, flatten and linear layer."""
    given = "image" if index == 1 else "features"
    weights = np.eye(2).reshape(2, 2, 1, 1) * (index + 1)
    handed = "features_out" if not last else "mapped"
    nodes = [
        helper.make_node("Conv", [given, "w", "b"], ["z"], name="conv"),
        helper.make_node("Relu", ["z"], [handed], name="relu"),
        helper.make_node("GlobalAveragePool", [handed], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat", axis=1),
        helper.make_node("Gemm", ["f", "v"], ["logits"], name="linear", transB=1),
    ]
    tensors = [constant("w", weights), constant("b", [bias, bias]), constant("v", [[1, 2], [3, 4], [5, 6]])]
    outputs = [value("logits", 1, 3)] + ([] if last else [value("features_out", 1, 2, 4, 3)])
    known = [value("z", 1, 2, 4, 3), value("p", 1, 2, 1, 1), value("f", 1, 2)] + (
        [value("mapped", 1, 2, 4, 3)] if last else []
    )
    return make_model(f"segment-{index}", nodes, [value(given, 1, 2, 4, 3)], outputs, tensors, known)


def run(data: bytes, **given: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, given), strict=True))


PIXELS = np.arange(24, dtype=np.float32).reshape(1, 2, 4, 3)
RANGES = {
    name: Range(0.0, high)
    for name, high in (
        ("z", 60.0),
        ("mapped", 60.0),
        ("features_out", 60.0),
        ("p", 60.0),
        ("f", 60.0),
        ("logits", 600.0),
    )
}


def test_a_chain_drops_the_branches_it_passes_and_keeps_equal_names_apart() -> None:
    models = [segment(1), segment(2), segment(3, last=True)]
    merged = chain(models, "exit-3")
    file = finish(merged, "exit 3")
    assert file.operators == {"Conv": 3, "Flatten": 1, "Gemm": 1, "GlobalAveragePool": 1, "Relu": 3}
    features = PIXELS
    for name, model in zip(("image", "features", "features"), models, strict=True):
        made = run(model.SerializeToString(), **{name: features})
        features = made.get("features_out", features)
    np.testing.assert_allclose(run(file.data, image=PIXELS)["logits"], made["logits"], rtol=1e-6)
    assert [node.name for node in merged.graph.node][:2] == ["segment-1/conv", "segment-1/relu"]
    assert models[0].graph.node[0].name == "conv"  # the parts are left as they were


def test_a_slice_stops_at_what_is_given() -> None:
    whole = chain([segment(1), segment(2)], "exit-2")
    known = onnx.shape_inference.infer_shapes(whole)
    part = slice_model(known, "part", {"segment-1/features_out": "features"}, {"logits": "logits"})
    assert [node.op_type for node in part.graph.node] == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert [tensor.name for tensor in part.graph.initializer] == ["segment-2/w", "segment-2/b", "segment-2/v"]
    made = run(part.SerializeToString(), features=PIXELS)["logits"]
    np.testing.assert_allclose(made, run(segment(2).SerializeToString(), features=PIXELS)["logits"])


def test_a_slice_that_needs_more_than_it_is_given_is_refused() -> None:
    whole = onnx.shape_inference.infer_shapes(chain([segment(1), segment(2)], "exit-2"))
    with pytest.raises(ValueError, match="depends on image beside segment-2/z"):
        slice_model(whole, "part", {"segment-2/z": "features"}, {"logits": "logits", "segment-1/z": "features_out"})


def test_what_is_handed_through_untouched_is_still_an_output() -> None:
    whole = onnx.shape_inference.infer_shapes(chain([segment(1), segment(2)], "exit-2"))
    seam = "segment-1/features_out"
    part = slice_model(whole, "part", {seam: "features"}, {"logits": "logits", seam: "features_out"})
    np.testing.assert_array_equal(run(part.SerializeToString(), features=PIXELS)["features_out"], PIXELS)


def test_nodes_are_sorted_and_cycles_found() -> None:
    nodes = list(segment(1).graph.node)
    assert [node.name for node in sort_nodes(nodes[::-1])] == [node.name for node in nodes]
    assert [node.name for node in reachable(segment(1).graph, ["features_out"], [])] == ["conv", "relu"]
    loop = [helper.make_node("Relu", ["a"], ["b"], name="n"), helper.make_node("Relu", ["b"], ["a"])]
    with pytest.raises(ValueError, match="cycle through n"):
        sort_nodes(loop)


def test_ranges_are_the_true_extremes() -> None:
    images = np.zeros((5, 4, 3, 2), np.uint8)
    images[3, 1, 2, 0] = 250
    ranges = measure_ranges(segment(1, bias=-4), images)
    assert ranges["features_out"] == Range(0.0, 496.0)
    assert ranges["z"] == ranges["features_out"]  # nothing but the ReLU takes it
    assert ranges["p"].high == pytest.approx(496 / 12)


def test_activations_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ExportError, match="int8 cannot hold"):
        measure_ranges(segment(1, bias=float("nan")), np.zeros((2, 4, 3, 2), np.uint8))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Range(0, 51), Scale(float(np.float32(0.2)), 0)),
        (Range(-51, 0), Scale(float(np.float32(0.2)), 255)),
        (Range(10, 51), Scale(float(np.float32(0.2)), 0)),
        (Range(0, 0), Scale(1.0, 0)),
    ],
)
def test_scales_hold_the_range_and_zero(limits: Range, expected: Scale) -> None:
    assert scale_of(limits) == expected


def int8(index: int, scale: Scale, keep: frozenset[str] = frozenset(), *, last: bool = False) -> ModelProto:
    model = segment(index, last=last)
    return quantize(model, RANGES, {model.graph.input[0].name: scale}, keep)


def test_a_seam_read_in_another_scale_is_found() -> None:
    """Case B9: the second segment calibrated with a range of its own."""
    first = finish(int8(1, Scale(1.0, 0)), "segment 1")
    seam = Scale(first.features[0].scale or 0, first.features[0].zero_point or 0)
    right = finish(int8(2, seam, last=True), "segment 2")
    require_seams((first, right), "onnx int8")
    wrong = finish(int8(2, Scale(seam.scale * 1.001, seam.zero_point), last=True), "segment 2")
    with pytest.raises(ExportError, match=r"onnx int8: seam 1→2: scale 0\.23\d+ given, 0\.23\d+ taken"):
        require_seams((first, wrong), "onnx int8")
    with pytest.raises(ExportError, match="1 tensors given, 0 taken"):
        require_seams((first, ConvertedFile(b"", {}, (), right.logits)), "onnx int8")


@pytest.mark.parametrize("keep", [(), ("conv",), ("linear",), ("conv", "linear")])
def test_a_segment_takes_and_gives_integers_whatever_stays_float(keep: tuple[str, ...]) -> None:
    file = finish(int8(1, Scale(1.0, 0), frozenset(keep)), "segment 1")
    require_int8(file, "segment 1", frozenset(keep))
    made = run(file.data, image=PIXELS.astype(np.uint8))
    expected = run(segment(1).SerializeToString(), image=PIXELS)
    for spec in (file.logits, *file.features):
        assert spec.scale is not None
        real = (made[spec.name].astype(np.float32) - (spec.zero_point or 0)) * np.float32(spec.scale)
        assert np.abs(real - expected[spec.name]).max() < 3 * spec.scale
    assert integer_layers(file.data) == (2 - len(keep), 2)  # and the runtime keeps what is kept
    if keep:
        with pytest.raises(ExportError, match=rf"segment 1: {keep[0]} \((Conv|Gemm)\) takes its weights in float"):
            require_int8(file, "segment 1", frozenset())


def test_float_ends_and_transposes_are_refused_in_int8() -> None:
    """Case B7."""
    with pytest.raises(ExportError, match="image is float32, not uint8"):
        require_int8(finish(segment(1), "s"), "segment 1", frozenset())
    model = int8(1, Scale(1.0, 0))
    for node in model.graph.node:
        if node.op_type == "Conv":
            node.input[0] += ".turned"
            turned = helper.make_node(
                "Transpose", [node.input[0][:-7]], [node.input[0]], name="turn", perm=[0, 1, 2, 3]
            )
    model.graph.node.insert(1, turned)
    with pytest.raises(ExportError, match="segment 1: turn transposes"):
        require_int8(describe(model.SerializeToString(), "segment 1"), "segment 1", frozenset())


def test_foreign_versions_and_outside_weights_are_refused() -> None:
    """Cases A17 and A18."""
    model = segment(1)
    model.ir_version = 10
    with pytest.raises(ExportError, match="IR version 10 and opset"):
        describe(model.SerializeToString(), "segment 1")
    model = segment(1)
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(ExportError, match="segment 1: the weights w lie outside the file"):
        describe(model.SerializeToString(), "segment 1")
    model = segment(1)
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ExportError, match="segment 1: the file is no valid ONNX"):
        finish(model, "segment 1")


def test_scales_are_read_from_the_file() -> None:
    model = int8(1, Scale(0.5, 7))
    assert read_scale(model, "image") == Scale(0.5, 7)
    with pytest.raises(ValueError, match="logits has no scale"):
        read_scale(segment(1), "logits")


def normalized(*steps: tuple[str, list[float]]) -> ModelProto:
    inner = segment(1)
    nodes, tensors, tensor = [], [], "image"
    for place, (operator, numbers) in enumerate(steps):
        tensors.append(constant(f"c{place}", np.reshape(numbers, (1, -1, 1, 1))))
        nodes.append(helper.make_node(operator, [tensor, f"c{place}"], [f"n{place}"], name=f"n{place}"))
        tensor = f"n{place}"
    rest = list(inner.graph.node)
    rest[0].input[0] = tensor
    return make_model("s", [*nodes, *rest], inner.graph.input, inner.graph.output, [*inner.graph.initializer, *tensors])


def floats(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


@pytest.mark.parametrize(
    "steps",
    [
        (("Sub", [121.0]), ("Mul", [1 / 64])),
        (("Mul", [1 / 64]), ("Add", [-121 / 64])),
        (("Sub", [121.0, 121.0]), ("Mul", [1 / 64])),
    ],
)
def test_normalization_by_a_whole_mean_vanishes(steps: tuple[tuple[str, list[float]], ...]) -> None:
    model = normalized(*steps)
    before = model.SerializeToString()
    taken = take_pixels(model, floats(121), floats(1 / 64))
    assert taken.scale == Scale(1 / 64, 121)
    assert taken.ranges == {}
    assert taken.model.graph.node[0].op_type == "Conv"
    assert taken.model.graph.node[0].input[0] == "image"
    assert model.SerializeToString() == before


@pytest.mark.parametrize("mean", [(120.0, 100.0), (120.5, 120.5), (-3.0, -3.0)])
def test_other_normalization_stays_in_float(mean: tuple[float, ...]) -> None:
    std = floats(1 / 64, 1 / 32)
    model = normalized(("Sub", list(mean)), ("Mul", list(std)))
    taken = take_pixels(model, floats(*mean), std)
    assert taken.scale == Scale(1.0, 0)
    assert taken.float_nodes == {"n0", "n1"}
    assert taken.model == model
    (bounds,) = taken.ranges.values()
    assert bounds.low == pytest.approx(min(-m * s for m, s in zip(mean, std, strict=True)))
    assert bounds.high == pytest.approx(max((255 - m) * s for m, s in zip(mean, std, strict=True)))


def test_a_graph_without_the_normalization_is_refused() -> None:
    with pytest.raises(ExportError, match="does not begin with the network's normalization"):
        take_pixels(normalized(("Sub", [120.0]), ("Mul", [1 / 64])), floats(121), floats(1 / 64))


def test_tidying_keeps_the_results() -> None:
    nodes = [
        helper.make_node("Identity", ["image"], ["i"], name="i"),
        helper.make_node("BatchNormalization", ["i", "g", "b", "m", "v"], ["n"], name="bn"),
        helper.make_node("ReduceMean", ["n", "axes"], ["p"], name="mean", keepdims=0),
        helper.make_node("Gemm", ["p", "segments.1.branch.classifier.weight"], ["logits"], name="x", transB=1),
    ]
    nodes[1].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/home/someone/secret.py")
    tensors = [
        constant("g", [1.5, 0.5]),
        constant("b", [0.1, -0.2]),
        constant("m", [3, 9]),
        constant("v", [4, 0.25]),
        constant("segments.1.branch.classifier.weight", [[1, 2], [3, 4]]),
        numpy_helper.from_array(np.array([-1, 2]), "axes"),
    ]
    known = [value("i", 1, 2, 4, 3), value("n", 1, 2, 4, 3), value("p", 1, 2)]
    model = make_model("m", nodes, [value("image", 1, 2, 4, 3)], [value("logits", 1, 2)], tensors, known)
    expected = run(model.SerializeToString(), image=PIXELS)["logits"]
    neat = tidy(model)
    assert [node.op_type for node in neat.graph.node] == ["Mul", "Add", "GlobalAveragePool", "Flatten", "Gemm"]
    assert neat.graph.node[-1].name == "branches.1.classifier"
    assert b"secret" not in neat.SerializeToString()
    np.testing.assert_allclose(run(neat.SerializeToString(), image=PIXELS)["logits"], expected, rtol=1e-5)


def test_graphs_that_branch_or_reach_beyond_onnx_are_refused() -> None:
    """Case A22."""
    inner = segment(1)
    foreign = make_model("m", inner.graph.node, inner.graph.input, inner.graph.output, inner.graph.initializer)
    foreign.graph.node[1].domain = "com.example"
    with pytest.raises(ExportError, match=r"relu: Relu of com\.example"):
        tidy(foreign)
    branch = helper.make_graph([helper.make_node("Identity", ["z"], ["q"])], "then", [], [value("q", 1, 2, 4, 3)])
    inner.graph.node[1].CopyFrom(
        helper.make_node("If", ["c"], ["features_out"], name="if", then_branch=branch, else_branch=branch)
    )
    with pytest.raises(ExportError, match=r"if: the network branches on data \(If\)"):
        tidy(inner)
