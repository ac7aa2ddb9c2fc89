"""One run of the app's instrumentation: started, listened to, stopped, and its answer fetched, by the protocol."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable

from pydantic import ValidationError

from msd_edge.benchmarks.devices.adb import AdbDevice
from msd_edge.benchmarks.devices.app import App
from msd_edge.benchmarks.devices.phone_figures import Brought
from msd_edge.benchmarks.devices.processes import error_class, hold_interrupts, pump_lines
from msd_edge.benchmarks.devices.protocol import END, INSTRUMENTATION, PhoneResult, Progress
from msd_edge.benchmarks.job import Step
from msd_edge.bundle.manifest import Variant
from msd_edge.bundle.reader import explain
from msd_edge.errors import DeviceError, DeviceRunError
from msd_edge.files import parse_json, sha256_bytes

_GRACE = 5.0


class Instrumentation:
    """Runs measurements in the app.

    Attributes:
        silence: seconds without a sign of life after which the app is stopped.
        log: what the app printed and the phone logged.
    """

    def __init__(self, adb: AdbDevice, app: App, silence: float) -> None:
        self.silence = silence
        self.log: list[str] = []
        self._adb = adb
        self._app = app

    def measure(self, nonce: str, on_step: Callable[[Step], None]) -> Progress:
        """Run the instrumentation to its end and return what it said.

        Raises:
            DeviceError: the phone went away, the app fell silent, crashed or says that it failed.
        """
        line = f"am instrument -w -r -e config bench/{nonce}/config.json -e nonce {nonce} {INSTRUMENTATION}"
        since = self._adb.must("date '+%m-%d %H:%M:%S.000'", what="reading the clock").strip()
        progress, said = Progress(), ""
        with self._adb.talk(line) as process:
            assert process.stdout is not None
            lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            threading.Thread(target=pump_lines, args=(process.stdout, lines), daemon=True).start()
            try:
                said = self._listen(lines, progress, on_step)
            except BaseException:
                with hold_interrupts():
                    self._cancel(nonce, lines)
                raise
            finally:
                self._keep_log(since)
        if progress.code is None and not progress.failure:
            raise self._adb.lost("measuring", said)
        _check_end(self._adb.serial, nonce, progress)
        return progress

    def _listen(
        self, lines: "queue.SimpleQueue[bytes | None]", progress: Progress, on_step: Callable[[Step], None]
    ) -> str:
        """Read until the instrumentation has ended or the connection has; return the last line."""
        last = ""
        while progress.code is None:
            try:
                line = lines.get(timeout=self.silence)
            except queue.Empty:
                raise DeviceRunError(
                    f"{self._adb.serial}: the app gave no sign of life for {self.silence:g} s and was stopped; keep "
                    "the device awake and the app in the foreground."
                ) from None
            if line is None:
                break
            text = line.decode(errors="replace").rstrip("\r\n")
            self.log.append(f"{text}\n")
            last = text.strip() or last
            step = progress.feed(text)
            if step is not None:
                on_step(step)
        return last[:300].rstrip(".")

    def _cancel(self, nonce: str, lines: "queue.SimpleQueue[bytes | None]") -> None:
        """Ask the app to stop and give it a moment; what it says then is of no interest."""
        with contextlib.suppress(DeviceError):
            self._app.run(f"touch files/bench/{nonce}/cancel", what="stopping the app", timeout=_GRACE)
        end = time.monotonic() + _GRACE
        while (left := end - time.monotonic()) > 0:
            try:
                line = lines.get(timeout=left)
            except queue.Empty:
                return
            if line is None or line.startswith(b"INSTRUMENTATION_CODE"):
                return

    def _keep_log(self, since: str) -> None:
        with contextlib.suppress(DeviceError), hold_interrupts():
            answer = self._adb.shell(("logcat", "-d", "-v", "threadtime", "-T", since), what="reading the log")
            self.log.append(answer.out)

    def fetch(self, folder: str, nonce: str, variant: Variant, progress: Progress) -> Brought:
        """Bring the answer here; what is not whole, not of this measurement or not of this bundle is refused."""
        data = self._app.fetch(f"{folder}/result.json", what="fetching the result")
        where = f"{self._adb.serial}: the app's answer"
        if sha256_bytes(data) != progress.values.get("sha256"):
            raise DeviceRunError(f"{where} arrived cut off or changed (SHA-256 differs); run it again.")
        try:
            parse_json(data)
            result = PhoneResult.model_validate_json(data)
        except ValidationError as problem:
            raise DeviceRunError(f"{where} is not as the protocol says: {explain(problem)}.") from None
        except ValueError as problem:
            raise DeviceRunError(f"{where} is no valid JSON: {problem}.") from None
        if result.nonce != nonce or result.variant != variant.name:
            raise DeviceRunError(f"{where} is that of another measurement; run it again.")
        golden = self._app.fetch(f"{folder}/golden.bin", what="fetching golden.bin")
        logits = self._app.fetch(f"{folder}/logits.bin", what="fetching logits.bin")
        return Brought(result, golden, logits)


def _check_end(serial: str, nonce: str, progress: Progress) -> None:
    values = progress.values
    if progress.failure:
        raise DeviceRunError(
            f"{serial}: the app did not start ({progress.failure[:300].rstrip('.')}); install this release's app with "
            "--apk FILE."
        )
    if values.get("nonce", nonce) != nonce:
        raise DeviceRunError(f"{serial}: the app answered for another measurement; close it and run the bench again.")
    if "error" in values and values.get("nonce") == nonce:
        kind = error_class(values["error"])
        kind = kind if kind.__name__ in ("ParityError", "RuntimeUnavailable") else DeviceRunError
        words = " ".join((values.get("message") or values["error"]).split())[:1000].rstrip(".")
        raise kind(f"{serial}: the app says: {words or 'that it failed, and not why'}.")
    if progress.code != -1 or values.get("end") != END or values.get("nonce") != nonce:
        words = values.get("longMsg") or values.get("shortMsg") or "it does not say why"
        raise DeviceRunError(
            f"{serial}: the app ended before it was done: {' '.join(words.split())[:300].rstrip('.')}; the log kept "
            "beside the results tells more."
        )
