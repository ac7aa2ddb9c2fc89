"""What the report says in sentences, and whom it compares with whom."""

import re
from pathlib import Path

import pytest
from support import report_data as made

from msd_edge.benchmarks.report import findings
from msd_edge.benchmarks.report.load import Source
from msd_edge.benchmarks.report.measures import prepare, time_of, twin


def run_of(results, path="results/x.json"):
    return prepare([Source(Path(path), results)])[0]


def changed(results, place, **values):
    variants = list(results.variants)
    variants[place] = variants[place].model_copy(update=values)
    return results.model_copy(update={"variants": tuple(variants)})


def test_the_headline_is_computed_from_the_fastest_lossless_point():
    run = run_of(made.results())
    choice = findings.choose(run)
    assert (choice.series.label, choice.point.bench.point) == ("tflite-int8", "lossless")
    said = findings.headline(run)
    bench, last = choice.point.bench, choice.series.last
    assert said.startswith(f"tflite-int8 at `lossless`: {100 * bench.accuracy:.1f} % of 2,000 test images right at ")
    assert f"{bench.total.mean:.3f} ms each (median {bench.total.median:.3f})" in said
    assert f"{bench.speedup:.2f} × faster than its own last exit alone" in said
    assert f"({time_of(last).timing.mean:.2f} ms, {100 * last.accuracy:.1f} %)" in said
    second = findings.second_line(run)
    floats = next(series for series in run.series if series.label == "tflite-float32")
    ratio = time_of(floats.last).timing.mean / bench.total.mean
    assert second.startswith(f"{ratio:.2f} × faster than tflite-float32's last exit alone")


def test_without_a_lossless_point_the_most_accurate_one_is_named():
    run = run_of(made.results(points=("first", "second")))
    assert findings.choose(run).point.bench.point == "first"


def test_without_points_the_headline_says_so():
    run = run_of(made.results(points=(), variants=(("onnx", "float32"),)))
    assert findings.headline(run).startswith("No operating point was measured; the best last exit has 91.1 % at ")
    assert findings.second_line(run) == ""


def test_a_slow_cascade_is_called_slow():
    results = made.results(points=("lossless",))
    slow = results.variants[0].cascade[0].model_copy(update={"speedup": 0.8})
    run = run_of(changed(results, 0, cascade=(slow,)))
    assert "1.25 × slower than its own last exit alone" in findings.headline(run)
    assert any(
        "at lossless the cascade is slower than the last exit alone (0.80 ×" in w for w in findings.warnings(run)
    )


def test_speeds_compare_means_of_whole_paths_where_bench_gave_no_ratio():
    results = made.results(points=("lossless",), variants=(("tflite", "int8"),))
    point = results.variants[0].cascade[0].model_copy(update={"speedup": None})
    run = run_of(changed(results, 0, cascade=(point,)))
    exit_ = run.series[0].last
    assert time_of(exit_).timing == exit_.alone_total
    assert run.series[0].points[0].own_speed == pytest.approx(exit_.alone_total.mean / point.total.mean)
    assert run.series[0].points[0].float_speed is None


def test_an_exit_without_whole_times_falls_back_to_inference_and_says_so():
    exit_ = made.results().variants[0].exits[0].model_copy(update={"total": None, "alone_total": None})
    assert time_of(exit_).whole is False
    assert time_of(exit_).timing == exit_.alone
    bare = exit_.model_copy(update={"alone": None})
    assert (time_of(bare).timing, time_of(bare).alone) == (exit_.chain, False)


def test_int8_slower_than_float_is_said_plainly_with_the_exits():
    results = made.results()
    fast = tuple(
        e.model_copy(update={"alone": made.timing(0.1), "chain": made.timing(0.1)}) if e.index < 3 else e
        for e in results.variants[1].exits
    )
    run = run_of(changed(results, 1, exits=fast))
    said = findings.precision_sentences(run)
    assert re.match(
        r"tflite-int8 is slower than tflite-float32 at exit 1 and 2: .* × its speed over all exits; acc", said[0]
    )
    assert said[1].startswith("onnx-int8 runs at 3.12 × the speed of onnx-float32; accuracy differs by −0.2 points")
    assert any(said[0] == warning for warning in findings.warnings(run))
    told = run.source.results.model_copy(update={"notes": ("tflite-int8 is slower than tflite-float32 at exit 1.",)})
    assert not any("is slower than tflite" in warning for warning in findings.warnings(run_of(told)))


def test_slower_at_every_exit():
    results = made.results(variants=(("tflite", "int8"), ("tflite", "float32")))
    slow = tuple(e.model_copy(update={"alone": made.timing(9.0)}) for e in results.variants[0].exits)
    said = findings.precision_sentences(run_of(changed(results, 0, exits=slow)))
    assert said[0].startswith("tflite-int8 is slower than tflite-float32 at every exit: ")


def test_an_expectation_from_few_images_is_met():
    results = made.results(points=("fast",), variants=(("tflite", "int8"),))
    point = results.variants[0].cascade[0].model_copy(update={"expected_accuracy": 0.96, "expected_images": 50})
    assert not any(
        "by more than chance" in warning for warning in findings.warnings(run_of(changed(results, 0, cascade=(point,))))
    )


def test_an_expectation_that_is_not_met_is_a_warning():
    results = made.results(points=("fast",), variants=(("tflite", "int8"),))
    point = results.variants[0].cascade[0].model_copy(update={"expected_accuracy": 0.99, "simulation_agreement": 0.995})
    golden = results.variants[0].golden.model_copy(update={"top1_agreement": 0.5})
    said = findings.warnings(run_of(changed(results, 0, cascade=(point,), golden=golden)))
    assert said[0] == "tflite-int8: only 50.0 % of 64 golden images get the class they got at export."
    assert re.search(r"expected by more than chance at fast \(99\.0 expected, 91\.2 ± 1\.2 measured\), in %\.", said[1])
    assert "0.50 % of the images left at another exit" in said[2]


def test_twins_have_the_same_target_runtime_and_threads():
    run = run_of(made.results())
    assert [getattr(twin(series, run.series), "label", None) for series in run.series] == [
        "tflite-float32",
        "tflite-float32",
        "onnx-float32",
        "onnx-float32",
    ]
    other = run_of(changed(made.results(), 1, threads=2))
    assert twin(other.series[0], other.series) is None


def test_the_same_variant_on_two_runtimes_gets_two_names_and_two_marks():
    results = made.results(variants=(("tflite", "int8"), ("tflite", "int8")))
    run = run_of(changed(results, 1, runtime="tensorflow"))
    assert [series.label for series in run.series] == ["tflite-int8 · litert", "tflite-int8 · tensorflow"]
    assert len({series.slot for series in run.series}) == 2


def test_devices_of_one_name_are_told_apart():
    one, two = made.results(), made.results()
    labels = [run.label for run in prepare([Source(Path("a.json"), one), Source(Path("b.json"), two)])]
    assert labels == ["this machine · a.json", "this machine · b.json"]
    threaded = changed(made.results(variants=(("tflite", "int8"),)), 0, threads=2)
    single = made.results(variants=(("tflite", "int8"),))
    labels = [run.label for run in prepare([Source(Path("a.json"), single), Source(Path("b.json"), threaded)])]
    assert labels == ["this machine · 1 thread", "this machine · 2 threads"]
    labels = [
        run.label
        for run in prepare([Source(Path("a.json"), one), Source(Path("b.json"), made.results(device="Pixel 8"))])
    ]
    assert labels == ["this machine", "Pixel 8"]


def test_what_a_note_says_of_one_variant_is_not_told_of_another():
    results = made.results(points=("lossless", "fast"), variants=(("tflite", "int8"), ("onnx", "int8")))
    for place in (0, 1):
        points = [
            p.model_copy(update={"speedup": 0.8, "simulation_agreement": 0.9}) for p in results.variants[place].cascade
        ]
        results = changed(results, place, cascade=tuple(points))
    told = results.model_copy(
        update={
            "notes": (
                "Some images left at another exit than their full outputs say: tflite-int8 at fast 10.00%; "
                "onnx-int8 at lossless 10.00%.",
                "The cascade does not pay against its last exit alone: tflite-int8 at lossless (0.80 ×); "
                "onnx-int8 at lossless (0.80 ×), at fast (0.80 ×).",
            )
        }
    )
    said = findings.warnings(run_of(told))
    assert [re.match(r"(\S+): at (\S+) (10|the)", sentence).groups() for sentence in said] == [
        ("tflite-int8", "lossless", "10"),
        ("tflite-int8", "fast", "the"),
        ("onnx-int8", "fast", "10"),
    ]


def test_full_never_leaves_early_so_that_it_need_not_pay():
    results = made.results(points=("full", "fast"), variants=(("tflite", "int8"),))
    slow = [point.model_copy(update={"speedup": 0.5}) for point in results.variants[0].cascade]
    said = findings.warnings(run_of(changed(results, 0, cascade=tuple(slow))))
    assert re.findall(r"at (\w+) the cascade is slower", "\n".join(said)) == ["fast"]


def test_points_that_share_a_measurement_are_marked():
    results = made.results(points=("full", "lossless", "fast"), variants=(("tflite", "int8"),))
    full, lossless, fast = results.variants[0].cascade
    lossless = lossless.model_copy(update={"thresholds": full.thresholds})
    run = run_of(changed(results, 0, cascade=(full, lossless, fast)))
    assert [point.same_as for point in run.series[0].points] == ["", "full", ""]
