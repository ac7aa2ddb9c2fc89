"""A phone: the demo app measures, one fresh process per variant, driven over adb by ``docs/device-protocol.md``."""

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from msd_edge.benchmarks.devices.adb import AdbDevice
from msd_edge.benchmarks.devices.app import App
from msd_edge.benchmarks.devices.discover import FoundDevice
from msd_edge.benchmarks.devices.instrument import Instrumentation
from msd_edge.benchmarks.devices.phone import (
    Phone,
    check_phone,
    describe_condition,
    read_condition,
    read_free,
    read_phone,
)
from msd_edge.benchmarks.devices.phone_figures import agree_with_host, figure_report
from msd_edge.benchmarks.devices.processes import hold_interrupts
from msd_edge.benchmarks.devices.protocol import (
    Configuration,
    Delegate,
    GoldenLimits,
    ImageFile,
    Paced,
    PhoneResult,
    Sustain,
)
from msd_edge.benchmarks.devices.transfer import Item, Store, bundle_items, write_item
from msd_edge.benchmarks.job import Job, Report, Step
from msd_edge.benchmarks.points import measured_as
from msd_edge.benchmarks.proof import RANGE_SHARE, limit_steps
from msd_edge.benchmarks.results import Circumstances, Condition, Device
from msd_edge.bundle.android import folder_name
from msd_edge.bundle.manifest import Calibration, Target, Variant
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.commands import suggest_command
from msd_edge.errors import BundleError, ConfigError, DeviceError, RuntimeUnavailable
from msd_edge.locks import scratch_folder
from msd_edge.runtime.open import RUNTIMES

_PIECE = 16 << 20
_SPARE_MIB = 64
_PACED_SECONDS = 10.0


@dataclass(frozen=True)
class PhoneOptions:
    """What only a phone can be asked.

    Attributes:
        apk: the app to install; None: what is installed.
        paced: frames a second; None: not measured.
        sustain: minutes; None: not measured.
        delegate: ``cpu``, or ``gpu`` where the app has it.
    """

    apk: Path | None = None
    paced: float | None = None
    sustain: float | None = None
    delegate: Delegate = "cpu"


class AndroidDevice:
    """A phone with the demo app. ``silence``: seconds without a sign of life after which the app is stopped."""

    def __init__(self, adb: AdbDevice, found: FoundDevice, options: PhoneOptions, *, silence: float = 120.0) -> None:
        self.name = self.address = folder_name(found.model or found.serial)
        self._adb = adb
        self._found = found
        self._options = options
        self._app = App(adb)
        self._store = Store(adb)
        self._instrumentation = Instrumentation(adb, self._app, silence)
        self._phone: Phone | None = None
        self._before: Condition | None = None
        self._after = Condition()
        self._ready = False
        self._played_by: str | None = None
        self._versions: dict[str, str] = {}

    def describe(self) -> Device:
        """Return what the phone is.

        Raises:
            DeviceError: it does not answer.
        """
        return self._ask().device

    def state(self) -> str:
        """Return serial number, battery and heat before the bench, in words.

        Raises:
            DeviceError: it does not answer.
        """
        return f"serial {self._adb.serial} · {describe_condition(self._condition())}"

    def check(self, threads: int) -> tuple[str, ...]:
        """Return notes on the state of the phone; nothing is changed on it.

        Raises:
            ConfigError: it has fewer cores than threads asked for.
            DeviceError: it does not answer, or is in no state to be measured.
        """
        phone = self._ask()
        if threads > phone.device.cores:
            raise ConfigError(f"--threads {threads}: {self._found.name} has {phone.device.cores} cores.")
        notes = check_phone(phone, self._condition(), self._adb.serial)
        if self._options.sustain is None:
            notes += ("A short run: a phone that works for minutes gets warm and slower; --sustain 10 shows it.",)
        return notes

    def select(
        self, variants: Sequence[Variant], runtime: str | None, *, named: bool
    ) -> tuple[tuple[Variant, ...], tuple[str, ...]]:
        """Return the variants that the app runs, and notes on those that it does not.

        Raises:
            ConfigError: a variant does not run on that runtime; or the APK is none.
            RuntimeUnavailable: the app runs none of them, or not all that were named.
            DeviceError: the phone does not answer, the app is not there or is for other processors.
        """
        for variant in variants:
            if runtime is not None and runtime not in RUNTIMES[variant.target]:
                raise ConfigError(f"--runtime {runtime}: it does not run {variant.target} files.")
        apk = self._app.inspect(self._options.apk, self._ask().abi)
        fitting = tuple(variant for variant in variants if variant.target in apk.targets)
        missing = [variant.name for variant in variants if variant.target not in apk.targets]
        if not fitting or (named and missing):
            raise RuntimeUnavailable(
                f"{self._found.name}: the app has no runtime for {', '.join(missing)} "
                f"({_list_targets(apk.targets)}); build it with one, or choose with --variant."
            )
        notes = (f"The app has no runtime for {', '.join(missing)}: not measured.",) if missing else ()
        return fitting, notes

    def versions(self) -> dict[str, str]:
        """Return the versions of the app and of the runtimes in it."""
        return dict(self._versions)

    def circumstances(self) -> Circumstances | None:
        """Return how the phone was driven, and its battery and heat before and after."""
        return Circumstances(
            way="app",
            burst=self._options.sustain is None,
            before=self._condition(),
            after=self._after,
            played_by=self._played_by,
        )

    def said(self) -> str:
        """Return what the app printed and the phone logged."""
        return "".join(self._instrumentation.log)

    def close(self) -> None:
        """Leave nothing on the phone but the app."""
        self._store.clear()

    def run(self, job: Job, on_step: Callable[[Step], None]) -> Report:
        """Measure one variant in a fresh process of the app; interrupted or failed, nothing is left on the phone.

        Raises:
            ParityError: the golden samples do not come out right there; nothing was measured.
            RuntimeUnavailable: the app says so.
            DeviceError: the phone went away, its storage is full, the app failed or its answer is not whole.
        """
        bundle = read_bundle(job.bundle)
        if bundle.manifest_sha256 != job.manifest_sha256:
            raise BundleError(f"{job.bundle}: the bundle has changed since the bench began; run it again.")
        variant = bundle.variant(job.variant)
        calibration = variant.calibration
        if calibration is None:
            raise BundleError(
                f"{bundle.path}: {variant.name} has no operating points; "
                f"run `{suggest_command('calibrate', bundle.path)}`."
            )
        if not self._ready:
            on_step(Step(text="installing the app"))
            self._app.ensure(self._options.apk)
            # What a bench left behind whose connection broke.
            self._app.must("rm -rf files/bench", what="tidying up")
            self._ready = True
        images = np.load(job.images, mmap_mode="r", allow_pickle=False)
        nonce = secrets.token_hex(16)
        folder = f"bench/{nonce}"
        with scratch_folder("msd-edge-phone-") as scratch, self._tidy(folder):
            files = self._gather(bundle, variant, calibration, job, images, nonce, scratch)
            self._check_space(files)
            self._store.push(files.values(), lambda done, total: on_step(Step(text=_sent(done, total))))
            self._store.place(self._app, files)
            progress = self._instrumentation.measure(nonce, on_step)
            brought = self._instrumentation.fetch(folder, nonce, variant, progress)
        self._after = read_condition(self._adb)
        report = figure_report(bundle, variant, calibration, job, brought)
        self._remember(brought.result)
        agreement = agree_with_host(
            bundle,
            variant,
            images,
            brought.logits,
            1,
            lambda done: on_step(Step(done=done, total=len(images), text="comparing with this machine")),
        )
        return report.model_copy(update={"variant": report.variant.model_copy(update={"agreement": agreement})})

    def _ask(self) -> Phone:
        if self._phone is None:
            self._phone = read_phone(self._adb, self._found)
        return self._phone

    def _condition(self) -> Condition:
        if self._before is None:
            self._before = read_condition(self._adb)
        return self._before

    def _remember(self, result: PhoneResult) -> None:
        self._played_by = result.played_by
        self._versions[result.app.package] = f"{result.app.version_name} ({result.app.version_code})"
        self._versions[result.runtime.name] = result.runtime.version

    def _gather(
        self,
        bundle: Bundle,
        variant: Variant,
        calibration: Calibration,
        job: Job,
        images: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]",
        nonce: str,
        scratch: Path,
    ) -> dict[str, Item]:
        """Return everything that the app needs, by its path there."""
        folder = f"bench/{nonce}"
        files = {f"{folder}/bundle/{path}": item for path, item in bundle_items(bundle, (variant,)).items()}
        size = int(np.prod(images.shape[1:]))
        count = max(1, _PIECE // (size * job.block)) * job.block
        pieces = []
        for place, start in enumerate(range(0, len(images), count), 1):
            piece = np.ascontiguousarray(images[start : start + count])
            name = f"images-{place:04}.u8"
            item = write_item(scratch / name, piece.tobytes())
            files[f"{folder}/{name}"] = item
            pieces.append(ImageFile(path=f"{folder}/{name}", sha256=item.sha256, count=len(piece)))
        measured = measured_as(calibration)
        points = tuple(dict.fromkeys(measured.values()))
        main = f"point-{measured.get('lossless', points[0])}"
        options = self._options
        paced = None
        if options.paced is not None:
            contenders = (*(f"point-{name}" for name in points), f"exit-{len(variant.segments)}")
            paced = Paced(fps=options.paced, seconds=_PACED_SECONDS, contenders=contenders)
        config = Configuration(
            nonce=nonce,
            bundle=f"{folder}/bundle",
            manifest_sha256=bundle.manifest_sha256,
            variant=variant.name,
            runtime=job.runtime,
            delegate=options.delegate,
            threads=job.threads,
            images=tuple(pieces),
            points=points,
            golden=GoldenLimits(steps=limit_steps(variant.target), range_share=RANGE_SHARE),
            warmup=job.warmup,
            block=job.block,
            seconds=job.seconds,
            paced=paced,
            sustain=None if options.sustain is None else Sustain(minutes=options.sustain, contender=main),
            result=f"{folder}/result.json",
        )
        files[f"{folder}/config.json"] = write_item(scratch / "config.json", config.model_dump_json(indent=1).encode())
        return files

    def _check_space(self, files: dict[str, Item]) -> None:
        needed = 2 * sum(item.size for item in files.values()) // (1 << 20) + _SPARE_MIB
        free = read_free(self._adb, "/data")
        if free < needed:
            raise DeviceError(
                f"{self._adb.serial}: {free:,} MiB are free on the device, and {needed:,} are needed; free some space, "
                "or measure fewer --images."
            )

    @contextlib.contextmanager
    def _tidy(self, folder: str) -> Iterator[None]:
        """Remove a measurement's folder whatever happens; when it did not end well, stop the app before."""
        try:
            yield
        except BaseException:
            with hold_interrupts():
                with contextlib.suppress(DeviceError):
                    self._app.stop()
                self._remove(folder)
            raise
        self._remove(folder)

    def _remove(self, folder: str) -> None:
        with contextlib.suppress(DeviceError):
            self._app.run(f"rm -rf files/{folder}; rmdir files/bench 2>/dev/null", what="tidying up")


def _list_targets(targets: Sequence[Target]) -> str:
    return f"it runs {' and '.join(targets)} files" if targets else "it has none at all"


def _sent(done: int, total: int) -> str:
    return f"sending {done / 1e6:.1f} of {total / 1e6:.1f} MB"
