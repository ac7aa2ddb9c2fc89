"""The gates: the paired test, parity limits, equality with the chain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from msd_edge.bundle.manifest import TensorSpec
from msd_edge.converters.accuracy import find_drops, list_drops, measure_accuracy, sign_test, total_error
from msd_edge.converters.base import ConvertedFile
from msd_edge.converters.proof import ProofSet, check_equal, check_parity, check_types, compare
from msd_edge.errors import ParityError

HASH = "0" * 64


@given(st.integers(0, 60), st.integers(0, 60))
def test_sign_test_is_the_binomial_tail(worse: int, better: int) -> None:
    expected = float(binom.sf(worse - 1, worse + better, 0.5)) if worse + better else 1.0
    assert sign_test(worse, better) == pytest.approx(expected, abs=1e-12)


def proof_of(right_before: list[bool]) -> ProofSet:
    labels = np.zeros(len(right_before), dtype=np.int64)
    reference = np.zeros((len(labels), 1, 2), dtype=np.float32)
    reference[:, 0, 0] = [1.0 if ok else -1.0 for ok in right_before]
    return ProofSet(np.zeros((len(labels), 1, 1, 1), dtype=np.uint8), labels, reference)


def found_of(right_now: list[bool]) -> np.ndarray:
    return proof_of(right_now).reference


def test_one_image_of_a_small_split_is_no_drop() -> None:
    before, now = [True] * 50, [True] * 49 + [False]
    accuracy = measure_accuracy(found_of(now), proof_of(before), HASH)
    assert accuracy.exits[0].exported == pytest.approx(0.98)
    assert find_drops(accuracy, 0.5) == ()
    assert [(d.exit, round(d.points, 3), d.p_value) for d in list_drops(accuracy, 0.5)] == [(1, 2.0, 0.5)]
    assert list_drops(accuracy, 2.0) == ()


def test_many_images_are_a_drop_and_gains_are_weighed_against_losses() -> None:
    before = [True] * 950 + [False] * 50
    lost = [False] * 20 + [True] * 930 + [False] * 50
    drops = find_drops(measure_accuracy(found_of(lost), proof_of(before), HASH), 0.5)
    assert [(d.exit, round(d.points, 3)) for d in drops] == [(1, 2.0)]
    assert find_drops(measure_accuracy(found_of(lost), proof_of(before), HASH), 2.0) == ()
    swapped = [False] * 20 + [True] * 930 + [True] * 14 + [False] * 36
    assert find_drops(measure_accuracy(found_of(swapped), proof_of(before), HASH), 0.5) == ()


@pytest.mark.parametrize(
    ("precision", "off", "passes"),
    [("float32", 1e-5, True), ("float32", 0.05, False), ("int8", 0.05, True), ("int8", 0.5, False)],
)
def test_parity_is_judged_by_precision(precision: str, off: float, passes: bool) -> None:
    rng = np.random.default_rng(0)
    reference = rng.uniform(-1, 1, (64, 10)).astype(np.float32)
    found = reference + (off * np.sign(rng.uniform(-1, 1, reference.shape))).astype(np.float32)
    parity = compare(found, reference)
    if passes:
        check_parity(parity, precision, "segment 1")  # type: ignore[arg-type]
        return
    with pytest.raises(ParityError, match=f"segment 1: its logits are off by .*{precision} does not explain"):
        check_parity(parity, precision, "segment 1")  # type: ignore[arg-type]


def test_asked_for_int8_and_given_float_is_refused() -> None:
    spec = TensorSpec(name="logits", shape=(1, 2), layout="NC", dtype="float32")
    image = TensorSpec(name="image", shape=(1, 4, 4, 3), layout="NHWC", dtype="int8", scale=1.0, zero_point=-7)
    file = ConvertedFile(b"x", {}, (image,), spec)
    with pytest.raises(ParityError, match="tensor logits is float32, int8 was asked for"):
        check_types(file, "int8", "tflite-int8: segment 1")


def test_integers_must_be_equal_and_floats_nearly() -> None:
    a = np.array([[1, 2]], dtype=np.int8)
    check_equal(a, a.copy(), "exit 1")
    with pytest.raises(ParityError, match="exit 1: its logits differ from the chain of segments by 1 steps"):
        check_equal(a, a + np.int8(1), "exit 1")
    check_equal(np.array([1.0]), np.array([1.0 + 1e-6]), "exit 1")
    with pytest.raises(ParityError):
        check_equal(np.array([1.0]), np.array([1.1]), "exit 1")


def test_error_is_in_units_of_each_exit_s_range() -> None:
    reference = np.array([[[0, 10], [0, 100]]], dtype=np.float32)
    found = reference + np.array([[[1, 1], [10, 10]]], dtype=np.float32)
    assert total_error(found, reference, [1, 2]) == pytest.approx(0.1)
