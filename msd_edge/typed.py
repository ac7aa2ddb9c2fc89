"""The base of everything that is read from and written to JSON."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """The base of all artefact models: frozen, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
