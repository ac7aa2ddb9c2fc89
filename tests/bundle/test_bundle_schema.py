"""The published JSON Schema is the manifest's, and manifests that are written follow it."""

import json
from pathlib import Path

import pytest

from msd_edge.bundle.schema import manifest_schema, write_schema

PUBLISHED = Path(__file__).parents[2] / "docs" / "schemas" / "manifest-1.json"


def test_published_schema_is_current(tmp_path: Path) -> None:
    command = "from pathlib import Path; from msd_edge.bundle.schema import write_schema as w; w(Path('docs/schemas'))"
    assert PUBLISHED.read_text() == write_schema(tmp_path).read_text(), f'renew it: python -c "{command}"'


def test_written_manifests_follow_it(tiny_bundle: Path) -> None:
    import jsonschema

    schema = manifest_schema()
    checker = jsonschema.Draft202012Validator(schema)
    checker.check_schema(schema)
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    checker.validate(manifest)
    manifest["variants"][0]["segments"][0]["inputs"][0]["scale"] = -1
    with pytest.raises(jsonschema.ValidationError):
        checker.validate(manifest)
    del manifest["schema_version"]
    assert any("schema_version" in error.message for error in checker.iter_errors(manifest))
