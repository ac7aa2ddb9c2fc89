"""Colours can be told apart by people with any kind of colour vision, on both surfaces."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from msd_edge.benchmarks.report import palette

# Machado, Oliveira and Fernandes 2009, severity 1; on linear RGB.
VISION = {
    "full": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def oklab(colour, vision):
    seen = np.clip(np.array(VISION[vision]) @ np.array(palette.linear_rgb(colour)), 0, 1)
    cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    opponents = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.array(opponents) @ np.cbrt(np.array(cones) @ seen)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("vision", list(VISION))
def test_variants_differ_for_everybody(theme, vision):
    colours = palette.SERIES[theme]
    for a, b in combinations(range(len(colours)), 2):
        distance = 100 * np.linalg.norm(oklab(colours[a], vision) - oklab(colours[b], vision))
        assert distance >= (14 if max(a, b) < 4 else 10), (colours[a], colours[b], distance)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_variants_stand_off_the_surface(theme):
    assert min(palette.contrast(colour, palette.SURFACES[theme]) for colour in palette.SERIES[theme]) >= 3


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("exits", [1, 2, 3, 5, 12])
def test_exits_get_an_even_ramp_with_readable_ink(theme, exits):
    ramp = palette.ramp(exits, theme)
    assert len(ramp) == exits
    off = [palette.contrast(colour, palette.SURFACES[theme]) for colour in ramp]
    assert off == sorted(off)
    assert all(palette.contrast(palette.ink_on(colour), colour) >= 4.5 for colour in ramp)
    if 1 < exits <= 5:
        for vision in VISION:
            steps = [abs(oklab(a, vision)[0] - oklab(b, vision)[0]) for a, b in pairwise(ramp)]
            assert min(steps) > 0.05


def test_contrast_is_that_of_wcag():
    assert palette.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert palette.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_paper_is_always_light():
    style = palette.style(2)
    assert "@media screen and (prefers-color-scheme:dark)" in style
    assert style.index("--exit-2-ink") < style.index("@media")
