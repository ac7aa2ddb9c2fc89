"""Numbers are written one way each."""

import pytest

from msd_edge.benchmarks.report import text


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "–"),
        (0, "0"),
        (0.0004, "<0.001"),
        (0.0123, "0.012"),
        (0.6144, "0.614"),
        (1.169, "1.17"),
        (12.34, "12.3"),
        (1240.4, "1,240"),
    ],
)
def test_milliseconds(value, written):
    assert text.ms(value) == written


@pytest.mark.parametrize(("value", "written"), [(0, "0"), (0.001, "<1"), (0.61, "61"), (0.999, ">99"), (1, "100")])
def test_a_share_that_is_there_is_never_none(value, written):
    assert text.share(value) == written


@pytest.mark.parametrize(("value", "written"), [(0.0031, "+0.3"), (-0.012, "−1.2"), (-0.0001, "0.0"), (None, "–")])
def test_points_carry_a_sign(value, written):
    assert text.points(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "0"), (31.4, "31.4"), (0.0235294, "0.0235"), (2.14e-7, "2.14e−7"), (-3.5, "−3.50"), (3e8, "3.00e8")],
)
def test_significant_digits(value, written):
    assert text.significant(value) == written


def test_sizes_ratios_counts_and_probabilities():
    assert [text.kilobytes(n) for n in (840, 12_400, 13_120_000, None)] == ["0.84", "12.4", "13,120", "–"]
    assert [text.times(n) for n in (1.926, 12.44, None)] == ["1.93", "12.4", "–"]
    assert [text.macs(n) for n in (900, 41_200_000, 3.25e9)] == ["900", "41.2 M", "3.25 G"]
    assert [text.p_value(n) for n in (0.0004, 0.0041, 0.31)] == ["<0.001", "0.004", "0.31"]
    assert [text.plural(n, "class", "classes") for n in (1, 1000)] == ["1 class", "1,000 classes"]
    assert [text.listed(list(words)) for words in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]


def test_a_moment_is_shown_in_utc_and_what_is_none_as_it_is():
    assert text.moment("2026-01-02T05:04:05.123456+02:00") == "2026-01-02 03:04 UTC"
    assert text.moment("2026-01-02T05:04:05") == "2026-01-02 05:04"
    assert text.moment("yesterday") == "yesterday"
