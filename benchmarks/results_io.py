"""Results on disk: a small file for reading, and beside it every single time that was taken."""

import contextlib
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from msd_edge.benchmarks.job import Answers
from msd_edge.benchmarks.results import SCHEMA_VERSION, Results
from msd_edge.bundle.reader import explain
from msd_edge.errors import ConfigError
from msd_edge.files import read_json, write_bytes, write_json
from msd_edge.typed import Model, publish_schema, refuse_newer

_RAW_LIMIT = 1 << 30


class Raw(Model):
    """What stands in a raw-timings file.

    Attributes:
        created: the same as in the results that it belongs to.
        times: milliseconds in the order taken, by the name that ``Timing.raw`` gives.
        images: place of each measured image in the test split.
        labels: its class.
        answers: by variant and operating point, for each image the first time it went through.
    """

    schema_version: Literal[1] = 1
    created: str
    times: dict[str, tuple[float, ...]]
    images: tuple[int, ...]
    labels: tuple[int, ...]
    answers: dict[str, dict[str, Answers]]


def raw_path(path: Path) -> Path:
    """Return where the raw timings of the results at ``path`` lie: ``x.json`` has ``x.raw.json`` beside it."""
    return path.with_name(f"{path.stem}.raw.json")


def write_results(path: Path, results: Results, raw: Raw) -> Results:
    """Write results and raw timings, both or neither; a failure leaves no new file behind and keeps the old ones.

    Args:
        path: ends in ``.json``.
        results: what was measured.
        raw: every time.

    Returns:
        The results as written, with the name of the raw-timings file.

    Raises:
        ConfigError: ``path`` is no name for a results file.
    """
    check_path(path)
    beside = raw_path(path)
    results = results.model_copy(update={"raw": beside.name})
    # The results decide: until they are there the old pair stands, then `read_raw` finds the new timings either way.
    following = _following(beside)
    write_bytes(following, raw.model_dump_json().encode() + b"\n")
    try:
        write_json(path, results.model_dump(mode="json"))
    except BaseException:
        with contextlib.suppress(OSError):
            following.unlink()
        raise
    os.replace(following, beside)
    return results


def check_path(path: Path) -> None:
    """Check that results can be written to ``path``.

    Raises:
        ConfigError: it does not end in ``.json``, ends in ``.raw.json``, or is a folder.
    """
    if path.suffix != ".json" or path.name.endswith(".raw.json") or path.is_dir():
        raise ConfigError(f"{path}: results are written to a file that ends in .json (and not in .raw.json).")


def read_results(path: Path) -> Results:
    """Read a results file.

    Raises:
        ConfigError: it is missing, damaged, no results file, or of a newer schema.
    """
    value = read_json(path, what="results file", error=ConfigError)
    version = value.get("schema_version") if isinstance(value, dict) else None
    if type(version) is not int or version < 1:
        raise ConfigError(f"{path}: this is no results file of `msd-edge bench`.")
    refuse_newer(path, value, SCHEMA_VERSION, ConfigError)
    try:
        return Results.model_validate(value)
    except ValidationError as problem:
        raise ConfigError(f"{path}: {explain(problem)}.") from None


def read_raw(path: Path, results: Results) -> Raw:
    """Read the raw timings that belong to the results at ``path``.

    Raises:
        ConfigError: they are missing, damaged, or belong to other results.
    """
    name = results.raw or raw_path(path).name
    if Path(name).name != name or name == ".." or "\\" in name or "\0" in name:
        raise ConfigError(f"{path}: its raw timings are named {name!r:.100}, which is no file beside it.")
    beside = path.with_name(name)
    if _following(beside).is_file():  # a bench was killed between the two files
        raw = _load_raw(_following(beside))
        if raw.created == results.created:
            return raw
    raw = _load_raw(beside)
    if raw.created != results.created:
        raise ConfigError(f"{beside}: these raw timings belong to other results than {path}; run the bench again.")
    return raw


def _following(beside: Path) -> Path:
    """Return where raw timings lie whose results are being written."""
    return beside.with_name(f".{beside.name}.next")


def _load_raw(file: Path) -> Raw:
    value = read_json(file, what="raw-timings file", error=ConfigError, limit=_RAW_LIMIT)
    refuse_newer(file, value, SCHEMA_VERSION, ConfigError)
    try:
        return Raw.model_validate(value)
    except ValidationError as problem:
        raise ConfigError(f"{file}: {explain(problem)}.") from None


def results_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a results file."""
    return publish_schema(Results, f"msd-edge results, schema {SCHEMA_VERSION}")


def raw_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the raw timings beside a results file."""
    return publish_schema(Raw, f"msd-edge raw timings, schema {SCHEMA_VERSION}")


def write_schema(folder: Path) -> Path:
    """Write the schemas as ``results-1.json`` and ``raw-1.json`` into ``folder`` and return the former's path."""
    path = folder / f"results-{SCHEMA_VERSION}.json"
    write_json(path, results_schema())
    write_json(folder / f"raw-{SCHEMA_VERSION}.json", raw_schema())
    return path
