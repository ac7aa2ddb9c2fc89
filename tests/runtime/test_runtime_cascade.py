"""The cascade: it really stops, hands features on untouched, and says what it took."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bundles import ALL, golden_images, make_bundle, reference_logits

import msd_edge
from msd_edge.bundle.golden import read_golden
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.errors import BundleError, ConfigError, DataError, ParityError
from msd_edge.exits.rules import ExitRule
from msd_edge.runtime.cascade import CascadeRunner
from msd_edge.runtime.chain import Chain, Step
from msd_edge.runtime.golden_check import check_golden
from msd_edge.runtime.session import Array, dequantize

IMAGES = golden_images()


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return read_bundle(tiny_bundle)


class Spy:
    """A session that notes what goes in and comes out."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.given: list[dict[str, Array]] = []
        self.gave: list[dict[str, Array]] = []

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        self.given.append(inputs)
        outputs: dict[str, Array] = self.session.run(inputs)
        self.gave.append(outputs)
        return outputs


def spy_on(runner: CascadeRunner | Chain) -> list[Spy]:
    chain = runner if isinstance(runner, Chain) else runner.chain
    spies = [Spy(step.session) for step in chain.steps]
    chain.steps = tuple(
        Step(spy, step.inputs, step.logits, step.scale, step.zero_point, step.features)  # type: ignore[arg-type]
        for spy, step in zip(spies, chain.steps, strict=True)
    )
    return spies


def leaving_at(exit: int, exits: int = 3) -> ExitRule:
    thresholds = [-1.0 if k == exit else 2.0 for k in range(1, exits)]  # everybody leaves, nobody leaves
    return ExitRule("max-softmax", tuple(thresholds), (1.0,) * exits)


@pytest.mark.parametrize("variant", ALL)
@pytest.mark.parametrize("exit", [1, 2, 3])
def test_segments_after_the_exit_are_never_invoked(bundle: Bundle, variant: str, exit: int) -> None:
    with CascadeRunner(bundle, variant=variant, rule=leaving_at(exit)) as cascade:
        spies = spy_on(cascade)
        for image in IMAGES[:4]:
            answer = cascade.predict(image)
            assert answer.exit == exit
            assert len(answer.segment_ms) == exit
        assert [len(spy.given) for spy in spies] == [4 if k <= exit else 0 for k in (1, 2, 3)]


@pytest.mark.parametrize("variant", ALL)
def test_features_are_handed_on_untouched(bundle: Bundle, variant: str) -> None:
    with CascadeRunner(bundle, variant=variant, point="lossless") as cascade:
        spies = spy_on(cascade)
        cascade.predict(IMAGES[0])
        cascade.raw_logits(IMAGES[1])
        for before, after in pairwise(spies):
            for outputs, inputs in zip(before.gave, after.given, strict=True):
                (name, taken), *rest = inputs.items()
                given = outputs["handed" if "handed" in outputs else "features"]
                assert not rest
                assert name == "features"
                assert taken is given  # the very array: no copy, no cast
                assert taken.dtype == {"tflite-int8": "int8", "onnx-int8": "uint8"}.get(variant, "float32")


@pytest.mark.parametrize("variant", ALL)
@pytest.mark.parametrize("averaged", [False, True])
def test_answers_are_those_of_the_rule_on_all_logits(bundle: Bundle, variant: str, averaged: bool) -> None:
    own = ExitRule("averaged", (0.6, 0.7), (1.0,) * 3, ((1.0,), (0.5, 1.0), (0.5, 0.3, 0.2))) if averaged else None
    with CascadeRunner(bundle, variant=variant, point=None if own else "fast", rule=own) as cascade:
        logits = np.stack([cascade.logits(image) for image in IMAGES])
        taken = cascade.rule.take(logits)
        assert len(set(taken.tolist())) > 1
        named = cascade.rule.name_classes(logits)
        assert averaged != np.array_equal(named, logits.argmax(-1))
        for image, row, exit in zip(IMAGES, named, taken, strict=True):
            answer = cascade.predict(image)
            assert answer.exit == exit + 1
            assert answer.index == row[exit]
            assert answer.label == bundle.manifest.classes[answer.index]
            assert answer.probabilities.dtype == np.float32
            assert answer.probabilities.shape == (4,)
            assert answer.probability == answer.probabilities[answer.index] == answer.probabilities.max()
            assert float(answer.probabilities.sum()) == pytest.approx(1, abs=1e-5)
            spent = answer.preprocess_ms + sum(answer.segment_ms) + answer.decision_ms
            assert spent == pytest.approx(answer.total_ms, abs=1e-4)
            assert min(answer.preprocess_ms, answer.decision_ms, *answer.segment_ms) > 0


def test_an_answer_outlives_the_next_image(bundle: Bundle) -> None:
    for variant in ALL:
        with CascadeRunner(bundle, variant=variant, point="fast") as cascade:
            answers = [cascade.predict(image) for image in IMAGES]
            again = [cascade.predict(image) for image in IMAGES]
            for first, second in zip(answers, again, strict=True):
                assert np.array_equal(first.probabilities, second.probabilities)


def test_logits_and_raw_logits(bundle: Bundle) -> None:
    for variant in ALL:
        with CascadeRunner(bundle, variant=variant) as cascade:
            spies = spy_on(cascade)
            raw, logits = cascade.raw_logits(IMAGES[0]), cascade.logits(IMAGES[0])
            specs = [segment.logits for segment in cascade.variant.segments]
            assert raw.dtype == specs[0].dtype
            assert logits.dtype == np.float32
            for k, spec in enumerate(specs):
                assert np.array_equal(logits[k], dequantize(raw[k], spec.scale, spec.zero_point))
            assert np.array_equal(cascade.raw_logits(IMAGES[0], upto=2), raw[:2])
            assert [len(spy.given) for spy in spies] == [3, 3, 2]
            assert np.array_equal(cascade.logits(IMAGES[0], upto=1), logits[:1])


def test_operating_points(bundle: Bundle, tmp_path: Path) -> None:
    with CascadeRunner(bundle) as cascade:
        assert (cascade.point, cascade.variant.name) == ("lossless", "tflite-int8")
        assert cascade.rule == leaving_at(3)
        assert (cascade.runtime, cascade.threads) == ("litert", 1)
        assert cascade.runtime_version
    with pytest.raises(BundleError, match=r"no operating point 'lossles'; did you mean lossless\? .*lossless, fast"):
        CascadeRunner(bundle, point="lossles")
    with pytest.raises(ConfigError, match="one decides"):
        CascadeRunner(bundle, point="fast", rule=leaving_at(1))
    with pytest.raises(ConfigError, match=r"rule is for 2 exits, .* has 3"):
        CascadeRunner(bundle, rule=leaving_at(1, exits=2))
    bare = read_bundle(make_bundle(tmp_path / "bare", variants=("onnx-float32",), calibrated=False))
    with pytest.raises(BundleError, match=r"onnx-float32 is not calibrated.* `msd-edge calibrate "):
        CascadeRunner(bare)
    with CascadeRunner(bare, rule=leaving_at(2)) as cascade:
        assert cascade.predict(IMAGES[0]).exit == 2
    assert check_golden(bare).bit_equal  # needs no calibration


def test_a_first_point_stands_in_for_lossless(bundle: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle.path, tmp_path / "x"))
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    for variant in manifest["variants"]:
        points = variant["calibration"]["points"]
        variant["calibration"]["points"], variant["calibration"]["front"] = points[1:], points[:1]
    file.write_text(json.dumps(manifest))
    with CascadeRunner(read_bundle(folder)) as cascade:
        assert cascade.point == "fast"
    with CascadeRunner(read_bundle(folder), point="lossless") as cascade:
        assert cascade.point == "lossless"


@pytest.mark.parametrize(("exits", "classes", "channels"), [(1, 2, 1), (2, 7, 1), (5, 3, 3)])
def test_other_sizes_of_network(tmp_path: Path, exits: int, classes: int, channels: int) -> None:
    folder = make_bundle(tmp_path / "x", variants=ALL, exits=exits, classes=classes, channels=channels)
    images = golden_images(channels)
    wanted = reference_logits(images, exits, classes)
    for variant in ("tflite-float32", "onnx-float32"):
        with msd_edge.open_bundle(folder, variant=variant, point="fast") as cascade:
            found = np.stack([cascade.logits(image) for image in images])
            np.testing.assert_allclose(found, wanted, atol=1e-3)
            assert cascade.predict(images[0]).exit <= exits
    for variant in ALL:
        assert check_golden(read_bundle(folder), variant).bit_equal


def test_wrong_images_are_refused(bundle: Bundle) -> None:
    with CascadeRunner(bundle) as cascade:
        for wrong in (IMAGES[0].astype(np.float32), IMAGES[0][:4], IMAGES):
            for face in (cascade.predict, cascade.logits, cascade.raw_logits):
                with pytest.raises(DataError, match="this bundle takes uint8"):
                    face(wrong)


def test_one_import_opens_a_bundle_anywhere(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "temp evil é 模型" / "模型"))
    for variant in ALL:
        with msd_edge.open_bundle(folder, point="fast", variant=variant, threads=2) as cascade:
            assert cascade.predict(IMAGES[0]).label in cascade.bundle.manifest.classes
        assert check_golden(read_bundle(folder), variant, threads=2).bit_equal
    assert set(msd_edge.__all__) <= set(dir(msd_edge))
    with pytest.raises(AttributeError, match="no attribute 'open_bundel'"):
        _ = msd_edge.open_bundel


@pytest.fixture
def manifest_of(tiny_bundle: Path, tmp_path: Path) -> dict[str, Any]:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["folder"] = folder
    return dict(manifest)


def broken(manifest: dict[str, Any], variant: str) -> str:
    folder = manifest.pop("folder")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError) as caught:
        Chain(read_bundle(folder), variant=variant)
    assert "segment-" in str(caught.value)
    return str(caught.value)


def put_file(manifest: dict[str, Any], variant: int, segment: int, source: tuple[int, int]) -> None:
    """Let a segment's entry name another real file, with its right hash."""
    other = manifest["variants"][source[0]]["segments"][source[1]]
    entry = manifest["variants"][variant]["segments"][segment]
    entry.update({key: other[key] for key in ("path", "sha256", "bytes")})


def test_float_file_in_the_int8_slot(manifest_of: dict[str, Any]) -> None:
    put_file(manifest_of, 1, 0, source=(0, 0))
    assert "is float32 (1, 8, 12, 3) in the file, int8 (1, 8, 12, 3) in the manifest" in broken(
        manifest_of, "tflite-int8"
    )


def test_another_segments_file(manifest_of: dict[str, Any]) -> None:
    put_file(manifest_of, 1, 1, source=(1, 0))
    assert "the file has no input 'features' (known: image)" in broken(manifest_of, "tflite-int8")


def test_onnx_file_in_a_tflite_slot(manifest_of: dict[str, Any]) -> None:
    put_file(manifest_of, 1, 0, source=(2, 0))
    assert "litert cannot load this TFLite file" in broken(manifest_of, "tflite-int8")


def test_file_with_more_outputs_than_described(manifest_of: dict[str, Any]) -> None:
    manifest_of["variants"][1]["segments"][1]["features"][0]["name"] = "feature"
    assert "no output 'feature'; did you mean features?" in broken(manifest_of, "tflite-int8")


def test_scale_of_the_manifest_is_checked_against_the_file(manifest_of: dict[str, Any]) -> None:
    manifest_of["variants"][1]["segments"][2]["logits"]["scale"] *= 1.01
    assert "output 'logits' has scale" in broken(manifest_of, "tflite-int8")


def test_seam_changed_on_both_sides_is_still_found(manifest_of: dict[str, Any]) -> None:
    segments = manifest_of["variants"][1]["segments"]
    for spec in (segments[0]["features"][0], segments[1]["inputs"][0]):
        spec["zero_point"] += 1
    assert "zero point" in broken(manifest_of, "tflite-int8")


def test_golden_check_measures_a_difference(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = read_golden(bundle, "tflite-int8").outputs
    found = golden.copy()
    found[3, 1, 2] = golden[3, 1, 2] - 2 if golden[3, 1, 2] > 0 else golden[3, 1, 2] + 2
    rows = iter(found)
    monkeypatch.setattr(Chain, "raw_logits", lambda self, image: next(rows))
    check = check_golden(bundle, "tflite-int8")
    assert (check.max_difference, check.bit_equal) == (2, False)
    assert 47 / 48 <= check.top1_agreement <= 1
    monkeypatch.setattr(Chain, "raw_logits", lambda self, image: np.full((3, 4), np.nan, np.float32))
    with pytest.raises(ParityError, match="exit 1 gives a logit that is no finite number for golden image 1"):
        check_golden(bundle, "onnx-float32")


def test_the_runner_notices_that_images_leave_elsewhere(bundle: Bundle) -> None:
    with CascadeRunner(bundle) as cascade:
        watch = cascade.watch
        assert watch is not None
        exits = [cascade.predict(IMAGES[0]).exit for _ in range(watch.window)]
        assert watch.images == watch.window
        # The same picture again and again is not what calibration saw, unless everything leaves at this exit anyway.
        assert (watch.drift is None) == (watch.expected[exits[0] - 1] > 0.95)
        if watch.drift is not None:
            assert watch.drift.seen[exits[0] - 1] == 1
    with CascadeRunner(bundle, rule=leaving_at(1)) as own:
        assert own.predict(IMAGES[0]).exit == 1
        assert own.watch is None
