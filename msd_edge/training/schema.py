"""A run's configuration as a JSON Schema, for those who read runs with other tools."""

from pathlib import Path
from typing import Any

from msd_edge.files import write_json
from msd_edge.training.config import SCHEMA_VERSION, RunInfo
from msd_edge.typed import publish_schema


def run_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``run.json``."""
    return publish_schema(RunInfo, f"msd-edge run, schema {SCHEMA_VERSION}")


def write_schema(folder: Path) -> Path:
    """Write the schema as ``run-1.json`` into ``folder`` and return its path."""
    path = folder / f"run-{SCHEMA_VERSION}.json"
    write_json(path, run_schema())
    return path
