"""Which results are read, which bundle belongs to them, what is refused."""

import json
import os

import pytest
from support import report_data as made

from msd_edge.benchmarks.report.load import load, newest_results, read_checked
from msd_edge.errors import BundleError, ConfigError


@pytest.fixture
def work(tmp_path):
    """Return (results file, bundles folder) that fit together."""
    sha = made.save_bundle(tmp_path / "bundles" / "resnet20-cifar10", made.manifest())
    return made.save_results(tmp_path / "results" / "a.json", made.results(manifest_sha256=sha)), tmp_path / "bundles"


def test_the_newest_results_are_taken_raw_timings_never(tmp_path):
    for age, name in enumerate(("new.json", "old.json", "new.raw.json", ".new.json.partial-x.json")):
        made.save_results(tmp_path / name, made.results())
        os.utime(tmp_path / name, (10_000 + (age > 1) * 50, 10_000 - age * 10 + (age > 1) * 50))
    assert newest_results(tmp_path).name == "new.json"


def test_no_results_at_all(tmp_path):
    with pytest.raises(ConfigError, match=r"no results here.*msd-edge bench"):
        newest_results(tmp_path / "results")


def test_the_bundle_is_found_by_its_manifest_whatever_its_name(work):
    path, bundles = work
    (bundles / "resnet20-cifar10").rename(bundles / "renamed é")
    assert load([path], bundles=bundles)[0].bundle.path.name == "renamed é"


def test_a_bundle_that_changed_since_is_not_shown_as_proof(work):
    path, bundles = work
    manifest = bundles / "resnet20-cifar10" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    source = load([path], bundles=bundles)[0]
    assert source.bundle is None
    assert "resnet20-cifar10" in source.missing
    assert "--bundle DIR" in source.missing
    with pytest.raises(ConfigError, match="not the bundle that"):
        load([path], manifest.parent)


def test_a_named_bundle_is_used_for_the_results_it_fits(work, tmp_path):
    path, bundles = work
    other = made.save_results(tmp_path / "b.json", made.results(manifest_sha256="f" * 64))
    sources = load([path, other], bundles / "resnet20-cifar10", tmp_path / "none")
    assert sources[0].bundle is not None
    assert sources[1].missing.startswith("These results were not measured with")
    with pytest.raises(BundleError):
        load([path], tmp_path / "nowhere")


def test_the_same_file_twice_is_refused(work):
    path, bundles = work
    with pytest.raises(ConfigError, match="twice"):
        load([path, path.parent / "." / path.name], bundles=bundles)


def spoil(kind):
    results = json.loads(made.results(with_examples=True).model_dump_json())
    variant = results["variants"][0]
    if kind == "no variants":
        results["variants"] = []
    elif kind == "no exits":
        variant["exits"] = []
    elif kind == "exit order":
        variant["exits"].reverse()
    elif kind == "too many right":
        variant["exits"][0]["correct"] = 5000
    elif kind == "point right":
        variant["cascade"][0]["correct"] = 5000
    elif kind == "point exits":
        variant["cascade"][0]["exit_counts"] = [2000]
    elif kind == "point counts":
        variant["cascade"][0]["exit_counts"][0] += 1
    elif kind == "example":
        variant["examples"][0]["label"] = 10
    elif kind == "newer":
        results["schema_version"] = 2
    elif kind == "manifest":
        results = {"schema_version": 1, "name": "x"}
    return results


@pytest.mark.parametrize(
    "kind",
    [
        "no variants",
        "no exits",
        "exit order",
        "too many right",
        "point right",
        "point exits",
        "point counts",
        "example",
        "newer",
        "manifest",
    ],
)
def test_results_that_contradict_themselves_are_refused(tmp_path, kind):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(spoil(kind)))
    with pytest.raises(ConfigError, match=r"x\.json: ") as caught:
        read_checked(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema_version": NaN}', b"\xff\xfe", b"12"])
def test_what_is_no_results_file_is_refused(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.json"):
        read_checked(path)
    with pytest.raises(ConfigError, match="there is no such results file"):
        read_checked(tmp_path / "y.json")
