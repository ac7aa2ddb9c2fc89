"""Drawings: escaping, scales with round ticks, marks, words that keep off each other."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.page_check import Page

from msd_edge.benchmarks.report import svg
from msd_edge.benchmarks.report.labels import Box, Wish, along, around, place, shorten, width_of

numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 4))


def test_nodes_escape_text_and_attributes():
    drawn = svg.node("text", "a < b & c\x00", class_='x"y', text_anchor="end", fill=None, x=1.50, y=-0.001).render()
    assert drawn == '<text class="x&quot;y" text-anchor="end" x="1.5" y="0">a &lt; b &amp; c </text>'


def test_a_picture_has_a_name_and_a_description():
    drawn = svg.picture("p1", "<title>", "what & how", svg.node("g"), width=10, height=5)
    page = Page(drawn)
    assert page.wrong == []
    root = page.all("svg")[0]
    assert root["role"] == "img"
    assert root["aria-labelledby"].split() == ["p1-title", "p1-text"]
    assert {"p1-title", "p1-text"} <= page.ids
    assert "<title>" in page.text
    assert root["viewbox"] == "0 0 10 5"
    assert "viewbox" not in Page(svg.picture("p", "a", "b", width="100%", height=5, scaled=False)).all("svg")[0]


@settings(max_examples=60, deadline=None)
@given(numbers, numbers, st.integers(2, 12))
def test_linear_ticks_are_round_evenly_spaced_and_inside(a, b, wanted):
    scale = svg.linear(min(a, b), max(a, b), 0, 100, ticks=wanted)
    low, high = scale.low, scale.high
    assert low < high
    assert len(scale.ticks) <= wanted + 1
    assert all(low - 1e-6 * (high - low) <= tick <= high + 1e-6 * (high - low) for tick in scale.ticks)
    steps = [after - before for before, after in zip(scale.ticks, scale.ticks[1:], strict=False)]
    if steps:
        assert max(steps) - min(steps) < 1e-6 * max(steps)
        leading = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)
        assert min(abs(leading - nice) for nice in (1, 2, 2.5, 5, 10)) < 1e-3
    assert scale(low) == pytest.approx(0)
    assert scale(high) == pytest.approx(100)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1e-4, 1e5), min_size=1, max_size=8), st.integers(2, 10))
def test_logarithmic_scales_hold_all_values(values, wanted):
    scale = svg.logarithmic(values, 0, 100, ticks=wanted)
    assert all(0 <= scale(value) <= 100 for value in values)
    assert len(scale.ticks) <= wanted
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)
    assert scale(0.0) == 0  # no time at all is drawn at the edge


def test_ticks_carry_as_many_decimals_as_they_need():
    assert [svg.tick_text(t, (0.0, 0.5, 1.0)) for t in (0.0, 0.5, 1.0)] == ["0.0", "0.5", "1.0"]
    assert [svg.tick_text(t, (86.0, 88.0)) for t in (86.0, 88.0)] == ["86", "88"]
    assert [svg.tick_text(t, (0.2, 0.5, 1.0, 2.0)) for t in (0.2, 1.0)] == ["0.2", "1"]
    assert svg.log_ticks(0.4, 6.0) == pytest.approx((0.5, 0.7, 1, 2, 3, 5)) or len(svg.log_ticks(0.4, 6.0)) <= 6


@pytest.mark.parametrize("shape", svg.SHAPES)
def test_marks_lie_around_their_place(shape):
    drawn = svg.mark(shape, 50.0, 50.0, 5.0).render()
    assert "nan" not in drawn
    assert drawn.startswith("<circle" if shape == "circle" else "<path")


def test_an_unknown_mark_is_refused():
    with pytest.raises(ValueError, match="no mark"):
        svg.mark("heart", 0.0, 0.0, 1.0)


spots = st.lists(st.tuples(st.floats(0, 400), st.floats(0, 300)), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(spots)
def test_words_stay_inside_and_off_marks_lines_and_each_other(places):
    frame = Box(0, 0, 400, 300)
    marks = [around(x, y, 5) for x, y in places]
    lines = along(places[0], places[-1])
    placed = place([Wish(f"word {i}", x, y, "point") for i, (x, y) in enumerate(places)], marks, lines, frame)
    boxes = []
    for word in placed:
        wide = width_of(word.words)
        left = word.x - {"start": 0, "middle": wide / 2, "end": wide}[word.anchor]
        boxes.append(Box(left, word.y - 10, left + wide, word.y + 3))
    for index, box in enumerate(boxes):
        assert box.inside(frame)
        assert not any(box.meets(other) for other in [*marks, *lines, *boxes[:index]])


def test_a_word_does_not_stand_nearer_to_another_mark():
    # The only room is to the right of the second mark: the first one's word is left out rather than put there.
    marks = [around(10, 10, 5), around(22, 10, 5)]
    frame = Box(0, 4, 200, 18)
    assert place([Wish("far", 10, 10, "name", gap=20)], marks, [], frame) == []
    assert [word.words for word in place([Wish("near", 22, 10, "name")], marks, [], frame)] == ["near"]


def test_long_words_are_cut_and_wide_ones_measured():
    assert shorten("a" * 30) == "a" * 21 + "…"
    assert shorten("short") == "short"
    assert width_of("模型") > width_of("ab")
