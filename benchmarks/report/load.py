"""Finds and reads what a report is made of: results files, and the bundle that each of them measured."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from msd_edge.benchmarks.results import Results, VariantBench
from msd_edge.benchmarks.results_io import read_results
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.errors import BundleError, ConfigError
from msd_edge.files import sha256_file


@dataclass(frozen=True)
class Source:
    """A results file and its bundle. ``missing``: why there is no bundle, as a sentence; empty when there is one."""

    path: Path
    results: Results
    bundle: Bundle | None = None
    missing: str = ""


def newest_results(folder: Path = Path("results")) -> Path:
    """Return the newest results file in ``folder``.

    Raises:
        ConfigError: there is none.
    """
    found = [
        path for path in folder.glob("*.json") if not path.name.startswith(".") and not path.name.endswith(".raw.json")
    ]
    if not found:
        raise ConfigError(f"{folder}/: there are no results here; name a file, or make one with `msd-edge bench`.")
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def load(paths: list[Path], bundle: Path | None = None, bundles: Path = Path("bundles")) -> list[Source]:
    """Read results files and find the bundle of each.

    Args:
        paths: results files.
        bundle: the bundle they were measured with; None: the one under ``bundles`` whose manifest has the same hash.
        bundles: where bundles lie.

    Raises:
        ConfigError: a file is no results file, is named twice, or ``bundle`` is not the one that was measured.
        BundleError: ``bundle`` is no bundle.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("a results file is named twice.")
    results = [read_checked(path) for path in paths]
    given = read_bundle(bundle) if bundle is not None else None
    if given is not None and all(given.manifest_sha256 != result.manifest_sha256 for result in results):
        raise ConfigError(
            f"{given.path}: this is not the bundle that {paths[0]} measured, or it was exported or calibrated again "
            "since; run `msd-edge bench` again, or leave --bundle away."
        )
    return [_with_bundle(path, result, given, bundles) for path, result in zip(paths, results, strict=True)]


def read_checked(path: Path) -> Results:
    """Read a results file and check that its parts fit together.

    Raises:
        ConfigError: the file is missing, damaged, contradictory, empty or of a newer schema.
    """
    results = read_results(path)
    if not results.variants and results.shell:
        raise ConfigError(
            f"{path}: these are times of single files from a phone's shell, and a report shows "
            "accuracy and cascades; `msd-edge calibrate --latency` takes them."
        )
    if not results.variants:
        raise ConfigError(f"{path}: these results measure nothing; run `msd-edge bench` again.")
    for variant in results.variants:
        wrong = _contradiction(variant, len(results.classes))
        if wrong:
            raise ConfigError(f"{path}: {variant.name}: {wrong}.")
    return results


def _contradiction(variant: VariantBench, classes: int) -> str:
    count = len(variant.exits)
    if not count:
        return "no exit was measured"
    if [exit_.index for exit_ in variant.exits] != list(range(1, count + 1)):
        return f"the exits are not 1..{count}"
    if any(not 0 <= exit_.correct <= exit_.images or exit_.images < 1 for exit_ in variant.exits):
        return "an exit has more images right than there are"
    for point in variant.cascade:
        lengths = {len(point.exit_counts), len(point.exit_accuracy), len(point.expected_shares)}
        if lengths != {count}:
            return f"operating point {point.point!r} does not fit {count} exits"
        if point.images < 1 or min(point.exit_counts) < 0 or sum(point.exit_counts) != point.images:
            return f"operating point {point.point!r}: the exits taken do not add up to {point.images} images"
        if not 0 <= point.correct <= point.images:
            return f"operating point {point.point!r} has more images right than there are"
    for example in variant.examples:
        if not (0 <= example.label < classes and 0 <= example.predicted < classes and 1 <= example.exit <= count):
            return f"example {example.index} has a class or an exit that is not there"
    return ""


def _with_bundle(path: Path, results: Results, given: Bundle | None, bundles: Path) -> Source:
    if given is not None:
        if given.manifest_sha256 == results.manifest_sha256:
            return Source(path, results, given)
        return Source(path, results, missing=f"These results were not measured with {given.path}.")
    folder = _find_bundle(bundles, results.manifest_sha256)
    if folder is None:
        return Source(
            path,
            results,
            missing=f"No bundle under {bundles}/ is the one that was measured ({results.bundle}), or it was exported "
            "or calibrated again since; --bundle DIR says where it is.",
        )
    try:
        return Source(path, results, read_bundle(folder))
    except BundleError as problem:
        return Source(path, results, missing=f"The bundle could not be read: {problem}")


def _find_bundle(bundles: Path, manifest_sha256: str) -> Path | None:
    """Return the folder whose manifest is the one that was measured, whatever its name is now."""
    for manifest in sorted(bundles.glob("*/manifest.json")):
        with contextlib.suppress(OSError):
            if sha256_file(manifest) == manifest_sha256:
                return manifest.parent
    return None
