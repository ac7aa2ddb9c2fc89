"""The page: well formed, alone in the world, inert whatever the names are, complete, and readable without anything."""

import base64
import hashlib
import re
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import report_data as made
from support.page_check import Page

from msd_edge.benchmarks.report.examples import thumb
from msd_edge.benchmarks.report.load import Source, load
from msd_edge.benchmarks.report.page import build_page
from msd_edge.errors import RuntimeUnavailable

HOSTILE = "<script>alert(1)</script>\"'--><img src=x onerror=alert(1)>]]>{{ 7*7 }}`&amp;"


def page_of(tmp_path, *results, bundles=None):
    paths = [made.save_results(tmp_path / "results" / f"{i}.json", value) for i, value in enumerate(results)]
    html = build_page(load(paths, bundles=bundles or tmp_path / "bundles"))
    return Page(html), html


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Return the page of four variants, three exits and four points with its bundle at hand."""
    folder = tmp_path_factory.mktemp("full")
    sha = made.save_bundle(folder / "bundles" / "resnet20-cifar10", made.manifest())
    return page_of(folder, made.results(manifest_sha256=sha, notes=("A note from the bench.",)))


def test_it_is_well_formed_and_needs_nothing_from_outside(full):
    page, html = full
    assert page.wrong == []
    assert html.lstrip().startswith("<!doctype html>")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html)
    assert len(page.all("h1")) == 1
    assert page.all("html")[0]["lang"] == "en"


def test_the_policy_lets_the_pages_own_script_run_and_no_other(full):
    page, html = full
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv"))
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy
    assert html.count("<script") == 1


def test_every_picture_and_table_speaks(full):
    page, html = full
    for svg in page.all("svg"):
        if svg.get("aria-hidden") != "true":
            assert svg["role"] == "img"
            assert set(svg["aria-labelledby"].split()) <= page.ids
    assert html.count("<caption>") == len(page.all("table"))
    assert all(cell.get("scope") for cell in page.all("th"))
    assert all(image["alt"] for image in page.all("img"))
    scrolls = [div for div in page.all("div") if div.get("class") == "scroll"]
    assert len(scrolls) == len(page.all("table"))  # a table scrolls in its own box, reachable by keyboard
    assert all(div["tabindex"] == "0" and div["aria-label"] for div in scrolls)
    for link in page.all("a"):
        assert link["href"][1:] in page.ids


def test_it_tells_what_was_measured(full):
    text = full[0].text
    for words in (
        "tflite-int8 at lossless : 91.0 % of 2,000 test images right at",
        "5.60 × faster than tflite-float32's last exit alone",
        "61 / 24 / 15",
        "none left here",
        "✗ wrong:",
        "A note from the bench.",
        "tflite-int8 runs at 3.80 × the speed of tflite-float32",
        "ECE 1.5 %",
        "CONV_2D 8 · ADD 3 · FULLY_CONNECTED 1 · MEAN 1 · PAD 1",
        "McNemar's exact test",
        "0.0235294",
        "stage3.0.conv2",
        "AVX512-VNNI",
        "resnet20-cifar10.raw.json",
        "from the raw uint8 image to the input tensor",
        "msd-edge export runs/resnet20-cifar10 --target tflite --target onnx --int8 --float32",
        "--device cpu --threads 1 --seconds 8.0 --out",
    ):
        assert words in text.replace("\N{NO-BREAK SPACE}", " "), words


def test_names_that_are_markup_stay_text(tmp_path):
    classes = tuple(f"{i}{HOSTILE}" for i in range(4))
    results = made.results(
        classes=classes, device=HOSTILE, bundle=HOSTILE, notes=(HOSTILE,), points=(HOSTILE, "lossless")
    )
    versions = {HOSTILE: HOSTILE}
    results = results.model_copy(update={"versions": versions, "options": versions, "data": HOSTILE, "raw": HOSTILE})
    page, html = page_of(tmp_path, results)
    assert page.wrong == []
    assert len(page.all("script")) == 1
    assert not any(image["src"] == "x" for image in page.all("img"))
    assert HOSTILE in page.text
    assert html.count("{{ 7*7 }}") > 10  # nobody evaluated it


def test_a_hostile_manifest_stays_text(tmp_path):
    manifest = made.manifest(classes=(HOSTILE, "b", "c", "d"), points=(HOSTILE,))
    variants = tuple(v.model_copy(update={"float_layers": (HOSTILE,)}) for v in manifest.variants)
    source = manifest.source.model_copy(update={"run": HOSTILE, "arch": HOSTILE})
    sha = made.save_bundle(
        tmp_path / "bundles" / "x", manifest.model_copy(update={"variants": variants, "source": source})
    )
    page, _ = page_of(tmp_path, made.results(manifest_sha256=sha, classes=manifest.classes))
    assert page.wrong == []
    assert len(page.all("script")) == 1
    assert page.text.count(HOSTILE) > 3


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_name_gives_a_well_formed_page(name):
    results = made.results(
        classes=(name, "b"), bundle=name, device=name, points=(name,), variants=(("tflite", "int8"),), notes=(name,)
    )
    page = Page(build_page([Source(Path("x.json"), results, missing=name)]))
    assert page.wrong == []
    assert len(page.all("script")) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"exits": 1},
        {"exits": 1, "points": ()},
        {"exits": 7, "points": ("lossless",), "with_examples": False},
        {"variants": (("tflite", "float16"), ("tflite", "float32"))},
        {"variants": (("onnx", "int8"),)},
        {"points": ()},
        {"images": 1, "points": ()},
        {"classes": tuple(f"class {i} " + "very long name " * 9 for i in range(100))},
        {"classes": ("模型", "süß", "\u202eevil", "👩‍👩‍👧")},
    ],
    ids="-".join,
)
def test_odd_shapes_of_results(tmp_path, options):
    page, _ = page_of(tmp_path, made.results(**options))
    assert page.wrong == []
    assert "nan" not in page.text.split()
    assert "No bundle under" in page.text


def test_no_time_at_all_and_no_error_at_all(tmp_path):
    nothing = made.timing(0.0)
    results = made.results(points=("lossless",), variants=(("tflite", "int8"), ("tflite", "float32")))
    variants = []
    for variant in results.variants:
        exits = tuple(
            e.model_copy(
                update=dict.fromkeys(("chain", "alone", "total", "alone_total"), nothing)
                | {"correct": 2000, "accuracy": 1.0, "reliability": ()}
            )
            for e in variant.exits
        )
        point = variant.cascade[0].model_copy(
            update=dict.fromkeys(("total", "inference", "preprocess", "decision"), nothing)
            | {"speedup": None, "correct": 2000, "accuracy": 1.0, "expected_accuracy": 1.0}
        )
        variants.append(variant.model_copy(update={"exits": exits, "cascade": (point,)}))
    page, _ = page_of(tmp_path, results.model_copy(update={"variants": tuple(variants)}))
    assert page.wrong == []
    assert "100.0 ±" in page.text


def test_several_devices_share_one_page_and_one_proof(tmp_path):
    sha = made.save_bundle(tmp_path / "bundles" / "x", made.manifest())
    page, _ = page_of(
        tmp_path,
        made.results(manifest_sha256=sha),
        made.results(manifest_sha256=sha, device="Pixel 8", factor=30.0),
    )
    assert page.wrong == []
    assert page.text.count("Parity of every file") == 1
    assert page.text.count("Pixel 8") > 8
    assert page.text.count("mean ms per image, logarithmic") == 4  # two devices, wide and narrow
    assert "device" in page.text


def test_images_that_are_no_png_are_left_out(tmp_path):
    results = made.results(points=("lossless",))
    bad = ('"><script>alert(1)</script>', "", "AAAA", "not base64!")
    examples = tuple(
        example.model_copy(update={"png": png}) for example, png in zip(results.variants[0].examples, bad, strict=False)
    )
    variant = results.variants[0].model_copy(update={"examples": examples})
    page, _ = page_of(tmp_path, results.model_copy(update={"variants": (variant,)}))
    assert page.wrong == []
    assert len(page.all("script")) == 1
    assert page.text.count("image not readable") == 4


def test_small_images_are_enlarged_by_whole_factors():
    example = made.results(points=("x",)).variants[0].examples[0]
    sizes = {}
    for side in (8, 28, 32, 96, 224):
        shown = thumb(example.model_copy(update={"png": made.png(1, side)}))
        sizes[side] = (shown.width, shown.height, shown.pixelated)
    assert sizes == {
        8: (96, 96, True),
        28: (84, 84, True),
        32: (96, 96, True),
        96: (96, 96, False),
        224: (96, 96, False),
    }


def test_without_jinja_there_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'msd-edge\[report\]'"):
        build_page([])
