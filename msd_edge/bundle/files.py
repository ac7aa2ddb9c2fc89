"""Which files a bundle consists of, each proven to be the manifest's."""

from collections.abc import Sequence
from dataclasses import dataclass

from msd_edge.bundle.manifest import FileEntry, Variant
from msd_edge.bundle.reader import MANIFEST, Bundle


@dataclass(frozen=True)
class BundleFile:
    """A file of a bundle. ``path``: in it, with forward slashes; ``size``: bytes."""

    path: str
    sha256: str
    size: int


def list_files(bundle: Bundle, variants: Sequence[Variant] | None = None) -> tuple[BundleFile, ...]:
    """Return the files of some variants (None: all), the golden samples and, last, the manifest.

    Raises:
        BundleError: a file is missing or not the manifest's, or the manifest has changed since it was read.
    """
    chosen = bundle.manifest.variants if variants is None else variants
    found = []
    for variant in chosen:
        entries: list[FileEntry] = [*variant.segments, *variant.exits]
        if variant.multi_signature is not None:
            entries.append(variant.multi_signature)
        for entry in entries:
            bundle.read(entry)
            found.append(BundleFile(entry.path, entry.sha256, entry.bytes))
    golden = bundle.manifest.golden
    names = {variant.name for variant in chosen}
    parts = [(golden.path, golden.sha256), *((o.path, o.sha256) for o in golden.outputs if o.variant in names)]
    parts.append((MANIFEST, bundle.manifest_sha256))
    for path, sha256 in parts:
        file = bundle.path / path
        size = file.stat().st_size if file.is_file() else 0
        bundle.read_exact(path, sha256=sha256, size=size)
        found.append(BundleFile(path, sha256, size))
    return tuple(dict.fromkeys(found))
