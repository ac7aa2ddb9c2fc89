"""A bundle as assets of an Android app: the same files under ``bundles/NAME/``, where the demo app looks for them."""

import re
from pathlib import Path

from msd_edge.bundle.files import list_files
from msd_edge.bundle.reader import MANIFEST, Bundle
from msd_edge.errors import ConfigError
from msd_edge.files import new_folder, write_bytes

FOLDER = "bundles"

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def folder_name(name: str) -> str:
    """Return a name for a bundle's folder in an app: other signs than letters, digits and ``._-`` become ``-``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "bundle"


def check_name(name: str) -> str:
    """Return a name that a bundle's folder in an app may have.

    Raises:
        ConfigError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"--name {name}: use letters, digits, '.', '_' and '-', and no dot in front.")
    return name


def write_assets(bundle: Bundle, assets: Path, *, overwrite: bool) -> Path:
    """Copy a bundle into an app's assets, every file proven, whole or not at all.

    Args:
        bundle: the opened bundle.
        assets: the app's folder of assets (``app/src/main/assets``).
        overwrite: replace a bundle of that name.

    Returns:
        The bundle's folder there.

    Raises:
        BundleError: a file is missing or damaged.
        ConfigError: there is a bundle of that name already.
    """
    target = assets / FOLDER / folder_name(bundle.path.resolve().name)
    files = list_files(bundle)
    with new_folder(target, overwrite=overwrite, marker=MANIFEST) as work:
        for file in files:
            write_bytes(work / file.path, bundle.read_exact(file.path, sha256=file.sha256, size=file.size))
    return target
