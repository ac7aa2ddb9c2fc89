"""Builds the page: one HTML file that needs no network, no other file and no JavaScript."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msd_edge.benchmarks.report import (
    chart_bars,
    chart_reliability,
    chart_tradeoff,
    findings,
    intervals,
    measures,
    palette,
    proof,
    text,
)
from msd_edge.benchmarks.report.examples import albums
from msd_edge.benchmarks.report.load import Source
from msd_edge.benchmarks.report.measures import Point, Run, Series, prepare
from msd_edge.benchmarks.report.reproduce import commands
from msd_edge.errors import RuntimeUnavailable

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_FOLDER = Path(__file__).resolve().parent
_FILTERS: dict[str, Callable[..., str]] = {
    "ms": text.ms,
    "percent": text.percent,
    "share": text.share,
    "points": text.points,
    "times": text.times,
    "kb": text.kilobytes,
    "macs": text.macs,
    "thousands": text.count,
    "moment": text.moment,
    "significant": text.significant,
    "p_value": text.p_value,
}


def require_jinja() -> None:
    """Check that the template engine is there, before any work.

    Raises:
        RuntimeUnavailable: jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise RuntimeUnavailable(
            "the report needs jinja2, which is not installed; run `pip install 'msd-edge[report]'`."
        ) from None


def build_page(sources: list[Source]) -> str:
    """Return the whole HTML page about one or more results files.

    Raises:
        RuntimeUnavailable: jinja2 is not installed.
    """
    require_jinja()
    environment = _environment()
    runs = prepare(sources)
    exits = max(run.exits for run in runs)
    script = (_FOLDER / "script.jinja").read_text(encoding="utf-8").strip()
    return environment.get_template("page.html.jinja").render(
        runs=runs,
        many=len(runs) > 1,
        bundles=list(dict.fromkeys(run.source.results.bundle for run in runs)),
        proven=_proven(runs),
        variants=list(dict.fromkeys(series.label for run in runs for series in run.series)),
        commands=commands(sources),
        style=_markup(palette.style(exits) + "\n" + _css()),
        script=_markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **_drawings(runs),
    )


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    environment.filters["marked"] = _mark_code
    environment.globals.update(
        findings=findings,
        proof=proof,
        measures=measures,
        half_width=intervals.half_width,
        plural=text.plural,
        listed=text.listed,
        albums=albums,
    )
    return environment


def _drawings(runs: list[Run]) -> dict[str, Any]:
    """Return the functions that draw, for the templates; each picture gets an identifier of its own."""
    numbers: Iterator[int] = count(1)

    def tradeoff(run: Run, narrow: bool) -> Any:
        choice = findings.choose(run)
        frame = chart_tradeoff.NARROW if narrow else chart_tradeoff.WIDE
        emphasis = choice.series if choice is not None else None
        return _markup(chart_tradeoff.draw(run, runs, frame, f"plot-{next(numbers)}", emphasis))

    def time_bar(point: Point) -> Any:
        longest = max(sum(chart_bars.times_of(p)) for run in runs for series in run.series for p in series.points)
        return _markup(chart_bars.time_bar(point, longest, f"time-{next(numbers)}"))

    def reliability(series: Series, exit_: Any) -> Any:
        return _markup(chart_reliability.draw(exit_, series.label, f"reliability-{next(numbers)}"))

    return {
        "tradeoff": tradeoff,
        "log_axis": chart_tradeoff.uses_log(runs),
        "key_mark": lambda series: _markup(chart_tradeoff.key_mark(series.slot)),
        "mini_shares": lambda point: _markup(chart_bars.mini_shares(point.shares)),
        "share_bar": lambda point: _markup(chart_bars.share_bar(point, f"shares-{next(numbers)}")),
        "time_bar": time_bar,
        "time_parts": chart_bars.times_of,
        "part_names": chart_bars.PARTS,
        "reliability": reliability,
    }


def _markup(html: str) -> "Markup":
    """Return text that is markup already: our own drawings (which escape what they hold), style and script."""
    from markupsafe import Markup

    return Markup(html)


def _mark_code(words: str) -> "Markup":
    """Return a sentence of ours as markup, with what stands between backticks as code; everything is escaped."""
    from markupsafe import escape

    words = re.sub(r"(?<=\d) (?=[%×]|ms\b)", "\N{NO-BREAK SPACE}", words)
    parts = [escape(part) for part in words.split("`")]
    if len(parts) % 2 == 0:  # a backtick in somebody's name
        return escape(words)
    return _markup("").join(
        _markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    )


def _proven(runs: list[Run]) -> list[Run]:
    """Return one run per bundle: results of several devices share one proof."""
    found: dict[str, Run] = {}
    for run in runs:
        key = run.source.results.manifest_sha256
        if key not in found or found[key].source.bundle is None:
            found[key] = run
    return list(found.values())


def _css() -> str:
    return (_FOLDER / "style.css").read_text(encoding="utf-8")
