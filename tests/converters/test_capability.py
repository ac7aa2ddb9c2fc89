"""The capability table and the check that runs before any work."""

from typing import get_args

import pytest

from msd_edge.bundle.manifest import Precision, Target
from msd_edge.converters.capability import CAPABILITIES, check_capability, offered_precisions, parse_targets
from msd_edge.errors import UnsupportedTarget


def everything(_: str) -> bool:
    return True


def test_every_pair_stands_there_once() -> None:
    pairs = {(target, precision) for target in get_args(Target) for precision in get_args(Precision)}
    assert {(row.target, row.precision) for row in CAPABILITIES} == pairs
    assert len(CAPABILITIES) == len(pairs)
    for row in CAPABILITIES:
        assert (row.refusal is None) == bool(row.packages) == bool(row.runtimes)


@pytest.mark.parametrize("row", [row for row in CAPABILITIES if row.refusal is None], ids=str)
def test_what_is_offered_passes_on_linux(row: object) -> None:
    target, precision = row.target, row.precision  # type: ignore[attr-defined]
    assert check_capability(target, precision, platform="linux", has_package=everything) is row
    assert check_capability(target, precision) is row  # with what is installed for these tests


@pytest.mark.parametrize(
    ("platform", "system"), [("win32", "Windows"), ("darwin", "macOS"), ("freebsd14", "freebsd14")]
)
def test_tflite_is_converted_on_linux_only(platform: str, system: str) -> None:
    """Case E8."""
    with pytest.raises(UnsupportedTarget) as wrong:
        check_capability("tflite", "int8", platform=platform, has_package=everything)
    assert str(wrong.value) == (
        f"tflite int8 cannot be converted on {system}: its converter runs on Linux only; export there or in a "
        f"container, or take --target onnx."
    )
    with pytest.raises(UnsupportedTarget, match=r"or in a container\.$"):
        check_capability("tflite", "float16", platform=platform, has_package=everything)
    check_capability("onnx", "int8", platform=platform, has_package=everything)


def test_a_missing_package_is_named_with_the_command() -> None:
    with pytest.raises(UnsupportedTarget) as wrong:
        check_capability("tflite", "int8", platform="linux", has_package=lambda name: name == "torch")
    assert str(wrong.value) == (
        "tflite int8 needs litert-torch, ai-edge-litert, ai-edge-quantizer, not installed here; "
        "`pip install 'msd-edge[export]'` brings what is missing."
    )
    check_capability("tflite", "float32", platform="linux", has_package=lambda name: name != "ai_edge_quantizer")


def test_float16_is_not_offered_for_onnx() -> None:
    with pytest.raises(UnsupportedTarget, match=r"onnx float16 is not offered: .* take float32 or int8\.$"):
        check_capability("onnx", "float16", has_package=everything)
    assert offered_precisions("onnx") == ("float32", "int8")
    assert offered_precisions("tflite") == ("float32", "float16", "int8")


@pytest.mark.parametrize(
    ("target", "precision", "message"),
    [
        ("tflight", "int8", r"tflight: there is no such target; did you mean tflite\? \(known: tflite, onnx\)"),
        ("onnx", "int08", r"int08: there is no such precision; did you mean int8\?"),
        ("onnx", "bf", r"bf: there is no such precision \(known: int8, float16, float32\)"),
    ],
)
def test_what_is_misspelt_is_met_with_the_closest(target: str, precision: str, message: str) -> None:
    with pytest.raises(UnsupportedTarget, match=message):
        check_capability(target, precision)


def test_targets_are_parsed_in_order_and_once() -> None:
    assert parse_targets(["onnx", "tflite", "onnx"]) == ("onnx", "tflite")
    with pytest.raises(UnsupportedTarget, match="did you mean onnx"):
        parse_targets(["tflite", "onx"])
    assert UnsupportedTarget.exit_code == 2
