"""Reading bundles: the right files only, and every wrong manifest answered by one sentence."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bundles import make_bundle

from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.errors import BundleError

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))


def rewrite(folder: Path, change: Change) -> None:
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def refused(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        read_bundle(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert caught.value.exit_code == 2
    return message


def test_opens_and_reads_every_file(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    for variant in bundle.manifest.variants:
        for segment in variant.segments:
            assert bundle.read(segment) == (tiny_bundle / segment.path).read_bytes()


def test_variant_by_name_and_by_preference(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    assert bundle.variant().name == "tflite-int8"
    assert bundle.variant("onnx-float32").name == "onnx-float32"
    onnx = read_bundle(make_bundle(tmp_path / "onnx", variants=("onnx-float32", "onnx-int8")))
    assert onnx.variant().name == "onnx-int8"
    only = read_bundle(make_bundle(tmp_path / "float", variants=("tflite-float32", "onnx-float32")))
    assert only.variant().name == "tflite-float32"
    with pytest.raises(BundleError, match=r"no variant 'tflite-int'; did you mean tflite-int8\? \(known: .*onnx-int8"):
        bundle.variant("tflite-int")


def test_missing_or_no_folder_or_no_bundle(tmp_path: Path) -> None:
    assert "there is no such bundle" in refused(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    assert "this is a file" in refused(tmp_path / "file")
    assert "no manifest.json" in refused(tmp_path)
    assert "there is no such bundle" in refused(Path("a\0b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no valid JSON"),
        ("{", "no valid JSON"),
        ("\xff", "no valid JSON"),
        ("[" * 100_000, "nests too deeply"),
        ('{"a":' * 100_000, "nests too deeply"),
        ("[]", "a manifest is a JSON object"),
        ("{}", "schema_version is None"),
        ('{"schema_version": "1"}', "schema_version is '1'"),
        ('{"schema_version": true}', "schema_version is True"),
        ('{"schema_version": 0}', "schema_version is 0"),
        ('{"schema_version": 2, "new": []}', "needs a newer msd-edge: schema 2, this one reads 1"),
        ('{"schema_version": 1, "schema_version": 1}', "'schema_version' stands there twice"),
        ('{"schema_version": NaN}', "NaN is no JSON number"),
        ('{"schema_version": -Infinity}', "-Infinity is no JSON number"),
        ('{"schema_version": ' + "9" * 5000 + "}", "no valid JSON"),
        ('{"schema_version": 1}', "name: field required"),
    ],
)
def test_hostile_text(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    assert message in refused(tmp_path)


def segment(manifest: dict[str, Any], index: int, variant: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = manifest["variants"][variant]["segments"][index]
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: segment(m, 1)["inputs"][0].update(scale=-1),
            "variants[1].segments[1].inputs[0].scale: input should",
        ),
        (lambda m: segment(m, 1)["inputs"][0].update(scale=1e999), "Infinity is no JSON number"),
        (lambda m: segment(m, 1)["inputs"][0].update(scale=1e-300), "variants[1].segments[1].inputs[0].scale"),
        (lambda m: segment(m, 1)["inputs"][0].update(zero_point=10**30), "variants[1].segments[1].inputs[0]"),
        (lambda m: segment(m, 0)["inputs"][0].update(shape=[1, 2**40, 12, 3]), "segments[0].inputs[0].shape[1]"),
        (lambda m: segment(m, 0)["inputs"][0].update(shape=[2, 8, 12, 3]), "the batch is 2"),
        (lambda m: segment(m, 0).update(index="1"), "variants[1].segments[0].index: input should be a valid integer"),
        (lambda m: segment(m, 0).update(extra=1), "variants[1].segments[0].extra: extra inputs are not permitted"),
        (lambda m: segment(m, 0).update(sha256="0"), "variants[1].segments[0].sha256"),
        (lambda m: m.update(classes=m["classes"] + ["more"]), "not (1, 5)"),
        (lambda m: m["input"].update(height=9), "segment 1 takes an image"),
        (lambda m: m["variants"][1]["segments"].pop(), "has features"),
        (lambda m: m["variants"].append(m["variants"][0]), "a variant stands there twice"),
        (lambda m: m["golden"]["outputs"].pop(), "golden samples do not cover"),
        (lambda m: m["variants"][1]["calibration"]["points"][0]["thresholds"].append(0.5), "does not fit 3 exits"),
        (
            lambda m: m["variants"][1]["calibration"]["exits"][0].update(weights=[1.0]),
            "the weights do not fit 3 exits and the max-softmax rule",
        ),
        (
            lambda m: m["variants"][1]["calibration"].update(rule="averaged"),
            "the weights do not fit 3 exits and the averaged rule",
        ),
        (lambda m: m["variants"][1]["calibration"]["exits"][0].update(weights=[1e39]), "weights[0]"),
        (lambda m: m["variants"][1]["calibration"]["exits"][0].update(temperature=1e-44), "temperature"),
    ],
)
def test_mistakes_are_named_with_their_place(folder: Path, change: Change, message: str) -> None:
    rewrite(folder, change)
    assert message in refused(folder)


@pytest.mark.parametrize("field", ["scale", "zero_point", "dtype"])
def test_seam_that_differs_is_refused(folder: Path, field: str) -> None:
    values = {"scale": 0.0123, "zero_point": 3, "dtype": "uint8"}

    def change(manifest: dict[str, Any]) -> None:
        segment(manifest, 1)["inputs"][0][field] = values[field]
        if field == "dtype":
            segment(manifest, 1)["inputs"][0]["zero_point"] = 0

    rewrite(folder, change)
    message = refused(folder)
    assert f"seam 1→2: {'dtype' if field == 'dtype' else field}" in message
    assert "given" in message
    assert "taken" in message


@pytest.mark.parametrize("path", ["../other", "/etc/passwd", "a/../../b", "a\\b", "C:x", "", ".", "a\0b"])
def test_paths_that_leave_the_bundle(folder: Path, path: str) -> None:
    rewrite(folder, lambda m: segment(m, 0).update(path=path))
    assert "no relative path inside the bundle" in refused(folder)


def test_links_that_leave_the_bundle(folder: Path, tmp_path: Path) -> None:
    bundle = read_bundle(folder)
    entry = bundle.variant().segments[0]
    outside = tmp_path / "outside"
    shutil.move(folder / entry.path, outside)
    (folder / entry.path).symlink_to(outside)
    with pytest.raises(BundleError, match="leads out of the bundle"):
        bundle.read(entry)
    shutil.move(outside, folder / "elsewhere")
    (folder / entry.path).unlink()
    (folder / entry.path).symlink_to(folder / "elsewhere")
    assert bundle.read(entry)
    (folder / "elsewhere").unlink()
    (folder / "elsewhere").symlink_to(folder / entry.path)
    with pytest.raises(BundleError, match=r"cannot read|no file that can be read"):
        bundle.read(entry)


def read_error(bundle: Bundle) -> str:
    with pytest.raises(BundleError) as caught:
        bundle.read(bundle.variant().segments[0])
    assert bundle.variant().segments[0].path in str(caught.value)
    return str(caught.value)


def test_file_that_is_not_the_exported_one(folder: Path) -> None:
    bundle = read_bundle(folder)
    path = folder / bundle.variant().segments[0].path
    data = bytearray(path.read_bytes())
    path.write_bytes(data + b"x")
    assert "not the" in read_error(bundle)
    data[-1] ^= 1
    path.write_bytes(data)
    assert "SHA-256 differs" in read_error(bundle)
    path.unlink()
    assert "not there" in read_error(bundle)
    path.mkdir()
    assert "it is none" in read_error(bundle)
    path.rmdir()
    os.mkfifo(path)
    assert "it is none" in read_error(bundle)


def test_exchanged_segment_files_are_refused(folder: Path) -> None:
    bundle = read_bundle(folder)
    first, second = (folder / s.path for s in bundle.variant("onnx-int8").segments[:2])
    aside = first.with_suffix(".aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    with pytest.raises(BundleError, match=r"bytes|SHA-256"):
        bundle.read(bundle.variant("onnx-int8").segments[0])


def places(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix, *(place for key, inner in items for place in places(inner, (*prefix, key)))]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere_reads_or_is_refused_in_one_sentence(tiny_bundle: Path, tmp_path: Path, data: Any) -> None:
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    place = data.draw(st.sampled_from(places(manifest)[1:]))
    inner = manifest
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = data.draw(json_values)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))

    def read() -> None:
        bundle = read_bundle(tmp_path)
        bundle.read(bundle.variant().segments[0])  # refused at the latest here: there are no files in this folder

    with pytest.raises(BundleError) as caught:
        read()
    assert "\n" not in str(caught.value)
