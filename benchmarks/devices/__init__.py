"""Where a bundle can be measured: each device answers jobs in its own way."""

from collections.abc import Callable, Sequence
from typing import Protocol

from msd_edge.benchmarks.job import Job, Report, Step
from msd_edge.benchmarks.results import Circumstances, Device
from msd_edge.bundle.manifest import Variant
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

    def select(
        self, variants: Sequence[Variant], runtime: str | None, *, named: bool
    ) -> tuple[tuple[Variant, ...], tuple[str, ...]]:
        """Return the variants that run on the device, and notes on those that do not.

        Args:
            variants: of the bundle, at least one.
            runtime: its name, None for the device's own choice.
            named: the user named them: all have to run.

        Raises:
            ConfigError: a variant does not run on that runtime.
            RuntimeUnavailable: none runs, or one that was named does not.
            DeviceError: the device does not answer.
        """
        ...

    def versions(self) -> dict[str, str]:
        """Return the versions of what the figures hang on there."""
        ...

    def circumstances(self) -> Circumstances | None:
        """Return how the device was driven and what state it was in, once all is measured; None for computers."""
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
