"""Artefacts of every schema since the first are read; newer ones are refused, and what wrote them is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from msd_edge import __version__
from msd_edge.benchmarks.results import SCHEMA_VERSION as RESULTS_VERSION
from msd_edge.benchmarks.results_io import raw_schema, read_raw, read_results
from msd_edge.bundle.files import list_files
from msd_edge.bundle.manifest import SCHEMA_VERSION as BUNDLE_VERSION
from msd_edge.bundle.reader import read_bundle
from msd_edge.errors import MsdEdgeError
from msd_edge.runtime.golden_check import check_golden
from msd_edge.training.config import SCHEMA_VERSION as RUN_VERSION
from msd_edge.training.run import RunFolder, load_trained
from msd_edge.training.schema import run_schema
from msd_edge.training.setup import plan_resume, start_trainer

FIXTURES = Path(__file__).parent / "fixtures" / "versions"
SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
VERSIONS = sorted(path.name for path in FIXTURES.iterdir())


@pytest.fixture(params=VERSIONS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of what one version wrote."""
    return Path(shutil.copytree(FIXTURES / request.param, tmp_path / "kept"))


def test_every_version_since_the_first_is_kept() -> None:
    assert max(RUN_VERSION, BUNDLE_VERSION, RESULTS_VERSION) == len(VERSIONS)
    assert [str(number) for number in range(1, len(VERSIONS) + 1)] == VERSIONS


def test_a_run_is_read_and_gone_on_with(kept: Path) -> None:
    folder = RunFolder(kept / "run")
    network, info, epoch = load_trained(folder.path)
    assert network.exits == len(info.places) == 2
    rows = folder.read_metrics()
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[epoch - 1]["best_epoch"] == epoch
    trainer, _, _ = start_trainer(plan_resume(folder, epochs=4))
    trainer.train(lambda _: None, lambda _epoch, _step, _steps: None)
    assert [row["epoch"] for row in folder.read_metrics()] == [1, 2, 3, 4]


def test_a_bundle_computes_what_it_did(kept: Path) -> None:
    bundle = read_bundle(kept / "bundle")
    assert list_files(bundle)
    for variant in bundle.manifest.variants:
        assert variant.calibration is not None
        found = check_golden(bundle, variant.name)
        assert found.top1_agreement == 1
        assert found.max_difference < 1e-3


def test_results_are_read_and_reported(kept: Path) -> None:
    from msd_edge.benchmarks.report.load import load
    from msd_edge.benchmarks.report.page import build_page

    path = kept / "results.json"
    results = read_results(path)
    assert len(read_raw(path, results).images) == results.options["images"]
    page = build_page(load([path], kept / "bundle"))
    assert page.rstrip().endswith("</html>")


PLACES = {
    "run": "run/run.json",
    "manifest": "bundle/manifest.json",
    "results": "results.json",
    "raw": "results.raw.json",
}


@pytest.mark.parametrize("kind", PLACES)
def test_what_was_written_fits_the_published_schema_of_its_version(kept: Path, kind: str) -> None:
    import jsonschema

    value = json.loads((kept / PLACES[kind]).read_text())
    schema = json.loads((SCHEMAS / f"{kind}-{value['schema_version']}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator(schema)
    checker.validate(value)
    assert list(checker.iter_errors(value | {"unheard_of": 1}))
    del value["schema_version"]
    assert list(checker.iter_errors(value))


def test_published_schemas_are_current() -> None:
    command = "write_schema(Path('docs/schemas')) of msd_edge.training.schema and msd_edge.benchmarks.results_io"
    for kind, schema in (("run", run_schema()), ("raw", raw_schema())):
        assert json.loads((SCHEMAS / f"{kind}-1.json").read_text()) == schema, f"renew it: {command}"


def open_all(kept: Path) -> None:
    RunFolder(kept / "run").read_info()
    read_bundle(kept / "bundle")
    read_raw(kept / "results.json", read_results(kept / "results.json"))


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("wrote", ["9.1.0", None, 'x"; rm -rf /', ["9"], "9" * 99])
def test_a_newer_one_is_refused_with_the_release_that_wrote_it(kept: Path, kind: str, wrote: Any) -> None:
    open_all(kept)
    path = kept / PLACES[kind]
    value = json.loads(path.read_text()) | {"schema_version": 7, "unheard_of": {}}
    if wrote is not None and kind != "raw":
        value["versions"] = {"msd-edge": wrote}
    path.write_text(json.dumps(value))
    with pytest.raises(MsdEdgeError) as caught:
        open_all(kept)
    ends = (
        f"; msd-edge 9.1.0 wrote it, this is {__version__}."
        if wrote == "9.1.0" and kind != "raw"
        else "this one reads 1."
    )
    assert str(caught.value).startswith(f"{path}: needs a newer msd-edge: schema 7, this one reads 1")
    assert str(caught.value).endswith(ends)
    assert caught.value.exit_code == 2
