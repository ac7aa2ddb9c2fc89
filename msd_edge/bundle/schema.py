"""The manifest as a JSON Schema, for those who write runners in other languages."""

from pathlib import Path
from typing import Any

from msd_edge.bundle.manifest import SCHEMA_VERSION, Manifest
from msd_edge.files import write_json
from msd_edge.typed import publish_schema


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``manifest.json``; cross-checks between fields are the reader's."""
    return publish_schema(Manifest, f"msd-edge bundle manifest, schema {SCHEMA_VERSION}")


def write_schema(folder: Path) -> Path:
    """Write the schema as ``manifest-1.json`` into ``folder`` and return its path."""
    path = folder / f"manifest-{SCHEMA_VERSION}.json"
    write_json(path, manifest_schema())
    return path
