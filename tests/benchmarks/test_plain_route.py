"""Our files against the plainest route's: what a row says, and what becomes of a route that fails."""

import pytest
from support import tinynet
from support.tflite_files import Model, add_piece

from msd_edge.benchmarks.int8_table import Row
from msd_edge.benchmarks.plain_route import Pair, compare, main
from msd_edge.errors import BundleError, ConfigError


def file() -> bytes:
    model = Model()
    add_piece(model, tinynet.make_pieces(1, 4, 3)[0], 1, ranges=None, last=True)
    return model.data()


def test_a_row_has_both_times_their_ratio_and_its_scatter() -> None:
    name, target, precision, plain, ours, ratio, scatter = compare(
        Pair(Row("resnet10", 16), "tflite", "float32", file(), file()), rounds=5, runs=10
    )
    assert (name, target, precision) == ("resnet10-w16", "tflite", "float32")
    assert min(float(plain), float(ours), float(ratio)) > 0
    low, high = map(float, scatter.split(" to "))
    assert low <= float(ratio) <= high


@pytest.mark.parametrize(
    ("theirs", "said"), [(ValueError("no lowering"), "fails: ValueError"), (b"TFL3", "does not load")]
)
def test_a_plain_route_that_fails_is_said(theirs: bytes | Exception, said: str) -> None:
    cells = compare(Pair(Row("resnet20"), "tflite", "int8", file(), theirs), rounds=1, runs=10)
    assert cells == ["resnet20", "tflite", "int8", "-", said, "-", "-"]


def test_a_file_of_ours_that_does_not_load_is_no_result() -> None:
    with pytest.raises(BundleError):
        compare(Pair(Row("resnet20"), "tflite", "int8", b"TFL3", file()), rounds=1, runs=10)


def test_what_is_not_known_is_refused_before_any_work() -> None:
    with pytest.raises(ConfigError, match="--only resnet21: no such choice"):
        main(only=["resnet21"])
    with pytest.raises(ConfigError, match="--precision int4: no such choice"):
        main(only=["resnet20"], precision=["int4"])
