"""The base of everything that is read from and written to JSON."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """The base of all artefact models: frozen, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def publish_schema(model: type[Model], title: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an artefact; its ``schema_version`` must be written out."""
    schema = model.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": title,
        "required": ["schema_version", *schema["required"]],
    }
