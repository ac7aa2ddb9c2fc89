"""Two files timed in turns."""

from support import tinynet
from support.tflite_files import Model, Quant, Ranges, add_piece

from msd_edge.benchmarks.side_by_side import random_inputs, time_side_by_side
from msd_edge.runtime.open import open_session


def file(ranges: Ranges | None) -> bytes:
    model = Model()
    add_piece(model, tinynet.make_pieces(1, 4, 3)[0], 1, ranges=ranges, last=True)
    return model.data()


INT8 = Ranges(Quant(1 / 64, -7), Quant(0.05, -128), Quant(0.1, 0))


def test_every_round_gives_one_median_of_each_file() -> None:
    times = time_side_by_side(file(None), file(INT8), "tflite", rounds=3, runs=5)
    assert len(times.ours) == len(times.theirs) == 3
    assert min(*times.ours, *times.theirs) > 0
    ratios = sorted(a / b for a, b in zip(times.ours, times.theirs, strict=True))
    assert times.ratio == ratios[1]


def test_inputs_are_of_the_type_that_a_file_takes() -> None:
    (floats,) = random_inputs(open_session(file(None), "tflite")).values()
    (integers,) = random_inputs(open_session(file(INT8), "tflite")).values()
    assert (floats.dtype, integers.dtype) == ("float32", "int8")
    assert 0 <= floats.min() < floats.max() <= 1
    assert integers.min() < -100 < 100 < integers.max()
