"""What the tests of phones share: one phone for a module, new for every test, and benches on the tiny bundle."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).parents[1]

# A bench in a process of its own, on the tiny set: what a user's terminal runs.
PROGRAM = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import msd_edge.benchmarks.data as data
from support.bench_data import make_dataset
data.bundle_dataset = lambda bundle, where=None: make_dataset(24)
from msd_edge.cli.app import run
sys.exit(run(sys.argv[1:]))
"""


def start(arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> "subprocess.Popen[str]":
    """Start a command line in a process of its own."""
    return subprocess.Popen(
        (sys.executable, "-c", PROGRAM, *arguments),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
