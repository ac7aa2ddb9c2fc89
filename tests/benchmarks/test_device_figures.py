"""From what the app wrote down to figures: whole and right, or refused. The stand-in's own answer is changed for it."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.bench_data import make_dataset
from support.phone_answer import PhoneAnswer, make_answer

from msd_edge.benchmarks.devices.phone_figures import Brought, agree_with_host, figure_report
from msd_edge.benchmarks.devices.protocol import PhoneResult
from msd_edge.benchmarks.job import Report
from msd_edge.benchmarks.notes import write_notes
from msd_edge.errors import DeviceRunError, ParityError

DATA = make_dataset(16)
IMAGES = DATA.test.read(np.arange(16))


class Answer(PhoneAnswer):
    def report(self, change: Callable[[dict[str, Any]], object] = lambda value: None, **files: bytes) -> Report:
        """Make the figures of this answer, changed."""
        value = json.loads(json.dumps(self.value))
        change(value)
        result = PhoneResult.model_validate_json(json.dumps(value))
        brought = Brought(result, files.get("golden", self.golden), files.get("logits", self.logits))
        return figure_report(self.bundle, self.variant, self.calibration, self.job, brought)


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    made = make_answer(tmp_path_factory.mktemp("files"), DATA)
    return Answer(**vars(made))


def test_figures_are_those_of_the_raw_data(answer: Answer) -> None:
    report = answer.report()
    variant = report.variant
    assert variant.golden.bit_equal
    assert [point.images for point in variant.cascade] == [16, 16]
    assert all(point.simulation_agreement == 1 for point in variant.cascade)
    fast = variant.cascade[1]
    said = answer.value["answers"]["fast"]
    assert fast.correct == int((np.array(said["predicted"]) == DATA.test.labels).sum())
    assert list(fast.exit_counts) == np.bincount(said["exits"], minlength=4)[1:].tolist()
    assert fast.total.median == pytest.approx(np.median(answer.value["times"]["point-fast/total"]))
    assert fast.speedup is not None
    assert variant.cpu_per_wall is not None
    assert report.raw[str(fast.total.raw)] == tuple(answer.value["times"]["point-fast/total"])


def test_points_with_the_same_setting_share_what_the_app_measured(answer: Answer) -> None:
    first = answer.calibration.points[0]
    twin = first.model_copy(update={"name": "twin"})
    calibration = answer.calibration.model_copy(update={"points": (*answer.calibration.points, twin)})
    brought = Brought(PhoneResult.model_validate_json(json.dumps(answer.value)), answer.golden, answer.logits)
    report = figure_report(answer.bundle, answer.variant, calibration, answer.job, brought)
    assert [point.point for point in report.variant.cascade] == ["lossless", "fast", "twin"]
    assert report.variant.cascade[2] == report.variant.cascade[0].model_copy(update={"point": "twin"})
    assert report.answers["twin"] == report.answers["lossless"]


def test_this_machine_agrees(answer: Answer) -> None:
    done: list[int] = []
    variant = answer.bundle.variant()
    found = agree_with_host(answer.bundle, variant, IMAGES, answer.logits, 1, done.append)
    assert found is not None
    assert (found.images, found.bit_equal, found.top1_agreement) == (16, True, 1)
    assert done[-1] == 16
    other = np.frombuffer(answer.logits, np.int8).copy()
    other[0] ^= 1
    found = agree_with_host(answer.bundle, variant, IMAGES, other.tobytes(), 1, done.append)
    assert found is not None
    assert (found.bit_equal, found.max_difference) == (False, 1)


def test_processor_time_that_is_unknown_is_no_figure(answer: Answer) -> None:
    def forget(value: dict[str, Any]) -> None:
        for turn in value["turns"]:
            turn[5] = None

    assert answer.report(forget).variant.cpu_per_wall is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["times"].pop("exit-2/total"), "has 0 times of exit-2/total, and at least 1"),
        (lambda v: v["times"]["point-fast/total"].pop(), "has 15 times of point-fast/total, and at least 16"),
        (lambda v: v["segments"].pop(), "has 2 segments and 0 stand-alone exits loaded"),
        (lambda v: v.update(threads=2), "is of 2 threads, and 1 were asked for"),
        (lambda v: v["logits"].update(images=15), "has logits of 15 images, not of 16"),
        (lambda v: v["answers"].pop("fast"), "at fast does not cover all 16 images"),
        (lambda v: v["answers"]["fast"]["exits"].pop(), "at fast does not cover all 16 images"),
        (lambda v: v["answers"]["fast"]["exits"].__setitem__(0, 4), "names an exit or a class that the bundle has not"),
        (lambda v: v["answers"]["fast"]["predicted"].__setitem__(0, -1), "names an exit or a class"),
        (lambda v: v["golden"].update(bit_equal=False), "says another thing of the golden samples"),
        (lambda v: v["logits"].update(sha256="0" * 64), "logits.bin arrived as something else"),
        (lambda v: v["golden"].update(sha256="0" * 64), "golden.bin arrived as something else"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(
    answer: Answer, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(DeviceRunError, match=message):
        answer.report(change)


def test_logits_of_the_wrong_size_are_refused(answer: Answer) -> None:
    short = answer.logits[:-1]
    with pytest.raises(DeviceRunError, match="which is not"):
        answer.report(lambda v: v["logits"].update(sha256=hashlib.sha256(short).hexdigest()), logits=short)


def test_golden_logits_that_are_wrong_are_refused_whatever_the_app_says(answer: Answer) -> None:
    spoilt = np.frombuffer(answer.golden, np.int8).reshape(-1, 3, 4)[:, :, ::-1].tobytes()
    with pytest.raises(ParityError, match="does not compute what it computed at export"):
        answer.report(lambda v: v["golden"].update(sha256=hashlib.sha256(spoilt).hexdigest()), golden=spoilt)


def test_heat_and_missed_frames_are_noted(answer: Answer) -> None:
    """The same phone after half an hour is another phone."""
    minutes = [{"times": [1.0 * grow] * 5, "thermal": status} for grow, status in ((1, 0), (1.05, 1), (1.9, 3))]

    def warm(value: dict[str, Any]) -> None:
        value["sustain"] = {"contender": "point-lossless", "minutes": [*minutes, {"times": [], "thermal": 3}]}
        value["paced"] = [{"contender": "point-fast", "fps": 30.0, "times": [40.0, 41.0], "missed": 3}]

    report = answer.report(warm)
    sustained = report.variant.sustained
    assert sustained is not None
    assert [(each.minute, each.thermal, each.total.median) for each in sustained.minutes] == [
        (1, 0, 1.0),
        (2, 1, 1.05),
        (3, 3, 1.9),
    ]
    notes = write_notes([report.variant])
    assert notes[-2:] == (
        "Frames were missed: tflite-int8 point-fast 3 of 5 at 30 a second.",
        "Median while working without rest: tflite-int8 point-lossless 1.000 ms in minute 1 and 1.900 ms in minute 3 "
        "(it slowed down in minute 3).",
    )
    assert report.raw["tflite-int8/sustained/3"] == (1.9,) * 5
    assert report.raw["tflite-int8/paced/point-fast"] == (40.0, 41.0)
