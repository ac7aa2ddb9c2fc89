"""The commands that lead to a report, as far as bundle and results tell them."""

import shlex

from msd_edge.benchmarks.report.load import Source
from msd_edge.commands import suggest_command

# What `msd-edge bench` records of its options and takes again.
_BENCH = ("device", "threads", "runtime", "images", "seconds")


def commands(sources: list[Source]) -> list[str]:
    """Return shell lines: export and calibrate of each bundle at hand, bench of each results file, then the report."""
    lines: list[str] = []
    for source in sources:
        for line in (*_bundle_lines(source), _bench_line(source)):
            if line not in lines:
                lines.append(line)
    lines.append(suggest_command("report", *(source.path for source in sources)))
    return lines


def _bundle_lines(source: Source) -> list[str]:
    if source.bundle is None:
        return []
    manifest = source.bundle.manifest
    targets = dict.fromkeys(variant.target for variant in manifest.variants)
    precisions = dict.fromkeys(variant.precision for variant in manifest.variants)
    options = [word for target in targets for word in ("--target", target)] + [f"--{name}" for name in precisions]
    lines = [shlex.join(["msd-edge", "export", f"runs/{manifest.source.run}", *options])]
    calibrated = [(v.calibration.rule, v.name) for v in manifest.variants if v.calibration is not None]
    rules = dict.fromkeys(rule for rule, _ in calibrated)
    for rule in rules:
        own = [word for other, name in calibrated if other == rule for word in ("--variant", name)]
        words = ["msd-edge", "calibrate", _bundle_path(source), "--rule", rule, *(own if len(rules) > 1 else [])]
        lines.append(shlex.join(words))
    return lines


def _bench_line(source: Source) -> str:
    results = source.results
    words = ["msd-edge", "bench", _bundle_path(source)]
    for name in _BENCH:
        value = results.options.get(name)
        if value is not None:
            words += [f"--{name}", str(value)]
    if source.bundle is not None:
        measured = [variant.name for variant in results.variants]
        if len(measured) < len(source.bundle.manifest.variants):
            words += [word for name in measured for word in ("--variant", name)]
    return shlex.join([*words, "--out", str(source.path)])


def _bundle_path(source: Source) -> str:
    return f"bundles/{source.results.bundle}" if source.bundle is None else str(source.bundle.path)
