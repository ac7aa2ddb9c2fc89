"""Markdown and CSV for people who paste."""

import csv
import io
import re
from pathlib import Path

import pytest
from support import report_data as made

from msd_edge.benchmarks.report.load import Source
from msd_edge.benchmarks.report.paste import build_csv, build_markdown


def sources(*results):
    return [Source(Path(f"results/{i}.json"), value) for i, value in enumerate(results)]


def table_rows(markdown):
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in markdown.splitlines() if line.startswith("|")]


def test_markdown_has_headline_points_and_exits():
    text = build_markdown(sources(made.results()))
    assert text.startswith("# resnet20-cifar10\n")
    assert "tflite-int8 at `lossless`: 91.0 % of 2,000 test images right" in text
    rows = table_rows(text)
    assert sum(row[1].strip() == "lossless" for row in rows) == 4
    assert sum(row[1].strip() == "exit 3 for all" for row in rows) == 4
    assert all(len(row) in (8, 12) for row in rows)
    assert "- onnx-int8 runs at 3.12 × the speed of onnx-float32" in text


def test_markdown_names_break_no_table_and_make_no_markup():
    nasty = "a|b\n`c` <script> [x](y) *z*"
    text = build_markdown(sources(made.results(points=(nasty, "lossless"), bundle=nasty, device=nasty, notes=(nasty,))))
    assert all(len(row) in (8, 12) for row in table_rows(text))
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "a\\|b \\`c\\`" in text


def test_csv_holds_every_exit_and_point_in_full():
    results = made.results()
    rows = list(csv.DictReader(io.StringIO(build_csv(sources(results, made.results(device="Pixel 8", exits=5))))))
    assert len(rows) == 4 * (3 + 4) + 4 * (5 + 4)
    point = next(r for r in rows if r["variant"] == "tflite-int8" and r["name"] == "lossless")
    bench = results.variants[0].cascade[1]
    assert float(point["mean_ms"]) == bench.total.mean
    assert float(point["accuracy"]) == bench.accuracy
    assert float(point["exit_1_share"]) == pytest.approx(0.61)
    assert point["exit_5_share"] == ""
    assert {r["kind"] for r in rows} == {"alone", "cascade"}
    assert {r["timed"] for r in rows} == {"whole path"}
    assert {r["device"] for r in rows} == {"this machine", "Pixel 8"}


def test_csv_cells_are_no_formulas():
    rows = list(csv.DictReader(io.StringIO(build_csv(sources(made.results(points=("=1+1",), device='@x,"y"\nz'))))))
    assert {r["name"] for r in rows if r["kind"] == "cascade"} == {"'=1+1"}
    assert {r["device"] for r in rows} == {'\'@x,"y"\nz'}
