"""Results on disk, their schema, and the sentences written beside them."""

import json
import os
from pathlib import Path

import pytest
from support.bench_data import make_dataset
from support.bundles import make_bundle

from msd_edge.benchmarks import results_io
from msd_edge.benchmarks.devices.cpu import CpuDevice
from msd_edge.benchmarks.harness import BenchOptions, plan_bench, run_bench
from msd_edge.benchmarks.notes import write_notes
from msd_edge.benchmarks.results import Results, Timing, VariantBench
from msd_edge.benchmarks.results_io import Raw, raw_path, read_raw, read_results, results_schema, write_results
from msd_edge.bundle.reader import read_bundle
from msd_edge.errors import ConfigError

SCHEMA = Path(__file__).parents[2] / "docs/schemas/results-1.json"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Raw]:
    bundle = read_bundle(make_bundle(tmp_path_factory.mktemp("results") / "b", variants=("tflite-int8",)))
    data, device, options = make_dataset(16), CpuDevice(), BenchOptions(seconds=0, warmup=1)
    plan = plan_bench(bundle, data, options, device)
    return run_bench(bundle, data, plan, options, device, lambda name, step: None)


def test_what_is_written_is_read_back(tmp_path: Path, measured: tuple[Results, Raw]) -> None:
    path = tmp_path / "new" / "x.json"
    written = write_results(path, *measured)
    assert written.raw == "x.raw.json"
    assert read_results(path) == written
    assert read_raw(path, written) == measured[1]
    assert sorted(file.name for file in path.parent.iterdir()) == ["x.json", "x.raw.json"]


def test_the_published_schema_is_current() -> None:
    assert json.loads(SCHEMA.read_text()) == results_schema(), "write_schema(Path('docs/schemas')) makes it anew"


def test_a_real_file_fits_the_published_schema(tmp_path: Path, measured: tuple[Results, Raw]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    published = json.loads(SCHEMA.read_text())
    path = tmp_path / "x.json"
    write_results(path, *measured)
    jsonschema.Draft202012Validator(published).validate(json.loads(path.read_text()))


def test_a_failure_leaves_no_new_file_and_keeps_old_ones(
    tmp_path: Path, measured: tuple[Results, Raw], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results_io, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        write_results(tmp_path / "x.json", *measured)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("old", [False, True])
def test_killed_between_the_two_files_results_and_raw_timings_belong_together(
    tmp_path: Path, measured: tuple[Results, Raw], monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    path = tmp_path / "x.json"
    results, raw = measured
    if old:
        write_results(path, *(part.model_copy(update={"created": "earlier"}) for part in measured))

    def stop_before(name: str) -> None:
        rename = os.replace

        def replace(source: Path, target: Path) -> None:
            if Path(target).name == name:
                raise KeyboardInterrupt
            rename(source, target)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "replace", replace)
            write_results(path, *measured)

    stop_before("x.json")
    if old:
        assert read_raw(path, read_results(path)).created == "earlier"
    else:
        assert list(tmp_path.iterdir()) == []
    stop_before("x.raw.json")
    assert read_raw(path, read_results(path)) == raw
    write_results(path, results, raw)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.json", "x.raw.json"]


@pytest.mark.parametrize("name", ["x.txt", "x", "x.raw.json", ""])
def test_odd_names_are_refused(tmp_path: Path, measured: tuple[Results, Raw], name: str) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.json"):
        write_results(tmp_path / name, *measured)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no valid JSON"),
        ("[]", "no results file of `msd-edge bench`"),
        ("{}", "no results file of `msd-edge bench`"),
        ('{"schema_version": 2}', "needs a newer msd-edge"),
        ('{"schema_version": 1}', "created: field required"),
        ('{"schema_version": true}', "no results file"),
        ('{"schema_version": 1, "created": NaN}', "no valid JSON"),
    ],
)
def test_what_is_no_results_file_is_told_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_results(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_raw_timings_of_other_results_are_refused(tmp_path: Path, measured: tuple[Results, Raw]) -> None:
    path = tmp_path / "x.json"
    results, raw = measured
    write_results(path, results, raw.model_copy(update={"created": "earlier"}))
    with pytest.raises(ConfigError, match="belong to other results"):
        read_raw(path, read_results(path))
    raw_path(path).unlink()
    with pytest.raises(ConfigError, match="no such raw-timings file"):
        read_raw(path, read_results(path))


def timing(median: float) -> Timing:
    return Timing(count=1, median=median, p90=median, p99=median, mean=median, minimum=median, maximum=median)


def variant(
    measured: tuple[Results, Raw],
    precision: str,
    medians: tuple[float, ...],
    alone: float | None = None,
    **changes: object,
) -> VariantBench:
    base = measured[0].variants[0]
    exits = tuple(
        each.model_copy(update={"chain": timing(median), "alone": None if alone is None else timing(alone)})
        for each, median in zip(base.exits, medians, strict=True)
    )
    quiet = {"precision": precision, "exits": exits, "cascade": (), "cpu_per_wall": 1.0, "runtime_threads": 1}
    return base.model_copy(update={**quiet, **changes})


def test_a_slower_integer_exit_is_flagged(measured: tuple[Results, Raw]) -> None:
    floats = variant(measured, "float32", (1.0, 2.0, 3.0), alone=2.0)
    integers = variant(measured, "int8", (0.5, 2.5, 1.0), alone=1.0)
    assert write_notes([integers, floats]) == (
        "int8 is slower than float32: tflite-int8 at exit 2 as a chain (1.25 times the median).",
    )
    slow = variant(measured, "int8", (0.5, 1.0, 1.0), alone=9.0)
    assert write_notes([slow, floats]) == (
        "int8 is slower than float32: tflite-int8 at exits 1, 2 and 3 as a file of its own (4.50 times the median).",
    )
    both = variant(measured, "int8", (1.5, 1.0, 4.5), alone=9.0)
    other = {"target": "onnx"}
    again = [variant(measured, name, (1.0, 2.0, wide), **other) for name, wide in (("int8", 3.5), ("float32", 3.0))]
    assert write_notes([both, floats, *again]) == (
        "int8 is slower than float32: tflite-int8 at exits 1 and 3 as a chain (1.50 times the median), at exits 1, 2 "
        "and 3 as a file of its own (4.50 times the median); onnx-int8 at exit 3 as a chain (1.17 times the median).",
    )
    assert write_notes([slow]) == ()


def test_int8_is_held_against_floats_that_ran_the_same_way(measured: tuple[Results, Raw]) -> None:
    integers = variant(measured, "int8", (2.0, 2.0, 2.0), delegate="cpu")
    gpu = variant(measured, "float32", (1.0, 1.0, 1.0), delegate="gpu")
    processor = variant(measured, "float32", (1.6, 3.0, 3.0), delegate="cpu")
    fewer = processor.model_copy(update={"exits": processor.exits[:2]})
    for order in ([integers, gpu, processor], [processor, fewer, gpu, integers]):
        assert write_notes(order) == (
            "int8 is slower than float32: tflite-int8 at exit 1 as a chain (1.25 times the median).",
        )
    assert write_notes([gpu, fewer, integers]) == ()


def test_other_targets_are_not_compared(measured: tuple[Results, Raw]) -> None:
    floats = variant(measured, "float32", (1.0, 1.0, 1.0), target="onnx")
    assert write_notes([variant(measured, "int8", (9.0, 9.0, 9.0)), floats]) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runtime_threads": 6}, "More threads were started than asked for: tflite-int8 6 instead of 1 (litert)."),
        ({"cpu_per_wall": 1.9}, "more cores busy than threads were asked for: tflite-int8 1.9 with 1 thread."),
        ({"cpu_per_wall": 0.53}, "(share of the time in which the process had a core): tflite-int8 53%."),
        ({"threads": 2, "cpu_per_wall": 1.05}, "kept fewer cores busy than threads were asked for (the"),
        ({"threads": 2, "cpu_per_wall": 1.8}, ""),
        ({"cpu_per_wall": None, "runtime_threads": None}, ""),
    ],
)
def test_threads_that_were_not_as_asked_are_told(
    measured: tuple[Results, Raw], changes: dict[str, object], words: str
) -> None:
    notes = write_notes([variant(measured, "int8", (1.0, 1.0, 1.0), **changes)])
    assert len(notes) == bool(words)
    assert words in "".join(notes)


def test_a_cascade_that_does_not_pay_or_leaves_elsewhere_is_told(measured: tuple[Results, Raw]) -> None:
    points = measured[0].variants[0].cascade
    slow = points[0].model_copy(update={"speedup": 0.91, "simulation_agreement": 1.0})
    odd = points[1].model_copy(update={"speedup": 1.5, "simulation_agreement": 0.75})
    notes = write_notes([variant(measured, "int8", (1.0, 1.0, 1.0), cascade=(slow, odd))])
    assert notes == (
        "Some images left at another exit than their full outputs say: tflite-int8 at fast 25.00%.",
        "The cascade does not pay against its last exit alone: tflite-int8 at lossless (0.91 ×).",
    )


def test_full_never_leaves_early_so_that_it_need_not_pay(measured: tuple[Results, Raw]) -> None:
    point = measured[0].variants[0].cascade[0]
    full = point.model_copy(update={"point": "full", "speedup": 0.5, "simulation_agreement": 1.0})
    assert write_notes([variant(measured, "int8", (1.0, 1.0, 1.0), cascade=(full,))]) == ()


def test_variants_that_surprise_alike_share_a_sentence(measured: tuple[Results, Raw]) -> None:
    points = measured[0].variants[0].cascade
    slow = [points[0].model_copy(update={"speedup": 0.5}), points[1].model_copy(update={"speedup": 0.75})]
    busy = [
        variant(measured, precision, (1.0, 1.0, 1.0), cascade=tuple(slow), cpu_per_wall=share)
        for precision, share in (("float32", 0.6), ("int8", 0.7))
    ]
    pays, waits = write_notes(busy)
    assert pays.endswith("at lossless (0.50 ×), at fast (0.75 ×); tflite-int8 at lossless (0.50 ×), at fast (0.75 ×).")
    assert waits.endswith("the process had a core): tflite-float32 60%; tflite-int8 70%.")
