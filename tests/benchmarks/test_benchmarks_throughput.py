"""Cascades on batches: the answers are those of one image at a time, however batches shrink or fill."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bundles import average_exits, golden_images, make_bundle

from msd_edge.benchmarks.throughput import Stage, measure_speeds, run_filled, run_shrinking
from msd_edge.bundle.reader import read_bundle
from msd_edge.errors import ConfigError
from msd_edge.exits.rules import ExitRule


class Counting:
    """A stage's session: its logits are the image's numbers at its place; it notes how many images came at once."""

    def __init__(self, place: int, last: bool) -> None:
        self.place, self.last = place, last
        self.batches: list[int] = []

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        (values,) = inputs.values()
        self.batches.append(len(values))
        return [values[:, self.place].astype(np.float32)] + ([] if self.last else [values])


def make_stages(count: int) -> list[Stage]:
    return [
        Stage(Counting(place, place == count - 1), ("x",), "logits", ("x",)[: place + 1 < count], None, None)
        for place in range(count)
    ]


@given(seed=st.integers(0, 1000), images=st.integers(1, 40), batch=st.integers(1, 9), exits=st.integers(1, 4))
def test_answers_are_those_of_one_at_a_time(seed: int, images: int, batch: int, exits: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, (images, exits, 5)).astype(np.float32)
    rule = ExitRule("max-softmax", (0.8,) * (exits - 1), (1.0,) * exits)
    taken = rule.take(logits)
    wanted = logits[np.arange(images), taken].argmax(-1)
    for run in (run_shrinking, run_filled):
        stages = make_stages(exits)
        assert np.array_equal(run(stages, rule, logits, batch), wanted)
        for place, stage in enumerate(stages):
            assert sum(stage.session.batches) == (taken >= place).sum()
            assert max(stage.session.batches, default=0) <= batch
    # Filled: at every segment no more batches are short than have to be.
    for place, stage in enumerate(stages):
        assert sum(size < batch for size in stage.session.batches) <= 1 + place


def test_a_bundle_is_measured(tiny_bundle) -> None:
    bundle = read_bundle(tiny_bundle)
    images = np.tile(golden_images(), (8, 1, 1, 1))[:32]
    speeds, same = measure_speeds(bundle, "onnx-int8", None, images, [1, 8], 1, lambda _: None)
    assert same == 1
    assert len(speeds) == 6
    assert all(speed.speed >= speed.lowest > 0 for speed in speeds)
    assert [speed.ratio for speed in speeds if speed.way == "last exit alone"] == [1, 1]


def test_rules_that_look_back_are_refused(tmp_path) -> None:
    bundle = read_bundle(average_exits(make_bundle(tmp_path / "b", variants=("onnx-int8",))))
    with pytest.raises(ConfigError, match="with max-softmax or entropy, not with averaged"):
        measure_speeds(bundle, "onnx-int8", None, golden_images(), [1], 1, lambda _: None)


def test_files_for_one_image_are_refused(tiny_bundle) -> None:
    with pytest.raises(ConfigError, match="tflite-int8 has files for one image"):
        measure_speeds(read_bundle(tiny_bundle), "tflite-int8", None, golden_images(), [1], 1, lambda _: None)
