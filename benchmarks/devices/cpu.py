"""This machine's processor: one fresh Python process per variant, so that no runtime meets the threads of another."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from msd_edge.benchmarks import environment
from msd_edge.benchmarks.devices.processes import PARENT, error_class, hold_interrupts, parse_step, pump_lines
from msd_edge.benchmarks.job import Job, Report, Step
from msd_edge.benchmarks.results import Circumstances, Device
from msd_edge.bundle.manifest import Variant
from msd_edge.errors import ConfigError, DeviceError, DeviceRunError
from msd_edge.runtime.open import choose_runtime, keep_runnable

# Everything that would start threads on its own: the libraries under numpy, and TensorFlow.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
_PACKAGES = ("numpy", "ai-edge-litert", "tflite-runtime", "tensorflow", "tensorflow-cpu", "onnxruntime", "pillow")
_GRACE = 3.0


class CpuDevice:
    """This machine's processor.

    Attributes:
        silence: seconds without a sign of life after which a process is stopped.
        command: how a worker is started.
    """

    name = "cpu"
    address = "cpu"

    def __init__(self, *, silence: float = 600.0, command: tuple[str, ...] | None = None) -> None:
        self.silence = silence
        self.command = command or (sys.executable, "-P", "-m", "msd_edge.benchmarks.worker")

    def describe(self) -> Device:
        """Return what this machine is; ``cores``: those this process may use."""
        processor = environment.read_processor()
        return Device(
            kind="cpu",
            name=self.name,
            processor=processor.name,
            features=processor.features,
            cores=environment.read_cores().allowed,
            memory_mib=environment.read_memory(),
            system=environment.describe_system(),
        )

    def check(self, threads: int) -> tuple[str, ...]:
        """Return notes on how many cores there are.

        Raises:
            ConfigError: fewer cores are allowed than threads asked for.
            DeviceError: this system is none of Linux and macOS.
        """
        if os.name != "posix":
            raise DeviceError("--device cpu measures on Linux and macOS; this system is neither.")
        cores = environment.read_cores()
        if threads > cores.allowed:
            why = "" if cores.quota is None else f", and its control group grants {cores.quota:g}"
            raise ConfigError(
                f"--threads {threads}: this process may use {cores.allowed} of {cores.installed} cores "
                f"(affinity allows {cores.affinity}{why}); ask for at most {cores.allowed}."
            )
        if cores.quota is not None and cores.quota < 1:
            return (
                f"The control group grants {cores.quota:g} of a core: times contain pauses that the system imposed.",
            )
        return ()

    def select(
        self, variants: Sequence[Variant], runtime: str | None, *, named: bool
    ) -> tuple[tuple[Variant, ...], tuple[str, ...]]:
        """Return the variants whose runtime is installed, and notes on the others.

        Raises:
            ConfigError: one does not run on that runtime.
            RuntimeUnavailable: that of one that was named is not installed, or none is.
        """
        if runtime is None and not named:
            return keep_runnable(variants)
        for variant in variants:
            choose_runtime(variant.target, runtime)
        return tuple(variants), ()

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that figures hang on."""
        return environment.installed_versions(_PACKAGES)

    def circumstances(self) -> Circumstances | None:
        """Return None: this machine is not driven from outside."""
        return None

    def said(self) -> str:
        """Return nothing: a worker's noise is told when it fails."""
        return ""

    def close(self) -> None:
        """Do nothing: every run cleans up after itself."""

    def run(self, job: Job, on_step: Callable[[Step], None]) -> Report:
        """Measure one variant in a fresh process; interrupted or failed, it leaves no process behind.

        Raises:
            MsdEdgeError: as the process said itself (``ParityError``, ``RuntimeUnavailable``, …).
            DeviceRunError: the process died or fell silent.
        """
        self.follow(job, on_step)
        try:
            return Report.model_validate_json(Path(job.report).read_bytes())
        except (OSError, ValidationError) as problem:
            first = str(problem).splitlines()[0]
            raise DeviceRunError(
                f"{job.variant}: the worker ended well but its report cannot be read: {first}."
            ) from None

    def follow(self, job: Job, on_step: Callable[[Step], None]) -> None:
        """Start a worker and listen to it until it has ended well; its report lies where the job says.

        Raises:
            MsdEdgeError: as the process said itself (``ParityError``, ``RuntimeUnavailable``, …).
            DeviceRunError: the process died or fell silent.
        """
        # Output goes to a file: a pipe that nobody empties would stop the worker in the middle of a measurement.
        with tempfile.TemporaryFile() as noise:
            worker: subprocess.Popen[bytes] | None = None
            try:
                with hold_interrupts():
                    worker = subprocess.Popen(
                        self.command,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=noise,
                        env=worker_environment(job.threads),
                        start_new_session=True,
                    )
                self._talk(worker, job, on_step, noise)
            finally:
                if worker is not None:
                    _stop(worker)

    def _talk(
        self, worker: "subprocess.Popen[bytes]", job: Job, on_step: Callable[[Step], None], noise: IO[bytes]
    ) -> None:
        assert worker.stdin is not None
        assert worker.stdout is not None
        lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=pump_lines, args=(worker.stdout, lines), daemon=True).start()
        with contextlib.suppress(BrokenPipeError):  # it died at once: its exit code tells more
            worker.stdin.write(job.model_dump_json().encode())
            worker.stdin.close()
        while True:
            try:
                line = lines.get(timeout=self.silence)
            except queue.Empty:
                raise DeviceRunError(
                    f"{job.variant}: the worker gave no sign of life for {self.silence:g} s and was stopped"
                    f"{_last_words(noise)}."
                ) from None
            if line is None:
                break
            step = parse_step(line)
            if step is None:
                continue
            if step.error is not None:
                raise error_class(step.error)(step.message)
            on_step(step)
        code = worker.wait()
        if code:
            raise DeviceRunError(f"{job.variant}: the worker {_explain_exit(code)}{_last_words(noise)}.")


def thread_variables(threads: int) -> dict[str, str]:
    """Return the environment variables that set every thread pool to ``threads``."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


def worker_environment(threads: int) -> dict[str, str]:
    """Return a worker's environment: every thread pool set to ``threads``, this process's import path, no telemetry."""
    return {
        **os.environ,
        **thread_variables(threads),
        "ORT_DISABLE_TELEMETRY": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        PARENT: str(os.getpid()),
        # What this process finds, the worker finds, whatever lies in the current folder.
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def _explain_exit(code: int) -> str:
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        return f"was stopped by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"failed with exit code {code}"


def _last_words(noise: IO[bytes]) -> str:
    noise.seek(0, os.SEEK_END)
    noise.seek(max(0, noise.tell() - 8192))
    lines = [line.strip() for line in noise.read().decode(errors="replace").splitlines() if line.strip()]
    return f"; its last line: {lines[-1][:300].rstrip('.')}" if lines else ""


def _stop(worker: "subprocess.Popen[bytes]") -> None:
    """End the worker and whatever it has started, if it still runs."""
    if worker.poll() is None:
        for stop in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, stop)  # it leads a group of its own
            try:
                worker.wait(_GRACE)
                break
            except subprocess.TimeoutExpired:
                continue
    for stream in (worker.stdin, worker.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
