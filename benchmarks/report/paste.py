"""The main tables for people who paste: Markdown for a pull request, CSV for a spreadsheet."""

import csv
import io
from typing import Any

from msd_edge.benchmarks.report import findings, text
from msd_edge.benchmarks.report.intervals import half_width, wilson
from msd_edge.benchmarks.report.load import Source
from msd_edge.benchmarks.report.measures import Run, Series, last_against_float, mean_of, prepare, time_of

_MARKED = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#~"})
_FORMULA = ("=", "+", "-", "@")


def build_markdown(sources: list[Source]) -> str:
    """Return headline, operating points, exits and notes as Markdown; names are escaped."""
    runs = prepare(sources)
    lines = [f"# {_words(', '.join(dict.fromkeys(run.source.results.bundle for run in runs)))}", ""]
    for run in runs:
        lines += _markdown_of(run, many=len(runs) > 1)
    return "\n".join(lines).rstrip() + "\n"


def build_csv(sources: list[Source]) -> str:
    """Return every exit and operating point as one table, a row each, numbers in full; units stand in the header."""
    runs = prepare(sources)
    rows = [row for run in runs for series in run.series for row in _csv_rows(run, series)]
    exits = max(run.exits for run in runs)
    header = [*rows[0], *(f"exit_{index}_share" for index in range(1, exits + 1))]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return stream.getvalue()


def _markdown_of(run: Run, *, many: bool) -> list[str]:
    device = run.source.results.device
    lines = [f"## {_words(run.label)}", ""] if many else []
    lines += [f"{_sentence(findings.headline(run))} {_sentence(findings.second_line(run))}".rstrip(), ""]
    about = f"{run.label}: {device.processor}, {text.listed(run.threads)}; {run.source.results.data}"
    lines += [f"{_words(about)}.", ""]
    if any(series.points for series in run.series):
        lines += [*_points_table(run), ""]
    lines += [*_exits_table(run), ""]
    told = [*findings.warnings(run), *findings.precision_sentences(run), *run.source.results.notes]
    lines += [f"- {_sentence(sentence)}" for sentence in dict.fromkeys(told)]
    return [*lines, ""] if told else lines


def _points_table(run: Run) -> list[str]:
    header = ["variant", "point", "accuracy, %", "mean ms", "median ms", "p90 ms", "p99 ms", "exits taken, %"]
    header += ["× faster than own last exit", "× faster than float32's", "expected ms", "expected accuracy, %"]
    rows = []
    for series in run.series:
        for point in series.points:
            bench = point.bench
            rows.append(
                [
                    _words(series.label),
                    _words(bench.point) + (f" (measured as {_words(point.same_as)})" if point.same_as else ""),
                    f"{text.percent(bench.accuracy)} ± {text.percent(point.half_width)}",
                    *(text.ms(t) for t in (bench.total.mean, bench.total.median, bench.total.p90, bench.total.p99)),
                    " / ".join(text.share(part) for part in point.shares),
                    text.times(point.own_speed),
                    text.times(point.float_speed),
                    text.ms(bench.expected_ms),
                    text.percent(bench.expected_accuracy),
                ]
            )
        last = time_of(series.last).timing
        rows.append(
            [
                _words(series.label),
                f"exit {series.last.index} for all",
                f"{text.percent(series.last.accuracy)} ± {text.percent(_half(series))}",
                *(text.ms(t) for t in (last.mean, last.median, last.p90, last.p99)),
                text.NOTHING,
                text.times(1.0),
                text.times(last_against_float(series, run.series)),
                text.NOTHING,
                text.NOTHING,
            ]
        )
    return _table(header, rows, left=2)


def _exits_table(run: Run) -> list[str]:
    header = ["variant", "exit", "accuracy, %", "mean ms", "chain, median ms", "alone, median ms"]
    header += ["chain MACs", "chain kB"]
    rows = [
        [
            _words(series.label),
            str(exit_.index),
            text.percent(exit_.accuracy),
            text.ms(mean_of(exit_)),
            text.ms(exit_.chain.median),
            text.ms(exit_.alone.median if exit_.alone else None),
            text.macs(exit_.chain_macs),
            text.kilobytes(exit_.chain_bytes),
        ]
        for series in run.series
        for exit_ in series.bench.exits
    ]
    return _table(header, rows, left=1)


def _half(series: Series) -> float:
    return half_width(series.last.correct, series.last.images)


def _table(header: list[str], rows: list[list[str]], left: int) -> list[str]:
    rule = ["---" if place < left else "---:" for place in range(len(header))]
    return [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]


def _words(name: str) -> str:
    """Return a name so that Markdown shows it as it is, on one line."""
    return " ".join(name.translate(_MARKED).split())


def _sentence(words: str) -> str:
    """Return a sentence of ours for Markdown; what stands between backticks stays code."""
    parts = words.split("`")
    if len(parts) % 2 == 0:
        return _words(words)
    return " ".join("".join(f"`{p}`" if i % 2 else p.translate(_MARKED) for i, p in enumerate(parts)).split())


def _csv_rows(run: Run, series: Series) -> list[dict[str, Any]]:
    rows = []
    for point in series.points:
        bench = point.bench
        row = _csv_base(run, series, "cascade", bench.point, bench.correct, bench.images)
        row |= _csv_times(bench.total, whole=True)
        row |= {"inference_median_ms": bench.inference.median, "decision_median_ms": bench.decision.median}
        row |= {"preprocess_median_ms": bench.preprocess.median, "macs": bench.mean_macs, "bytes": ""}
        row |= {"times_faster_than_own_last_exit": point.own_speed, "times_faster_than_float32": point.float_speed}
        row |= {"expected_ms": bench.expected_ms, "expected_accuracy": bench.expected_accuracy, "ece": ""}
        row |= {f"exit_{index}_share": part for index, part in enumerate(point.shares, 1)}
        rows.append(row)
    return [*(_csv_exit(run, series, index) for index in range(len(series.bench.exits))), *rows]


def _csv_exit(run: Run, series: Series, index: int) -> dict[str, Any]:
    exit_ = series.bench.exits[index]
    time = time_of(exit_)
    bare = exit_.alone if time.alone and exit_.alone is not None else exit_.chain
    row = _csv_base(run, series, "alone" if time.alone else "chain", f"exit {exit_.index}", exit_.correct, exit_.images)
    row |= _csv_times(time.timing, whole=time.whole)
    row |= {"inference_median_ms": bare.median, "decision_median_ms": "", "preprocess_median_ms": ""}
    row |= {"macs": exit_.macs if time.alone else exit_.chain_macs}
    row |= {"bytes": exit_.alone_bytes if time.alone else exit_.chain_bytes}
    row |= {"times_faster_than_own_last_exit": "", "times_faster_than_float32": ""}
    return row | {"expected_ms": "", "expected_accuracy": "", "ece": exit_.ece}


def _csv_base(run: Run, series: Series, kind: str, name: str, correct: int, images: int) -> dict[str, Any]:
    low, high = wilson(correct, images)
    results = run.source.results
    row = {"device": run.label, "bundle": results.bundle, "data": results.data, "variant": series.label}
    row |= {"runtime": f"{series.bench.runtime} {series.bench.runtime_version}"}
    return row | {
        "threads": series.bench.threads,
        "kind": kind,
        "name": name,
        "images": images,
        "accuracy": correct / images,
        "accuracy_low_95": low,
        "accuracy_high_95": high,
    }


def _csv_times(timing: Any, *, whole: bool) -> dict[str, Any]:
    return {
        "timed": "whole path" if whole else "inference",
        "mean_ms": timing.mean,
        "median_ms": timing.median,
        "p90_ms": timing.p90,
        "p99_ms": timing.p99,
    }


def _cell(value: Any) -> Any:
    """Return a value for a cell; text that a spreadsheet would run as a formula is quoted."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return "" if value is None else value
