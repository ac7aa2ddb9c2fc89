"""Opens a bundle: the manifest checked, and files handed out only when they are those of the manifest."""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from msd_edge.bundle.choices import closest
from msd_edge.bundle.manifest import SCHEMA_VERSION, FileEntry, Manifest, Variant
from msd_edge.errors import BundleError
from msd_edge.files import parse_json, sha256_bytes
from msd_edge.typed import refuse_newer

MANIFEST = "manifest.json"
PREFERRED = ("tflite-int8", "onnx-int8")
_MANIFEST_LIMIT = 64 << 20


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        path: the folder.
        manifest: what it says, checked.
        manifest_sha256: SHA-256 of ``manifest.json`` as read, in hexadecimal.
    """

    path: Path
    manifest: Manifest
    manifest_sha256: str

    def variant(self, name: str | None = None) -> Variant:
        """Return the variant of that name; without a name ``tflite-int8``, else ``onnx-int8``, else the first.

        Raises:
            BundleError: there is no such variant.
        """
        variants = {variant.name: variant for variant in self.manifest.variants}
        if name is None:
            name = next((preferred for preferred in PREFERRED if preferred in variants), next(iter(variants)))
        if name not in variants:
            raise BundleError(f"{self.path}: there is no variant {name!r}{closest(name, variants)}.")
        return variants[name]

    def read(self, entry: FileEntry) -> bytes:
        """Return a file's content, proven to be what the manifest describes.

        Raises:
            BundleError: the file is missing, lies outside the bundle, or has another size or SHA-256.
        """
        return self.read_exact(entry.path, sha256=entry.sha256, size=entry.bytes)

    def read_exact(self, relative: str, *, sha256: str, size: int) -> bytes:
        """Return the content of the file at ``relative``, of ``size`` bytes and that SHA-256.

        Raises:
            BundleError: the file is missing, lies outside the bundle, or has another size or SHA-256.
        """
        path = self.path / relative
        try:
            real = path.resolve(strict=True)
            if not real.is_relative_to(self.path.resolve(strict=True)):
                raise BundleError(f"{path}: this link leads out of the bundle; a bundle holds its files itself.")
            found = real.stat()
            if not stat.S_ISREG(found.st_mode):
                raise BundleError(f"{path}: the manifest names this as a file, and it is none.")
            if found.st_size != size:
                raise BundleError(
                    f"{path}: the file has {found.st_size:,} bytes, not the {size:,} of the manifest; export it again."
                )
            data = real.read_bytes()
        except FileNotFoundError:
            raise BundleError(
                f"{path}: the manifest names this file, and it is not there; export the bundle again."
            ) from None
        except OSError as problem:
            raise BundleError(f"{path}: cannot read this file of the bundle: {problem.strerror}.") from None
        except (RuntimeError, ValueError):  # a loop of links (until Python 3.12); a name that no system takes
            raise BundleError(f"{path}: this is no file that can be read.") from None
        if sha256_bytes(data) != sha256:
            raise BundleError(
                f"{path}: the file is not the one that was exported (SHA-256 differs); export the bundle again."
            )
        return data


def read_bundle(path: Path | str) -> Bundle:
    """Open a bundle: read and check its manifest. The files are read and checked when they are asked for.

    Raises:
        BundleError: the folder or its manifest is missing, damaged, contradictory or of a newer schema.
    """
    folder = Path(path)
    file = folder / MANIFEST
    data = _read_manifest(folder, file)
    try:
        value = parse_json(data)
    except ValueError as problem:
        raise BundleError(f"{file}: this manifest is no valid JSON: {problem}.") from None
    _check_version(file, value)
    try:
        # From the text once more: only there does pydantic's strict mode take lists for tuples.
        manifest = Manifest.model_validate_json(data, strict=True)
    except ValidationError as problem:
        raise BundleError(f"{file}: {explain(problem)}.") from None
    return Bundle(folder, manifest, sha256_bytes(data))


def explain(problem: ValidationError) -> str:
    """Turn pydantic's list into one clause: the place of the first mistake, what it is, how many follow."""
    errors = problem.errors(include_url=False, include_context=False)
    first = errors[0]
    place = ""
    for step in first["loc"]:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else str(step)
    message = first["msg"].removeprefix("Value error, ")
    message = message if first["type"] == "value_error" else message[0].lower() + message[1:]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{f'{place}: ' if place else ''}{message.rstrip('.')}{more}"


def _read_manifest(folder: Path, file: Path) -> bytes:
    try:
        if not folder.exists():
            raise BundleError(f"{folder}: there is no such bundle; make one with `msd-edge export`.")
        if not folder.is_dir():
            raise BundleError(f"{folder}: a bundle is a folder with a {MANIFEST}, and this is a file.")
        if not file.is_file():
            raise BundleError(f"{folder}: this folder is no bundle, it has no {MANIFEST}.")
        size = file.stat().st_size
        if size > _MANIFEST_LIMIT:
            raise BundleError(
                f"{file}: this manifest has {size:,} bytes, more than {_MANIFEST_LIMIT:,} cannot be real."
            )
        return file.read_bytes()
    except OSError as problem:
        raise BundleError(f"{file}: cannot read this manifest: {problem.strerror}.") from None


def _check_version(file: Path, value: Any) -> None:
    if not isinstance(value, dict):
        raise BundleError(f"{file}: a manifest is a JSON object.")
    version = value.get("schema_version")
    if type(version) is not int or version < 1:
        raise BundleError(f"{file}: schema_version is {version!r:.40}, not a number from 1 on; this is no manifest.")
    refuse_newer(file, value, SCHEMA_VERSION, BundleError)
