"""Where a bundle can be measured: each device answers jobs in its own way."""

from collections.abc import Callable
from typing import Protocol

from msd_edge.benchmarks.job import Job, Report, Step
from msd_edge.benchmarks.results import Device
from msd_edge.errors import NoDevice


class BenchDevice(Protocol):
    """Something that measures variants, one fresh process each."""

    name: str

    def describe(self) -> Device:
        """Return what the figures will have been measured on."""
        ...

    def check(self, threads: int) -> tuple[str, ...]:
        """Return sentences that a reader of the figures must know before anything runs.

        Raises:
            ConfigError: so many threads cannot run at the same time.
            DeviceError: the device does not answer.
        """
        ...

    def run(self, job: Job, on_step: Callable[[Step], None]) -> Report:
        """Measure one variant; interrupted or failed, it leaves no process behind.

        Raises:
            MsdEdgeError: as the process said itself (``ParityError``, ``RuntimeUnavailable``, …).
            DeviceRunError: the process died or fell silent.
        """
        ...


def find_device(name: str) -> BenchDevice:
    """Return the device of that name.

    Raises:
        NoDevice: this release does not know it.
    """
    if name != "cpu":
        raise NoDevice(f"--device {name}: phones and boards are not measured by this release; use --device cpu.")
    from msd_edge.benchmarks.devices.cpu import CpuDevice

    return CpuDevice()
