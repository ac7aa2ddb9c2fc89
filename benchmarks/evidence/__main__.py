"""``python -m msd_edge.benchmarks.evidence``: draw the tables and plots of docs/results.md from the JSON files kept.

The text of the page is written by hand; between ``<!-- drawn: NAME -->`` and ``<!-- end -->`` is what is drawn.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError

from msd_edge.benchmarks.evidence.collect import Figures
from msd_edge.benchmarks.evidence.plot import draw_plot
from msd_edge.benchmarks.evidence.tables import (
    count_foretold,
    describe,
    draw_cascades,
    draw_cells,
    draw_match,
    draw_parts,
    draw_rivals,
    draw_speeds,
)
from msd_edge.benchmarks.exit_rules import RuleFigures, draw_rules
from msd_edge.benchmarks.shift import Shift, draw_shifts
from msd_edge.benchmarks.study.table import draw_pooled, draw_tables, pool_gains, summarise_cells
from msd_edge.benchmarks.throughput import Speed
from msd_edge.bundle.reader import explain
from msd_edge.cli import common
from msd_edge.errors import ConfigError
from msd_edge.files import read_json, write_text

Row = TypeVar("Row")
_PACKAGES = ("ai-edge-litert", "onnxruntime", "numpy")
_DRAWN = re.compile(r"(<!-- drawn: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def draw_page(page: str, evidence: Path) -> str:
    """Return the page with everything drawn anew.

    Args:
        page: Markdown with markers.
        evidence: the folder of JSON files.

    Raises:
        ConfigError: a marker names nothing that can be drawn.
    """
    parts = _parts(evidence)

    def draw(found: re.Match[str]) -> str:
        start, name, end = found.groups()
        if name not in parts:
            raise ConfigError(f"{name}: nothing of this name is drawn (known: {', '.join(parts)}).")
        return f"{start}{parts[name]().rstrip()}\n{end}"

    return _DRAWN.sub(draw, page)


def _parts(evidence: Path) -> dict[str, Callable[[], str]]:
    figures = functools.cache(lambda: _read_figures(evidence))

    def foretold() -> str:
        return "{} of {} operating points are foretold within 5 %.".format(*count_foretold(figures()))

    return {
        "methods": lambda: _draw_study(evidence / "methods", "joint"),
        "methods-pooled": lambda: draw_pooled(pool_gains(_read_cells(evidence / "methods"), "joint")),
        "msdnet": lambda: _draw_study(evidence / "msdnet", "joint"),
        "speed": lambda: _draw_study(evidence / "speed", "joint"),
        "resizing": lambda: _draw_study(evidence / "resizing", "whole"),
        "fast": lambda: draw_cells(_read_cells(evidence / "fast")),
        "fast-cascades": lambda: draw_cascades(_read_figures(evidence, "fast")),
        "rivals": lambda: draw_rivals(figures()),
        "rivals-machine": lambda: describe(figures(), _PACKAGES),
        "rivals-match": lambda: draw_match(figures(), ("balanced", "fast")),
        "time": lambda: draw_parts(figures()),
        "foretold": foretold,
        "throughput": lambda: draw_speeds(_read_rows(evidence / "throughput.json", Speed, "speeds")),
        "exit-rules": lambda: draw_rules(_read_rows(evidence / "exit-rules.json", RuleFigures)),
        "shift": lambda: draw_shifts(_read_rows(evidence / "shift.json", Shift)),
    }


def _draw_study(folder: Path, baseline: str) -> str:
    results = _read_cells(folder)
    results.sort(key=lambda result: (result["data"], result["network"], result["method"] != baseline))
    return draw_tables(summarise_cells(results, baseline), baseline)


def _read_cells(folder: Path) -> list[Any]:
    results = [_read(path) for path in sorted((folder / "cells").glob("*.json"))]
    if not results:
        raise ConfigError(f"{folder}: there are no cells of a study.")
    return results


def _read(path: Path) -> Any:
    return read_json(path, what="file of figures", error=ConfigError)


def _read_figures(evidence: Path, name: str = "rivals") -> Figures:
    path = evidence / f"{name}.json"
    try:
        return Figures.model_validate(_read(path))
    except ValidationError as problem:
        raise ConfigError(f"{path}: {explain(problem)}.") from None


def _read_rows(path: Path, kind: type[Row], name: str | None = None) -> list[Row]:
    try:
        value = _read(path)
        return TypeAdapter(list[kind]).validate_python(value if name is None else value[name])  # type: ignore[valid-type]
    except (ValidationError, KeyError, TypeError):
        raise ConfigError(f"{path}: these are no figures of this kind; measure them again.") from None


def main(
    docs: Annotated[Path, typer.Option(metavar="DIR", help="The folder of results.md and evidence/.")] = Path("docs"),
) -> None:
    """Draw docs/results.md and its plots anew."""
    path, evidence = docs / "results.md", docs / "evidence"
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such page to draw in; --docs names its folder.")
    page = draw_page(path.read_text(encoding="utf-8"), evidence)
    plot = draw_plot(_read_figures(evidence))
    write_text(path, page)
    write_text(docs / "plots" / "rivals.svg", plot)
    common.say(f"{path} and {docs / 'plots'}: drawn")


if __name__ == "__main__":
    common.run_script(main)
