"""Where a bundle can be measured: each device answers jobs in its own way."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from msd_edge.benchmarks.job import Job, Report, Step
from msd_edge.benchmarks.results import Circumstances, Device
from msd_edge.bundle.manifest import Variant
from msd_edge.errors import ConfigError

if TYPE_CHECKING:
    from msd_edge.benchmarks.devices.android import PhoneOptions


class BenchDevice(Protocol):
    """Something that measures variants, one fresh process each.

    Attributes:
        name: of the device in the names of files.
        address: what ``--device`` takes to find it again.
    """

    name: str
    address: str

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

    def said(self) -> str:
        """Return what the device logged while it measured; worth keeping beside results. Empty: nothing."""
        ...

    def close(self) -> None:
        """Leave nothing of the bench on the device."""
        ...

    def run(self, job: Job, on_step: Callable[[Step], None]) -> Report:
        """Measure one variant; interrupted or failed, it leaves no process behind.

        Raises:
            MsdEdgeError: as the process said itself (``ParityError``, ``RuntimeUnavailable``, …).
            DeviceRunError: the process died or fell silent.
        """
        ...


def find_device(name: str, phone: "PhoneOptions | None" = None) -> BenchDevice:
    """Return the device of that name: ``cpu``, ``ssh:USER@HOST``, else an Android device (serial, model, product).

    Args:
        name: what the user said.
        phone: what only a phone can be asked; refused for the others.

    Raises:
        ConfigError: an option does not fit the device.
        NoDevice: none answers to that name, or it cannot be used.
        AmbiguousDevice: more than one does.
        AdbError: adb is missing or fails.
    """
    if not name.strip():
        raise ConfigError("--device: it is empty; name cpu, a phone (`msd-edge devices` lists them) or ssh:USER@HOST.")
    kind = "cpu" if name == "cpu" else "ssh" if name.startswith("ssh:") else "android"
    if phone is not None and kind != "android":
        raise ConfigError(
            f"--device {name}: --apk, --paced, --sustain, --delegate and --benchmark-model are for phones."
        )
    if kind == "cpu":
        from msd_edge.benchmarks.devices.cpu import CpuDevice

        return CpuDevice()
    if kind == "ssh":
        from msd_edge.benchmarks.devices.ssh import SshDevice

        return SshDevice(name.removeprefix("ssh:"))
    from msd_edge.benchmarks.devices.android import AndroidDevice, PhoneOptions
    from msd_edge.benchmarks.devices.discover import connect

    return AndroidDevice(*connect(name), PhoneOptions() if phone is None else phone)
