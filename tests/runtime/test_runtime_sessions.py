"""Sessions: the same face and the same numbers from every installed runtime, tensors bound by name."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support import tinynet
from support.bundles import golden_images, make_bundle, ranges_of, reference_logits
from support.tflite_files import Model, Ranges, add_piece

from msd_edge.benchmarks.side_by_side import random_inputs
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.errors import BundleError, ConfigError, DataError, RuntimeUnavailable
from msd_edge.runtime import open as opening
from msd_edge.runtime.chain import Chain, hand_over
from msd_edge.runtime.golden_check import check_golden
from msd_edge.runtime.open import (
    choose_runtime,
    choose_variant,
    installed,
    keep_runnable,
    open_session,
    open_signatures,
)

LIGHT = [
    ("tflite-float32", "litert"),
    ("tflite-int8", "litert"),
    ("onnx-float32", "onnxruntime"),
    ("onnx-int8", "onnxruntime"),
]
TENSORFLOW = [("tflite-float32", "tensorflow"), ("tflite-int8", "tensorflow")]
SLOW = pytest.mark.slow  # importing TensorFlow takes many seconds


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return read_bundle(tiny_bundle)


def first_file(bundle: Bundle, variant: str = "tflite-float32") -> bytes:
    return bundle.read(bundle.variant(variant).segments[0])


@pytest.mark.parametrize(("variant", "runtime"), [*LIGHT, *(pytest.param(*pair, marks=SLOW) for pair in TENSORFLOW)])
def test_every_runtime_computes_the_network(bundle: Bundle, variant: str, runtime: str) -> None:
    check = check_golden(bundle, variant, runtime)
    assert check.images == 16
    assert check.top1_agreement == 1
    with Chain(bundle, variant=variant, runtime=runtime, threads=2) as chain:
        assert (chain.runtime, chain.threads) == (runtime, 2)
        assert chain.runtime_version
        found = np.stack([chain.logits(image) for image in golden_images()])
    wanted = reference_logits(golden_images())
    if variant.endswith("float32"):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        assert check.max_difference < 1e-4
    else:
        # Two int8 steps of the coarsest logits, plus what rounded weights add.
        assert np.abs(found - wanted).max() < 0.1 * np.ptp(wanted)
        assert check.max_difference <= 1
        assert check.bit_equal == (check.max_difference == 0)


@pytest.mark.parametrize("variant", ["tflite-int8", "onnx-float32"])
def test_outputs_are_bound_by_name_whatever_their_order(tmp_path: Path, variant: str) -> None:
    straight = make_bundle(tmp_path / "straight", variants=(variant,))
    turned = make_bundle(tmp_path / "turned", variants=(variant,), reverse=True)
    found = []
    for folder in (straight, turned):
        bundle = read_bundle(folder)
        found.append(first_file(bundle, variant))
        with Chain(bundle, variant=variant) as chain:
            found.append(np.stack([chain.raw_logits(image) for image in golden_images()]).tolist())
    assert found[0] != found[2]
    assert found[1] == found[3]


def test_four_heads_of_one_shape_in_any_order() -> None:
    # Four outputs that only their names tell apart: head k is a constant k, listed in a scrambled order.
    order = [3, 1, 4, 2]
    model = Model()
    model.graph()
    x = model.tensor("x", (1, 4), "float32")
    heads = {}
    for head in order:
        weights = model.tensor(f"w{head}", (2, 4), "float32", None, np.zeros((2, 4)))
        bias = model.tensor(f"b{head}", (2,), "float32", None, np.full(2, head))
        heads[f"exit_{head}"] = model.tensor(f"y{5 - head}", (1, 2), "float32")
        options = opening_options()
        model.operator("FULLY_CONNECTED", [x, weights, bias], [heads[f"exit_{head}"]], options)
    model.finish("serving_default", {"x": x}, heads)
    nodes = [helper.make_node("Add", ["x", f"c{head}"], [f"exit_{head}"]) for head in (1, 2, 3, 4)]
    graph = helper.make_graph(
        nodes,
        "heads",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4))],
        [helper.make_tensor_value_info(f"exit_{head}", TensorProto.FLOAT, (1, 4)) for head in order],
        [helper.make_tensor(f"c{head}", TensorProto.FLOAT, (1,), [head]) for head in (1, 2, 3, 4)],
    )
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    zeros = np.zeros((1, 4), np.float32)
    for session in (open_session(model.data(), "tflite"), open_session(file, "onnx")):
        outputs = session.run({"x": zeros})
        assert {name: float(value[0, 0]) for name, value in outputs.items()} == {f"exit_{k}": k for k in (1, 2, 3, 4)}


def opening_options() -> object:
    from ai_edge_litert import schema_py_generated as schema

    return schema.FullyConnectedOptionsT()


def test_signatures_of_a_file_loaded_once_run_like_each_loaded_alone(bundle: Bundle) -> None:
    variant = bundle.variant("tflite-int8")
    assert variant.multi_signature is not None
    data, names = bundle.read(variant.multi_signature), variant.multi_signature.signatures
    shared = open_signatures(data, names)
    for _ in range(2):  # in turns: one leaves the others as they were
        for name, session in zip(names, shared, strict=True):
            alone = open_session(data, "tflite", signature=name)
            inputs = random_inputs(alone)
            expected = alone.run(inputs)
            found = session.run(inputs)
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                np.testing.assert_array_equal(found[key], value)
    with pytest.raises(BundleError, match="no signature 'exit_9'"):
        open_signatures(data, [names[0], "exit_9"])


@pytest.mark.parametrize("runtime", ["litert", pytest.param("tensorflow", marks=SLOW)])
def test_signatures_of_one_file_run_like_the_files(bundle: Bundle, runtime: str) -> None:
    variant = bundle.variant("tflite-int8")
    assert variant.multi_signature is not None
    data = bundle.read(variant.multi_signature)
    with Chain(bundle, variant="tflite-int8", runtime=runtime) as chain:
        values = chain.enter(golden_images()[0])
        for segment, step in zip(variant.segments, chain.steps, strict=True):
            session = open_session(data, "tflite", runtime=runtime, signature=f"segment_{segment.index}")
            wanted, found = step.session.run(values), session.run(values)
            assert {name: value.tolist() for name, value in found.items()} == {
                name: value.tolist() for name, value in wanted.items()
            }
            with pytest.raises(DataError, match="the file takes int8"):
                session.run({name: value[:, :2] for name, value in values.items()})
            if segment.features:
                values = {"features": found["features"]}
    with pytest.raises(BundleError, match="several signatures, name one of segment_1, segment_2, segment_3"):
        open_session(data, "tflite")
    with pytest.raises(BundleError, match=r"no signature 'segment_4'; did you mean segment_"):
        open_session(data, "tflite", signature="segment_4")


@pytest.mark.parametrize("variant", ["tflite-float32", "onnx-float32"])
def test_wrong_inputs_are_refused(bundle: Bundle, variant: str) -> None:
    session = open_session(first_file(bundle, variant), bundle.variant(variant).target)
    good = np.zeros(session.inputs["image"].shape, np.float32)
    session.run({"image": good})
    for wrong in ({}, {"imag": good}, {"image": good, "other": good}):
        with pytest.raises(DataError, match="the file takes image, not"):
            session.run(wrong)
    for array in (good[:, :1], good[0], good.astype(np.float64), good.astype(np.uint8)):
        with pytest.raises(DataError, match="input image: the file takes float32"):
            session.run({"image": array})
    for nothing, kind in ((None, "NoneType"), (good.tolist(), "list"), (object(), "object")):
        with pytest.raises(DataError, match=rf"image: the file takes float32 \(.*\), this is no array \({kind}\)\."):
            session.run({"image": nothing})  # type: ignore[dict-item]
    assert session.run({"image": good})  # and it still runs


@pytest.mark.parametrize(
    ("data", "target"),
    [
        (b"", "tflite"),
        (b"", "onnx"),
        (b"nonsense" * 50, "tflite"),
        (b"nonsense" * 50, "onnx"),
        (b"\x1c\0\0\0TFL3" + b"\xff" * 200, "tflite"),
    ],
)
def test_what_is_no_model_is_refused(data: bytes, target: str) -> None:
    with pytest.raises(BundleError, match=r"empty|cannot load this"):
        open_session(data, target)  # type: ignore[arg-type]


def test_damaged_and_exchanged_files_are_refused(bundle: Bundle) -> None:
    tflite, onnx_data = first_file(bundle), first_file(bundle, "onnx-float32")
    for data, target in ((tflite[:-200], "tflite"), (onnx_data[:-200], "onnx")):
        with pytest.raises(BundleError, match=f"cannot load this {'TFLite' if target == 'tflite' else 'ONNX'} file"):
            open_session(data, target)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="cannot load this TFLite file"):
        open_session(onnx_data, "tflite")
    with pytest.raises(BundleError, match="cannot load this ONNX file"):
        open_session(tflite, "onnx")


def test_custom_operators_are_refused() -> None:
    model = Model()
    model.graph()
    x, y = model.tensor("x", (1, 4), "float32"), model.tensor("y", (1, 4), "float32")
    model.operator("MyFancyOperator", [x], [y])
    model.finish("serving_default", {"x": x}, {"y": y})
    with pytest.raises(BundleError, match=r"litert cannot load this TFLite file: .*MyFancyOperator"):
        open_session(model.data(), "tflite")
    node = helper.make_node("MyFancyOperator", ["x"], ["y"], domain="mine")
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4)) for name in "xy"]
    graph = helper.make_graph([node], "g", info[:1], info[1:])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
    with pytest.raises(BundleError, match=r"onnxruntime cannot load this ONNX file: .*MyFancyOperator"):
        open_session(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString(), "onnx")


def test_file_newer_than_the_runtime(bundle: Bundle) -> None:
    model = onnx.load_from_string(first_file(bundle, "onnx-float32"))
    model.ir_version = 99
    with pytest.raises(RuntimeUnavailable, match=r"too old for this ONNX file .*pip install -U"):
        open_session(model.SerializeToString(), "onnx")


def test_files_without_names_or_fixed_shapes_are_refused() -> None:
    model = Model()
    piece = tinynet.make_pieces(1, 4, 3)[0]
    add_piece(model, piece, 1, ranges=None, last=True, signature=None)
    with pytest.raises(BundleError, match="no signature"):
        open_session(model.data(), "tflite")
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, ("batch", 4))
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ("batch", 4))
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [info], [out])
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    with pytest.raises(BundleError, match="fixed shape"):
        open_session(file, "onnx")


def test_scale_and_zero_point_come_from_the_file() -> None:
    piece = tinynet.make_pieces(1, 4, 3)[0]
    ranges: Ranges = ranges_of(1, tinynet.run((piece,), golden_images()))
    model = Model()
    add_piece(model, piece, 1, ranges=ranges, last=True)
    session = open_session(model.data(), "tflite")
    assert session.inputs["image"].scale == 1 / 64
    assert session.inputs["image"].zero_point == -7
    assert session.outputs["logits"].scale == np.float32(ranges.logits.scale)


def test_choosing_a_runtime(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed("tflite")[0] == "litert"
    assert choose_runtime("tflite") == "litert"
    assert choose_runtime("onnx") == "onnxruntime"
    with pytest.raises(ConfigError, match="does not run onnx files; onnxruntime does"):
        choose_runtime("onnx", "litert")
    with pytest.raises(ConfigError, match="did you mean onnxruntime"):
        choose_runtime("tflite", "onnxrt")
    with pytest.raises(ConfigError, match="at least 1"):
        open_session(first_file(bundle), "tflite", threads=0)
    with pytest.raises(ConfigError, match="no signatures"):
        open_session(first_file(bundle, "onnx-float32"), "onnx", signature="x")
    gone = {"ai_edge_litert", "tflite_runtime"}
    monkeypatch.setattr(opening.importlib.util, "find_spec", lambda name: None if name in gone else name)
    assert choose_runtime("tflite") == "tensorflow"
    with pytest.raises(RuntimeUnavailable, match=r"litert is not installed: pip install ai-edge-litert\."):
        open_session(first_file(bundle), "tflite", runtime="litert")
    gone |= {"tensorflow", "onnxruntime"}
    with pytest.raises(RuntimeUnavailable, match="pip install ai-edge-litert"):
        open_session(first_file(bundle), "tflite")
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'onnxruntime<1\.29'"):
        open_session(first_file(bundle), "onnx")


def without_calibration(bundle: Bundle, name: str) -> Bundle:
    variants = tuple(
        variant.model_copy(update={"calibration": None}) if variant.name == name else variant
        for variant in bundle.manifest.variants
    )
    return dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"variants": variants}))


def test_a_runtime_that_is_named_decides_among_the_variants(bundle: Bundle) -> None:
    assert choose_variant(bundle).name == "tflite-int8"
    assert choose_variant(bundle, runtime="onnxruntime").name == "onnx-int8"
    assert choose_variant(bundle, runtime="tensorflow").name == "tflite-int8"


def test_without_a_name_the_first_choice_is_among_those_that_run_here(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = {"ai_edge_litert", "tflite_runtime", "tensorflow"}
    monkeypatch.setattr(opening.importlib.util, "find_spec", lambda name: None if name in gone else name)
    assert choose_variant(bundle).name == "onnx-int8"
    assert choose_variant(bundle, "tflite-float32").name == "tflite-float32"
    assert choose_variant(bundle, runtime="litert").name == "tflite-int8"
    assert choose_variant(bundle, runtime="onnxruntime").name == "onnx-int8"
    assert choose_variant(without_calibration(bundle, "onnx-int8")).name == "onnx-float32"
    runs, notes = keep_runnable(bundle.manifest.variants)
    assert [variant.name for variant in runs] == ["onnx-float32", "onnx-int8"]
    assert notes == (
        "left out: tflite-float32, tflite-int8 (no runtime for tflite files is installed: pip install ai-edge-litert).",
    )
    gone.add("onnxruntime")
    with pytest.raises(
        RuntimeUnavailable,
        match=r"no runtime for tflite or onnx files is installed: "
        r"pip install ai-edge-litert or pip install 'onnxruntime<1\.29'\.$",
    ):
        choose_variant(bundle)


def test_a_runtime_that_fails_to_start_says_why(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "installed", lambda target: ("tflite-runtime",))
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)
    with pytest.raises(RuntimeUnavailable, match="tflite-runtime is installed, but fails to start"):
        open_session(first_file(bundle), "tflite", runtime="tflite-runtime")


@pytest.mark.parametrize("pairs", [LIGHT, pytest.param(TENSORFLOW, marks=SLOW)])
def test_loading_says_nothing_and_keeps_what_others_say(tiny_bundle: Path, pairs: list[tuple[str, str]]) -> None:
    script = f"""
import os, sys
from msd_edge.bundle.reader import read_bundle
from msd_edge.runtime import litert
from msd_edge.runtime.golden_check import check_golden
with litert._without_notice("litert"):
    os.write(2, b"something else\\n")
litert._quiet_already.clear()
for variant, runtime in {pairs!r}:
    check_golden(read_bundle({str(tiny_bundle)!r}), variant, runtime)
assert "torch" not in sys.modules
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "something else\n")


def test_threads_that_load_their_first_files_at_once_say_nothing(tiny_bundle: Path) -> None:
    script = f"""
import tempfile, threading, time
from msd_edge.bundle.reader import read_bundle
from msd_edge.runtime.open import open_session
make = tempfile.TemporaryFile
def make_slowly():
    time.sleep(0.5)
    return make()
tempfile.TemporaryFile = make_slowly
bundle = read_bundle({str(tiny_bundle)!r})
data = bundle.read(bundle.variant("tflite-float32").segments[0])
threads = [threading.Thread(target=open_session, args=(data, "tflite")) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")


def test_the_light_runtime_imports_no_torch() -> None:
    script = """
import sys
import msd_edge.runtime.cascade, msd_edge.runtime.opening, msd_edge.runtime.golden_check, msd_edge.bundle.schema
import msd_edge.runtime.litert, msd_edge.runtime.onnx, msd_edge.bundle.golden, msd_edge.cli.predict
heavy = {"torch", "tensorflow", "onnx", "onnxruntime", "ai_edge_litert", "litert_torch", "PIL"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_joined_sessions_compute_the_same_whatever_they_are_given(bundle: Bundle) -> None:
    image, other = golden_images()[:2]
    with Chain(bundle, variant="onnx-int8") as chain, Chain(bundle, variant="onnx-int8") as untouched:
        first, second = chain.steps[:2]
        wanted, kept = untouched.raw_logits(image)[1], untouched.raw_logits(other)[1]
        written = first.session.run(chain.enter(image))
        before = {name: array.copy() for name, array in written.items()}
        passed = hand_over(first, second, written)
        copied = {name: array.copy() for name, array in passed.items()}
        # Another's arrays, the very arrays, copies of them, another's again: what the first has written stays.
        foreign = {name: np.roll(array, 1, axis=1) for name, array in copied.items()}
        away = second.session.run(foreign)[second.logits].copy()
        assert (away != wanted).any()
        assert (second.session.run(passed)[second.logits] == wanted).all()
        assert (second.session.run(copied)[second.logits] == wanted).all()
        assert (second.session.run(foreign)[second.logits] == away).all()
        assert all((written[name] == array).all() for name, array in before.items())
        assert (chain.raw_logits(other)[1] == kept).all()
        with pytest.raises(DataError, match="the file takes"):
            first.session.join(second.session, {first.features[0]: "nothing of this name"})
