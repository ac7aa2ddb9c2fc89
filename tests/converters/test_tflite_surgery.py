"""Moving operators about, on graphs built by hand and run by the real interpreter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from msd_edge.converters.tflite import census
from msd_edge.converters.tflite.census import refuse_floats, refuse_transposes
from msd_edge.converters.tflite.compose import join, merge
from msd_edge.converters.tflite.flatbuffer import describe, read, tensor_map, write
from msd_edge.converters.tflite.layout import fold_transposes
from msd_edge.converters.tflite.names import name_layers
from msd_edge.converters.tflite.pixels import PixelInput, absorb_normalization
from msd_edge.converters.tflite.quiet import quiet
from msd_edge.converters.tflite.ranges import observe
from msd_edge.errors import ExportError, ParityError

Op, Kind = schema.BuiltinOperator, schema.BuiltinOptions


@dataclass(frozen=True)
class Node:
    """``op(first, *constants)``; ``output`` names its result."""

    op: str
    first: str
    constants: tuple[Any, ...]
    output: str
    shape: tuple[int, ...]
    keep_dims: bool = False


def build(shape: tuple[int, ...], nodes: Sequence[Node], outputs: dict[str, str], taken: str = "image") -> Any:
    """A float model: one input, a list of operators in order of execution, outputs {signature name: tensor}."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description, model.buffers = 3, "by hand", [schema.BufferT()]
    model.operatorCodes, graph.tensors, graph.operators, where = [], [], [], {}

    def tensor(name: str, size: Sequence[int], data: Any = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.hasRank, made.buffer = name, list(size), True, 0
        made.type = (
            schema.TensorType.INT32 if data is not None and data.dtype == np.int32 else schema.TensorType.FLOAT32
        )
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            made.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    where[taken] = tensor(taken, shape)
    for node in nodes:
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        number = getattr(Op, node.op)
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = 1
        operator.opcodeIndex = len(model.operatorCodes)
        model.operatorCodes.append(code)
        operator.inputs = [where[node.first]]
        for place, value in enumerate(node.constants, 1):
            data = np.asarray(value)
            operator.inputs.append(tensor(f"{node.output}/{place}", data.shape, data))
        where[node.output] = tensor(node.output, node.shape)
        operator.outputs = [where[node.output]]
        options = {"MEAN": "Reducer"}.get(node.op, node.op.capitalize())
        operator.builtinOptionsType = getattr(Kind, f"{options}Options")
        operator.builtinOptions = getattr(schema, f"{options}OptionsT")()
        if node.op == "MEAN":
            operator.builtinOptions.keepDims = node.keep_dims
        if node.op == "RESHAPE":
            operator.builtinOptions.newShape = list(node.shape)
        graph.operators.append(operator)
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs = [tensor_map(taken, where[taken])]
    signature.outputs = [tensor_map(name, where[output]) for name, output in outputs.items()]
    graph.inputs, graph.outputs = [where[taken]], [where[output] for output in outputs.values()]
    model.subgraphs, model.signatureDefs = [graph], [signature]
    return model


def run(model: Any, signature: str = "serving_default", **inputs: Any) -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        runner = Interpreter(model_content=write(model), num_threads=1).get_signature_runner(signature)
    return dict(runner(**inputs))


IMAGE = (1, 2, 3, 1)


def scalar(op: str, first: str, value: float, output: str) -> Node:
    return Node(op, first, (np.float32(value),), output, IMAGE)


def normalized(mean: float, factor: float, op: str = "MUL") -> Any:
    """(x - mean) * factor, then an operator to stay, then a mean as logits."""
    nodes = [
        scalar("SUB", "image", mean, "centred"),
        scalar(op, "centred", factor, "scaled"),
        Node("ADD", "scaled", (np.float32([0.5, 1.5, 2.5]).reshape(1, 1, 3, 1),), "features", IMAGE),
        Node("MEAN", "features", (np.int32([1, 2]),), "logits", (1, 1)),
    ]
    return build(IMAGE, nodes, {"logits": "logits", "features": "features"})


PIXELS = np.float32([0, 1, 120, 121, 200, 255]).reshape(IMAGE)


@settings(deadline=None, max_examples=25)
@given(mean=st.integers(0, 255), std=st.floats(0.5, 200), divide=st.booleans())
def test_an_absorbed_normalization_is_the_inputs_scale(mean: int, std: float, divide: bool) -> None:
    def model() -> Any:
        return normalized(mean, std, "DIV") if divide else normalized(mean, 1 / std)

    expected = run(model(), image=PIXELS)
    short, pixels = absorb_normalization(model())
    assert census(write(short)) == {"ADD": 1, "MEAN": 1}
    assert pixels.zero_point == mean - 128
    assert pixels.scale == pytest.approx(1 / std, rel=1e-6)
    quantized = PIXELS - 128
    given_ = run(short, image=(pixels.scale * (quantized - pixels.zero_point)).astype(np.float32))
    for name, value in expected.items():
        assert given_[name] == pytest.approx(value, rel=1e-4, abs=1e-4)
    assert pixels.range == pytest.approx((-mean / std, (255 - mean) / std), rel=1e-6)


def test_a_mean_written_behind_the_factor_is_absorbed_too() -> None:
    nodes = [
        scalar("MUL", "image", 1 / 64, "scaled"),
        scalar("ADD", "scaled", -121 / 64, "centred"),
        Node("ADD", "centred", (np.ones((1, 1, 3, 1), np.float32),), "features", IMAGE),
    ]
    short, pixels = absorb_normalization(build(IMAGE, nodes, {"features": "features"}))
    assert census(write(short)) == {"ADD": 1}
    assert pixels == PixelInput(scale=1 / 64, zero_point=-7)
    assert pixels.range == (-121 / 64, 134 / 64)


@pytest.mark.parametrize(("mean", "factor"), [(120.4, 1 / 64), (-3.0, 1.0), (256.0, 1.0), (121.0, -1.0)])
def test_what_int8_pixels_cannot_stand_for_stays_inside(mean: float, factor: float) -> None:
    model, pixels = absorb_normalization(normalized(mean, factor))
    kept = census(write(model))
    # (x - 121) * -1: the subtraction can go, the change of sign cannot.
    assert kept == ({"ADD": 1, "MEAN": 1, "MUL": 1} if mean == 121 else {"ADD": 1, "MEAN": 1, "MUL": 1, "SUB": 1})
    assert pixels == (PixelInput(1.0, -7) if mean == 121 else PixelInput(1.0, -128))


def test_a_normalization_per_channel_or_given_as_output_stays_inside() -> None:
    per_channel = Node("SUB", "image", (np.float32([1, 2, 3]).reshape(1, 1, 3, 1),), "features", IMAGE)
    model, pixels = absorb_normalization(build(IMAGE, [per_channel], {"features": "features"}))
    assert (census(write(model)), pixels) == ({"SUB": 1}, PixelInput())
    model, pixels = absorb_normalization(
        build(IMAGE, [scalar("SUB", "image", 9, "features")], {"features": "features"})
    )
    assert (census(write(model)), pixels) == ({"SUB": 1}, PixelInput())


def test_an_image_that_others_take_raw_keeps_its_normalization() -> None:
    nodes = [
        scalar("SUB", "image", 121, "centred"),
        Node("ADD", "centred", (np.ones((1, 1, 3, 1), np.float32),), "features", IMAGE),
        Node("MEAN", "image", (np.int32([1, 2]),), "logits", (1, 1)),
    ]
    model, pixels = absorb_normalization(build(IMAGE, nodes, {"logits": "logits", "features": "features"}))
    assert (census(write(model)), pixels) == ({"ADD": 1, "MEAN": 1, "SUB": 1}, PixelInput())


def transposed(order: Sequence[int], axes: Sequence[int], keep: bool = False) -> Any:
    shape = tuple((1, 4, 5, 3)[axis] for axis in order)
    left = [1 if axis in axes and keep else size for axis, size in enumerate(shape) if keep or axis not in axes]
    nodes = [
        Node("TRANSPOSE", "image", (np.int32(order),), "turned", shape),
        Node("MEAN", "turned", (np.int32(axes),), "logits", tuple(left), keep),
    ]
    return build((1, 4, 5, 3), nodes, {"logits": "logits"})


@pytest.mark.parametrize(
    ("order", "axes", "folds"),
    [
        ((0, 3, 1, 2), (2, 3), True),
        ((0, 3, 1, 2), (-1, -2), True),
        ((0, 3, 1, 2), (1,), True),
        ((0, 3, 2, 1), (1,), False),
    ],
)
def test_a_mean_takes_the_map_as_it_is(order: Sequence[int], axes: Sequence[int], folds: bool) -> None:
    image = np.random.default_rng(0).normal(size=(1, 4, 5, 3)).astype(np.float32)
    positive = [axis % 4 for axis in axes]
    expected = image.transpose(order).mean(tuple(positive))
    model = transposed(order, positive)
    fold_transposes(model)
    model = join([model])
    assert ("TRANSPOSE" not in census(write(model))) == folds
    assert run(model, image=image)["logits"] == pytest.approx(expected, abs=1e-6)


def test_a_mean_that_keeps_its_axes_keeps_its_transpose_and_is_refused() -> None:
    model = transposed((0, 3, 1, 2), (2, 3), keep=True)
    fold_transposes(model)
    assert census(write(model)) == {"MEAN": 1, "TRANSPOSE": 1}
    with pytest.raises(ExportError, match="segment 2: the converter needs a TRANSPOSE at turned"):
        refuse_transposes(model, "segment 2")


def following(shape: tuple[int, ...] = IMAGE) -> Any:
    nodes = [
        Node("ADD", "features", (np.float32([0.5, 1.5, 2.5]).reshape(1, 1, 3, 1),), "raised", shape),
        Node("MEAN", "raised", (np.int32([1, 2]),), "logits", (1, 1)),
    ]
    return build(shape, nodes, {"logits": "logits"}, taken="features")


def test_joined_segments_give_the_chains_logits_without_the_first_branch() -> None:
    first, second = normalized(121, 1 / 64), following()
    features = run(first, image=PIXELS)["features"]
    expected = run(second, features=features)["logits"]
    alone = join([first, second])
    assert np.array_equal(run(alone, image=PIXELS)["logits"], expected)
    assert census(write(alone)) == {"ADD": 2, "MEAN": 1, "MUL": 1, "SUB": 1}
    names = [tensor.name for tensor in alone.subgraphs[0].tensors]
    assert len(set(names)) == len(names)
    assert {"segment-1/features", "segment-2/logits"} <= set(names)


def test_merged_models_share_constants_and_codes_and_leave_buffer_0_empty() -> None:
    first, second = normalized(121, 1 / 64), following()
    models = {"segment_1": first, "segment_2": second, "exit_1": join([first]), "exit_2": join([first, second])}
    together = read(write(merge(models)))
    contents = [buffer.data.tobytes() for buffer in together.buffers if buffer.data is not None]
    assert together.buffers[0].data is None
    assert len(set(contents)) == len(contents) == 4  # mean, factor, the ADDs' vector, the axes
    codes = [code.builtinCode for code in together.operatorCodes]
    assert len(set(codes)) == len(codes) == 4
    for name, model in models.items():
        inputs = {"features": PIXELS} if name == "segment_2" else {"image": PIXELS}
        expected, given_ = run(model, **inputs), run(merge(models), name, **inputs)
        assert expected.keys() == given_.keys()
        assert all(np.array_equal(expected[key], given_[key]) for key in expected)


def test_seams_of_different_shape_or_number_are_refused() -> None:
    with pytest.raises(ParityError, match=r"seam 1→2: shape \(1, 2, 3, 1\) is given and \(1, 4, 3, 1\) taken"):
        join([normalized(121, 1), following((1, 4, 3, 1))])
    with pytest.raises(ParityError, match="seam 1→2: 0 tensors are given and 1 taken"):
        join([join([normalized(121, 1)]), following()])


def test_the_highest_runtime_version_is_kept() -> None:
    def versioned(model: Any, version: bytes) -> Any:
        entry, buffer = schema.MetadataT(), schema.BufferT()
        buffer.data = np.frombuffer(version.ljust(16, b"\0"), np.uint8)
        entry.name, entry.buffer = "min_runtime_version", len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [entry]
        return model

    merged = merge({"a": versioned(normalized(1, 1), b"2.3.0"), "b": versioned(following(), b"2.14.0")})
    (entry,) = read(write(merged)).metadata
    assert merged.buffers[entry.buffer].data.tobytes().rstrip(b"\0") == b"2.14.0"


def test_constants_are_aligned_to_16_bytes_and_writing_repeats() -> None:
    data = write(normalized(121, 1 / 64))
    raw = schema.Model.GetRootAs(bytearray(data), 0)
    filled = [raw.Buffers(i) for i in range(raw.BuffersLength()) if raw.Buffers(i).DataLength()]
    assert len(filled) == 4
    assert all(buffer._tab.Vector(buffer._tab.Offset(4)) % 16 == 0 for buffer in filled)
    assert write(read(data)) == write(read(data))


def test_more_than_one_subgraph_is_refused() -> None:
    model = normalized(121, 1)
    model.subgraphs.append(model.subgraphs[0])
    with pytest.raises(ExportError, match="2 subgraphs instead of 1"):
        join([model])


def test_a_float_operator_in_an_int8_file_is_named() -> None:
    model = normalized(121, 1)
    graph = model.subgraphs[0]
    for index in (*graph.inputs, *graph.outputs):
        graph.tensors[index].type = schema.TensorType.INT8
    with pytest.raises(ExportError, match="segment 1 of 2: SUB at centred is not computed in int8"):
        refuse_floats(model, frozenset(), "segment 1 of 2")


def test_tensors_that_the_manifest_cannot_express_are_refused() -> None:
    model = build((1, 6), [Node("RESHAPE", "image", (np.int32([1, 2, 3]),), "logits", (1, 2, 3))], {"logits": "logits"})
    graph = model.subgraphs[0]
    with pytest.raises(ExportError, match=r"logits is a FLOAT32 tensor \[1, 2, 3\]"):
        describe(graph, graph.outputs[0], "logits")


def raw_images(count: int) -> Any:
    return np.random.default_rng(3).integers(0, 256, (count, 2, 3, 1)).astype(np.uint8)


def test_ranges_are_the_smallest_and_largest_values() -> None:
    images = raw_images(37)  # two batches and a rest
    first, second = observe([write(normalized(121, 1 / 64)), write(following())], images)
    features = (images.astype(np.float32) - 121) / 64 + np.float32([0.5, 1.5, 2.5]).reshape(1, 1, 3, 1)
    assert first["image"] == (images.min(), images.max())
    assert first["features"] == second["features"] == pytest.approx((features.min(), features.max()))
    pooled = features.mean((1, 2, 3))
    assert first["logits"] == pytest.approx((pooled.min(), pooled.max()), rel=1e-5)


def test_a_graph_with_its_batch_written_in_is_run_one_image_at_a_time() -> None:
    nodes = [
        Node("RESHAPE", "image", (np.int32([1, 6]),), "flat", (1, 6)),
        Node("ADD", "flat", (np.float32([[0, 0, 0, 0, 0, 1]]),), "logits", (1, 6)),
    ]
    images = raw_images(9)
    (ranges,) = observe([write(build(IMAGE, nodes, {"logits": "logits"}))], images)
    flat = images.reshape(9, 6) + np.float32([0, 0, 0, 0, 0, 1])
    assert ranges["logits"] == (flat.min(), flat.max())


def test_activations_that_are_no_numbers_are_refused() -> None:
    model = normalized(121, np.inf)
    with pytest.raises(ExportError, match=r"segment 1 of 1: the activations of .* are not finite"):
        observe([write(model)], raw_images(4))


def test_layers_take_the_names_of_their_modules() -> None:
    scope = "litert_torch.to_channel_last_io.ChannelLastIOWrapper/msd_edge.segments.Segment_wrapped"
    block = f"{scope}/torch.nn.modules.container.Sequential_piece/torchvision.models.resnet.BasicBlock_1"
    nodes = [
        scalar("SUB", "image", 121, f"{block}/torch.nn.modules.activation.ReLU_relu;"),
        Node(
            "ADD",
            f"{block}/torch.nn.modules.activation.ReLU_relu;",
            (np.float32(1),),
            f"{block}/x.Conv2d_conv1;",
            IMAGE,
        ),
        Node("ADD", f"{block}/x.Conv2d_conv1;", (np.float32(1),), f"{block}/x.Conv2d_conv1;1", IMAGE),
        Node("ADD", f"{block}/x.Conv2d_conv1;1", (np.float32(1),), f"{block}/x.Conv2d_conv1;2", IMAGE),
        Node("MEAN", f"{block}/x.Conv2d_conv1;2", (np.int32([1, 2]),), "serving_default_output_0", (1, 1)),
    ]
    model = build(IMAGE, nodes, {"logits": "serving_default_output_0"})
    name_layers(model)
    graph = model.subgraphs[0]
    assert [graph.tensors[operator.outputs[0]].name for operator in graph.operators] == [
        "piece.1.relu",
        "piece.1.conv1",
        "piece.1.conv1:add",
        "piece.1.conv1:add-2",
        "to-logits",
    ]
    assert graph.tensors[graph.operators[0].inputs[1]].name == "piece.1.relu/1"
