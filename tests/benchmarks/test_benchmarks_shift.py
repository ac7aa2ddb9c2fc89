"""Corrupted images: what the corruptions do to pixels, and what the table says of a real bundle."""

from pathlib import Path

import numpy as np
import pytest
from support.bundles import average_exits, golden_images, make_bundle

from msd_edge.benchmarks.corruptions import CORRUPTIONS, LEVELS, blur, brighten, flatten_contrast
from msd_edge.benchmarks.shift import draw_shifts, measure_shifts
from msd_edge.bundle.reader import read_bundle
from msd_edge.runtime.cascade import CascadeRunner

IMAGES = np.random.default_rng(0).integers(40, 200, (6, 34, 32, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_level_is_further_away_and_always_the_same(name):
    before = IMAGES.copy()
    distances = []
    for level in LEVELS:
        found = CORRUPTIONS[name](IMAGES, level)
        assert (found.dtype, found.shape) == (np.uint8, IMAGES.shape)
        assert np.array_equal(found, CORRUPTIONS[name](IMAGES, level))
        distances.append(np.abs(found.astype(float) - IMAGES).mean())
    assert distances == sorted(distances)
    assert distances[0] > 1
    assert np.array_equal(IMAGES, before)


def test_what_each_does():
    flat = np.full((1, 9, 9, 1), 77, np.uint8)
    assert np.array_equal(blur(flat, 5), flat)
    assert np.array_equal(flatten_contrast(flat, 5), flat)
    assert (brighten(flat, 1) == 97).all()
    assert (brighten(np.full_like(flat, 250), 1) == 255).all()
    dot = np.zeros((1, 33, 33, 1), np.uint8)
    dot[0, 16, 16] = 255
    spread = blur(dot, 5)[0, :, :, 0]
    assert np.array_equal(spread, spread.T)
    assert spread.max() == spread[16, 16] < 60
    assert np.abs(flatten_contrast(IMAGES, 3).mean((1, 2, 3)) - IMAGES.mean((1, 2, 3))).max() < 0.5


@pytest.mark.parametrize("averaged", [False, True])
def test_a_bundle_is_measured_clean_and_corrupted(tmp_path, averaged):
    bundle = read_bundle((average_exits if averaged else Path)(make_bundle(tmp_path / "b")))
    images = np.tile(golden_images(), (30, 1, 1, 1))[:210]
    labels = np.arange(len(images)) % len(bundle.manifest.classes)
    shifts = list(measure_shifts(bundle, None, "fast", images, labels, lambda _: None))
    assert [(shift.corruption, shift.level) for shift in shifts] == [
        ("none", 0), *((name, level) for name in CORRUPTIONS for level in LEVELS)
    ]  # fmt: skip
    with CascadeRunner(bundle, point="fast") as cascade:
        right = np.mean([cascade.predict(image).index == label for image, label in zip(images, labels, strict=True)])
    assert shifts[0].cascade == pytest.approx(right)
    costs = np.cumsum(bundle.variant(None).calibration.latency.segment_ms)
    for shift in shifts:
        assert sum(shift.shares) == pytest.approx(1)
        assert shift.milliseconds == pytest.approx(float(np.dot(shift.shares, costs)))
        assert shift.alarms in (0, 1)  # one window
    lines = draw_shifts(shifts).splitlines()
    assert len(lines) == 2 + len(shifts)
    assert all(line.count("|") == 9 for line in lines)
