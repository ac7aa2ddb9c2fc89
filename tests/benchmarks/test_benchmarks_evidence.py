"""The page of results is what its files say, and the files say what the benches did."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.report_data import results, save_results

from msd_edge.benchmarks.evidence.__main__ import draw_page
from msd_edge.benchmarks.evidence.__main__ import main as draw
from msd_edge.benchmarks.evidence.collect import ExitFigures, Figures, VariantFigures, collect_figures
from msd_edge.benchmarks.evidence.collect import main as collect
from msd_edge.benchmarks.evidence.plot import draw_plot
from msd_edge.benchmarks.evidence.tables import (
    accuracy_at,
    count_foretold,
    draw_cascades,
    draw_match,
    draw_parts,
    draw_rivals,
)
from msd_edge.benchmarks.study.cells import cells_of, read_result, result_path
from msd_edge.benchmarks.study.settings import read_study
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
    assert {
        "methods",
        "fast",
        "fast-cascades",
        "rivals",
        "rivals-match",
        "time",
        "throughput",
        "shift",
        "exit-rules",
    } <= drawn


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        ("methods", ["methods", "ablations"]),
        *((name, [name]) for name in ("rivals", "fast", "msdnet", "speed", "resizing")),
    ],
)
def test_every_cell_kept_is_one_of_its_study(folder: str, files: list[str]) -> None:
    out = DOCS / "evidence" / folder
    known = set()
    for file in files:
        study = read_study(DOCS.parent / "benchmarks" / "studies" / f"{file}.toml")
        cells = list(cells_of(study, out))
        # Raises where a result was made with other settings than the study has.
        assert any(read_result(study, cell, out) for cell in cells)
        known |= {result_path(cell, out).name for cell in cells}
    assert {path.name for path in (out / "cells").iterdir()} <= known


def test_figures_taken_from_what_was_printed_are_those_printed() -> None:
    """The files of some cells were lost; what they had printed is kept whole beside what was made of it."""
    printed: dict[str, tuple[list[float], float]] = {}
    for line in (DOCS / "evidence" / "printed.txt").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"([\w.-]+) \[([\d., ]+)\] ([\d.]+) of", line):
            printed[found[1]] = [float(value) for value in found[2].split(",")], float(found[3])
    kept = {}
    for path in (DOCS / "evidence").glob("*/cells/*.json"):
        cell = json.loads(path.read_text(encoding="utf-8"))
        if cell.get("printed"):
            values = cell.get("test", cell.get("calibration"))
            kept[path.stem] = [round(100 * value, 2) for value in values], cell["seconds"]
    left_out = {f"cifar10-1000--msdnet--msd-better--seed{seed}" for seed in range(3)}
    assert kept == {name: value for name, value in printed.items() if name not in left_out}


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
    ratios = [point.predicted / point.ms for variant in figures.variants for point in variant.points]
    assert held == sum(0.95 <= ratio <= 1.05 for ratio in ratios)
    assert points == sum(len(variant.points) for variant in figures.variants)
    assert draw_parts(figures).count("\n") == 1 + points
    assert draw_rivals(figures).count("one exit") == len(alone.variants)
    assert draw_cascades(figures).count("\n") == 1 + points + len(figures.variants)


def test_figures_with_an_older_name_are_read_and_written_with_the_new_one() -> None:
    old = json.loads((DOCS / "evidence" / "rivals.json").read_text())
    point = next(point for variant in old["variants"] for point in variant["points"])
    assert "promised" in point
    new = Figures.model_validate(old).model_dump(mode="json")
    assert Figures.model_validate(new) == Figures.model_validate(old)
    written = next(point for variant in new["variants"] for point in variant["points"])
    assert written == {
        **{key: value for key, value in point.items() if key != "promised"},
        "expected": point["promised"],
    }


def test_a_point_is_held_against_the_line_between_single_networks() -> None:
    def alone(ms: float, accuracy: float) -> VariantFigures:
        exit_ = ExitFigures(index=1, accuracy=accuracy, ms=ms, macs=1)
        return VariantFigures(
            bundle=f"alone-{ms}", variant="v", load=1, memory=1, segments=(ms,), exits=(exit_,), points=()
        )

    base = collect_figures([results()])
    # The second is slower than the first and worse: nobody takes it.
    figures = base.model_copy(update={"variants": (alone(1, 0.8), alone(1.5, 0.7), alone(4, 0.9))})
    assert accuracy_at(figures, "v", 1) == pytest.approx(0.8)
    assert accuracy_at(figures, "v", 2) == pytest.approx(0.85)
    assert accuracy_at(figures, "v", 4.01) is accuracy_at(figures, "v", 0.99) is accuracy_at(figures, "w", 2) is None
    point = base.variants[0].points[0].model_copy(update={"ms": 2.0, "accuracy": 0.87, "point": "fast"})
    cascade = base.variants[0].model_copy(update={"variant": "v", "points": (point,)})
    drawn = draw_match(figures.model_copy(update={"variants": (*figures.variants, cascade)}), ["fast"])
    assert drawn.splitlines()[2:] == ["| v | resnet20-cifar10 | fast | 2.000 | 87.00 | 85.00 | +2.00 |"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda docs: (docs / "results.md").unlink(), "there is no such page"),
        (lambda docs: shutil.rmtree(docs / "evidence" / "methods"), "no cells of a study"),
        (lambda docs: (docs / "evidence" / "rivals.json").write_text("{}"), "rivals.json: "),
        (
            lambda docs: (docs / "evidence" / "throughput.json").write_text('{"speeds": [{}]}'),
            "no figures of this kind",
        ),
    ],
)
def test_what_is_missing_is_named_and_the_page_stays(
    spoil: Callable[[Path], object], says: str, tmp_path: Path
) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(DOCS, docs)
    spoil(docs)
    with pytest.raises(ConfigError, match=says):
        draw(docs)
    page = docs / "results.md"
    assert not page.exists() or page.read_bytes() == (DOCS / "results.md").read_bytes()


def test_the_plot_is_a_drawing_of_its_own() -> None:
    figures = collect_figures([results(), results(exits=1)])
    root = ElementTree.fromstring(draw_plot(figures))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    titles = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text") if node.get("class") == "title"]
    assert titles == sorted({variant.variant for variant in figures.variants})
