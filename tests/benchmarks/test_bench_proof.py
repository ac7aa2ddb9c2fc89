"""How far logits may be from the golden ones before anything is measured."""

from pathlib import Path

import pytest
from support.bundles import make_bundle

from msd_edge.benchmarks.proof import judge
from msd_edge.bundle.reader import read_bundle
from msd_edge.errors import ParityError
from msd_edge.runtime.golden_check import GoldenComparison


def _differing(steps: float, agreement: float = 1.0) -> GoldenComparison:
    return GoldenComparison(images=16, max_difference=steps, top1_agreement=agreement, bit_equal=steps == 0)


def test_integers_have_the_limit_of_their_runtime(tmp_path: Path) -> None:
    """ONNX Runtime saturates on some x86 processors, and so moves logits further than rounding does."""
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=("tflite-int8", "onnx-int8")))
    tflite, onnx = bundle.variant("tflite-int8"), bundle.variant("onnx-int8")
    assert judge(bundle.path, tflite, "x", _differing(4)).max_difference == 4
    assert not judge(bundle.path, onnx, "x", _differing(8)).bit_equal
    with pytest.raises(ParityError, match=r"by up to 5 steps \(limit 4\); nothing was measured"):
        judge(bundle.path, tflite, "x", _differing(5))
    with pytest.raises(ParityError, match=r"by up to 9 steps \(limit 8\); nothing was measured"):
        judge(bundle.path, onnx, "x", _differing(9))


def test_another_class_is_never_within_the_limit(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "b", variants=("onnx-int8",)))
    with pytest.raises(ParityError, match=r"98.0% of the golden samples get the same class"):
        judge(bundle.path, bundle.variant(), "x", _differing(1, 0.98))
