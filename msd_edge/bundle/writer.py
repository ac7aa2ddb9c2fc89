"""Fills a bundle folder: files first, the manifest last; later only the manifest is written anew."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from msd_edge.bundle.choices import closest
from msd_edge.bundle.manifest import Calibration, Manifest, RelativePath
from msd_edge.bundle.reader import MANIFEST, Bundle, explain, read_bundle
from msd_edge.errors import BundleError
from msd_edge.files import sha256_bytes, sha256_file, write_bytes, write_json

_RELATIVE: TypeAdapter[str] = TypeAdapter(RelativePath)


def add_file(folder: Path, relative: str, data: bytes) -> tuple[str, str, int]:
    """Write a file into a bundle folder.

    Args:
        folder: the bundle being filled.
        relative: where in it, with forward slashes.
        data: the content, not empty.

    Returns:
        The path as given, the SHA-256 in hexadecimal, the size in bytes: what a manifest's entry says.

    Raises:
        BundleError: the path is not inside the bundle, is taken, or there is nothing to write.
    """
    try:
        _RELATIVE.validate_python(relative)
    except ValidationError as problem:
        raise BundleError(f"{folder}: {explain(problem)}.") from None
    path = folder / relative
    if path.exists():
        raise BundleError(f"{path}: two files of the bundle would have this name.")
    if not data:
        raise BundleError(f"{path}: this file would be empty.")
    write_bytes(path, data)
    return relative, sha256_bytes(data), len(data)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json``, whole or not at all: the last file of a new bundle."""
    write_json(folder / MANIFEST, _plain(manifest))


def replace_calibration(bundle: Bundle, calibrations: Mapping[str, Calibration]) -> Bundle:
    """Put calibrations into a bundle's manifest, replacing those of the same variants; no other file is touched.

    Args:
        bundle: the bundle as opened.
        calibrations: by variant name.

    Returns:
        The bundle, opened anew.

    Raises:
        BundleError: a variant is unknown, a calibration does not fit it, or the manifest has changed since.
    """
    names = [variant.name for variant in bundle.manifest.variants]
    for name in calibrations:
        if name not in names:
            raise BundleError(f"{bundle.path}: there is no variant {name!r} to calibrate{closest(name, names)}.")
    plain = _plain(bundle.manifest)
    for name, entry in zip(names, plain["variants"], strict=True):
        if name in calibrations:
            entry["calibration"] = calibrations[name].model_dump(mode="json")
    try:
        manifest = Manifest.model_validate(plain)
    except ValidationError as problem:
        raise BundleError(f"{bundle.path}: {explain(problem)}.") from None
    file = bundle.path / MANIFEST
    if not file.is_file() or sha256_file(file) != bundle.manifest_sha256:
        raise BundleError(f"{file}: the manifest was changed meanwhile by somebody else; run the command again.")
    write_manifest(bundle.path, manifest)
    return read_bundle(bundle.path)


def _plain(manifest: Manifest) -> dict[str, Any]:
    return manifest.model_dump(mode="json")
