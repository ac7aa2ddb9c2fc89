"""The page of results is what its files say, and the files say what the benches did."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.report_data import results, save_results

from msd_edge.benchmarks.evidence.__main__ import draw_page
from msd_edge.benchmarks.evidence.collect import Figures, collect_figures
from msd_edge.benchmarks.evidence.collect import main as collect
from msd_edge.benchmarks.evidence.plot import draw_plot
from msd_edge.benchmarks.evidence.tables import best_at, count_foretold, draw_match, draw_parts, draw_rivals
from msd_edge.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_and_its_plot_are_drawn_from_the_files() -> None:
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    assert draw_page(page, DOCS / "evidence") == page
    figures = Figures.model_validate(json.loads((DOCS / "evidence" / "rivals.json").read_text()))
    assert draw_plot(figures) == (DOCS / "plots" / "rivals.svg").read_text(encoding="utf-8")


def test_every_figure_kept_is_named_on_the_page() -> None:
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    drawn = set(re.findall(r"<!-- drawn: ([a-z-]+) -->", page))
    assert {"methods", "rivals", "rivals-match", "time", "throughput", "shift"} <= drawn


def test_an_unknown_marker_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rivalz: nothing of this name is drawn"):
        draw_page("<!-- drawn: rivalz -->\n<!-- end -->\n", tmp_path)


def test_figures_are_those_of_the_benches(tmp_path: Path) -> None:
    cascade = results()
    alone = results(exits=1)
    paths = [save_results(tmp_path / "a.json", cascade), save_results(tmp_path / "b.json", alone)]
    collect(paths, tmp_path / "out.json")
    figures = Figures.model_validate(json.loads((tmp_path / "out.json").read_text()))
    assert figures == collect_figures([cascade, alone])
    assert len(figures.variants) == len(cascade.variants) + len(alone.variants)
    for kept, bench in zip(figures.variants, cascade.variants, strict=False):
        assert kept.variant == bench.name
        assert [exit_.accuracy for exit_ in kept.exits] == [exit_.accuracy for exit_ in bench.exits]
        for point, measured in zip(kept.points, bench.cascade, strict=True):
            assert point.ms == measured.total.mean
            totals = [(exit_.total or exit_.chain).mean for exit_ in bench.exits]
            wanted = sum(n / measured.images * ms for n, ms in zip(measured.exit_counts, totals, strict=True))
            assert point.predicted == pytest.approx(wanted)
    assert all(not variant.points for variant in figures.variants[len(cascade.variants) :])
    held, points = count_foretold(figures)
    assert 0 <= held <= points == sum(len(variant.points) for variant in figures.variants)
    assert draw_parts(figures).count("\n") == 1 + points
    assert draw_rivals(figures).count("one exit") == len(alone.variants)


def test_a_point_is_held_against_networks_no_slower() -> None:
    figures = collect_figures([results(), results(exits=1)])
    variant = figures.variants[0].variant
    rival = next(one for one in figures.variants if one.variant == variant and not one.points)
    time = rival.exits[-1].ms
    assert best_at(figures, variant, time) == rival
    assert best_at(figures, variant, time * 0.99) is None
    rows = draw_match(figures, [point.point for point in figures.variants[0].points]).splitlines()[2:]
    slower = [p for v in figures.variants for p in v.points if best_at(figures, v.variant, p.ms) is not None]
    assert len(rows) == len(slower)


def test_the_plot_is_a_drawing_of_its_own() -> None:
    figures = collect_figures([results(), results(exits=1)])
    root = ElementTree.fromstring(draw_plot(figures))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    titles = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text") if node.get("class") == "title"]
    assert titles == sorted({variant.variant for variant in figures.variants})
