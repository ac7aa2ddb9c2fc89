"""The process that measures one variant: ``python -m msd_edge.benchmarks.worker``.

It reads a ``Job`` as JSON from standard input, writes ``Step`` lines to standard output and the ``Report`` as one file,
whole. Thread counts come through the environment and the job. Torch is not imported here.
"""

import contextlib
import os
import sys
from collections.abc import Callable

import numpy as np
from pydantic import ValidationError

from msd_edge.benchmarks.devices.processes import leave_with_parent
from msd_edge.benchmarks.job import Job, Step
from msd_edge.bundle.reader import explain, read_bundle
from msd_edge.errors import BundleError, ConfigError, MsdEdgeError
from msd_edge.files import write_text


def main() -> int:
    """Do the job on standard input.

    Returns:
        0, or the exit code of the error that is told on both streams.
    """
    say = _take_stdout()
    leave_with_parent()
    try:
        _work(sys.stdin.buffer.read(), say)
    except MsdEdgeError as error:
        sys.stderr.write(f"{error}\n")
        say(Step(error=type(error).__name__, message=str(error)))
        return error.exit_code
    return 0


def _work(text: bytes, say: Callable[[Step], None]) -> None:
    from pathlib import Path

    from msd_edge.benchmarks.measure import measure

    try:
        job = Job.model_validate_json(text)
    except ValidationError as problem:
        raise ConfigError(f"this is no job: {explain(problem)}.") from None
    bundle = read_bundle(job.bundle)
    if bundle.manifest_sha256 != job.manifest_sha256:
        raise BundleError(f"{job.bundle}: the bundle has changed since the bench began; run it again.")
    images = np.load(job.images, mmap_mode="r", allow_pickle=False)
    report = measure(bundle, job, images, say)
    write_text(Path(job.report), report.model_dump_json())


def _take_stdout() -> Callable[[Step], None]:
    """Keep standard output for steps alone: whatever a runtime prints goes to standard error instead."""
    steps = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(2, 1)

    def say(step: Step) -> None:
        steps.write(step.model_dump_json() + "\n")
        steps.flush()

    return say


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        sys.exit(main())
    sys.exit(130)
