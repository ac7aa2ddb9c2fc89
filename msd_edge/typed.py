"""The base of everything that is read from and written to JSON."""

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from msd_edge import __version__
from msd_edge.errors import MsdEdgeError


class Model(BaseModel):
    """The base of all artefact models: frozen, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def refuse_newer(path: Path, value: Any, known: int, error: type[MsdEdgeError]) -> None:
    """Raise if an artefact's JSON object states a schema that only a newer release reads; that release is named.

    Args:
        path: the file, for the message.
        value: what was read.
        known: the newest schema that is read here.
        error: the class of the error to raise.

    Raises:
        error: it is newer.
    """
    stated = value.get("schema_version") if isinstance(value, dict) else None
    if type(stated) is not int or stated <= known:
        return
    versions = value.get("versions")
    wrote = versions.get("msd-edge") if isinstance(versions, dict) else None
    named = isinstance(wrote, str) and re.fullmatch(r"[0-9][0-9A-Za-z.+-]{0,30}", wrote) and wrote != __version__
    raise error(
        f"{path}: needs a newer msd-edge: schema {str(stated)[:20]}, this one reads {known}"
        f"{f'; msd-edge {wrote} wrote it, this is {__version__}' if named else ''}."
    )


def publish_schema(model: type[Model], title: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an artefact; its ``schema_version`` must be written out."""
    schema = model.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": title,
        "required": ["schema_version", *schema["required"]],
    }
