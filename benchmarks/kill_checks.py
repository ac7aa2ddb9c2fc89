"""What must hold after a command was killed: artefacts whole and as they were, nothing left over, nobody alive."""

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from msd_edge.benchmarks.results_io import read_raw, read_results
from msd_edge.bundle.files import list_files
from msd_edge.bundle.golden import read_golden
from msd_edge.bundle.reader import read_bundle
from msd_edge.errors import MsdEdgeError
from msd_edge.files import parse_json, sha256_bytes, sha256_file

_LONGEST = 120.0  # seconds; a machine may be busy with other things


def take_stock(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder by its relative path; of folders an empty string."""
    return {
        str(path.relative_to(folder)): sha256_file(path) if path.is_file() else "" for path in sorted(folder.rglob("*"))
    }


def part_of(stock: dict[str, str], *places: str) -> dict[str, str]:
    """Return what of a stock lies at some places: files, or folders with all that is in them."""
    return {
        name: value
        for name, value in stock.items()
        if name in places or name.startswith(tuple(f"{p}/" for p in places))
    }


def describe_remains(arguments: Sequence[str], home: Path, scratch: Path) -> str:
    """Return a digest of a command and all files that it finds, without what differs from one process to the next."""
    lines = list(arguments)
    for folder in (home, scratch):
        for name, value in take_stock(folder).items():
            bare = re.sub(r"(\.partial-|\.old-|msd-edge-[a-z]+-)[^/.]+", r"\1", name)
            lines.append(f"{bare} {'' if bare.endswith('.lock') else value}")
    return sha256_bytes("\n".join(lines).encode())


def check_run(path: Path) -> list[str]:
    """Return what is wrong with a run; one in its first epoch may lack everything but its configuration."""
    from msd_edge.training.run import RunFolder, load_trained

    folder = RunFolder(path)
    try:
        folder.read_info()
        epoch = best = 0
        if folder.state_path.exists():
            facts = folder.read_tensors(folder.state_path)[1]
            epoch, best = facts["epoch"], facts["best_epoch"]
        if folder.weights_path.exists():
            load_trained(path)
        elif epoch and best != epoch:
            return [f"{path.name}: no weights, and the state does not hold the best ones"]
        if folder.metrics_path.exists():
            lines = folder.metrics_path.read_text(encoding="utf-8").splitlines()
            rows = [parse_json(line) for line in lines]
            if [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)) or len(rows) < epoch:
                return [f"{path.name}: metrics of epochs {[row['epoch'] for row in rows]}, state of epoch {epoch}"]
    except (MsdEdgeError, ValueError, KeyError) as problem:
        return [f"{path.name}: {problem}"]
    return []


def check_bundle(path: Path) -> list[str]:
    """Return what is wrong with a bundle: every file is read and compared with the manifest."""
    try:
        bundle = read_bundle(path)
        list_files(bundle)
        for variant in bundle.manifest.variants:
            read_golden(bundle, variant.name)
    except MsdEdgeError as problem:
        return [f"{path.name}: {problem}"]
    return []


def check_results(path: Path) -> list[str]:
    """Return what is wrong with results and their raw timings."""
    try:
        read_raw(path, read_results(path))
    except MsdEdgeError as problem:
        return [f"{path.name}: {problem}"]
    return []


def check_text(path: Path) -> list[str]:
    """Return what is wrong with a report: a page, Markdown or CSV that does not end as such a file does."""
    text = path.read_text(encoding="utf-8", errors="replace")
    whole = text.rstrip().endswith("</html>") if path.suffix == ".html" else text.endswith("\n")
    return [] if whole else [f"{path.name}: it is cut off"]


def check_refusal(code: int, said: str) -> list[str]:
    """Return what is wrong with how a command said no: one sentence, a documented exit code, no traceback."""
    wrong = []
    if code not in (1, 2, 3):
        wrong.append(f"exit code {code}")
    sentences = [line for line in said.splitlines() if not line.startswith("msd-edge: note: ")]
    if len(sentences) != 1 or not re.fullmatch(r"msd-edge: \S.*\.", sentences[0]):
        wrong.append(f"not one sentence: {said[:300]!r}")
    if "Traceback" in said or "unexpected " in said:
        wrong.append(f"not meant for people: {said[:300]!r}")
    return wrong


def check_in_place(changes: str, home: Path) -> list[str]:
    """Return which files a command opened for writing under their own name, by the list of its changes."""
    opened = [Path(line.partition("\t")[2]) for line in changes.splitlines() if line.startswith("open\t")]
    return [
        f"{path.name}: written in place"
        for path in opened
        if path.is_relative_to(home) and not any(part.startswith(".") for part in path.relative_to(home).parts)
    ]


def check_alone(mark: str) -> list[str]:
    """Wait until no process of a command is left, and return those that stay: what works in its folder or knows it."""
    end = time.monotonic() + _LONGEST
    while True:
        left = _find_processes(mark)
        if not left:
            return []
        if time.monotonic() > end:
            return [f"process {process} lives on" for process in left]
        time.sleep(0.05)


def _find_processes(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            told = (entry / "environ").read_bytes() + os.fsencode(os.readlink(entry / "cwd"))
        except OSError:
            continue
        if fields[0] != "Z" and mark.encode() + b"/" in told + b"/":
            found.append(int(entry.name))
    return found
