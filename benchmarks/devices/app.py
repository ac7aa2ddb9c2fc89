"""The demo app on a phone: is it there, is it the right one, and doing things as it."""

import shlex
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

from msd_edge.benchmarks.devices.adb import LONG, AdbDevice, ShellAnswer, explain_failure
from msd_edge.benchmarks.devices.protocol import PACKAGE
from msd_edge.bundle.manifest import Target
from msd_edge.errors import AdbError, ConfigError, DeviceError
from msd_edge.files import sha256_file
from msd_edge.locks import scratch_folder

BUILD = "build it in android_demo/ (its README.md says how, one command) and name it with --apk FILE"

# What a library in the APK is called, and whose files it runs.
_LIBRARIES: dict[str, Target] = {"tensorflowlite": "tflite", "litert": "tflite", "onnxruntime": "onnx"}


@dataclass(frozen=True)
class Apk:
    """An APK. ``abis``: for which it has libraries; ``targets``: whose files they run."""

    sha256: str
    abis: tuple[str, ...]
    targets: tuple[Target, ...]


def read_apk(path: Path, abi: str = "") -> Apk:
    """Read which processors and runtimes an APK is for. ``abi``: count only libraries for it, empty for all.

    Raises:
        ConfigError: the file is no APK.
    """
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such APK.") from None
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile, struct.error):
        raise ConfigError(f"{path}: this is no APK.") from None
    if "AndroidManifest.xml" not in names:
        raise ConfigError(f"{path}: this is no APK, it has no AndroidManifest.xml.")
    libraries = [name.split("/") for name in names if name.startswith("lib/") and name.count("/") == 2]
    mine = [name.lower() for _, each, name in libraries if not abi or each == abi]
    targets = dict.fromkeys(target for name in mine for part, target in _LIBRARIES.items() if part in name)
    return Apk(sha256_file(path), tuple(sorted({each for _, each, _ in libraries})), tuple(targets))


class App:
    """The app on one device."""

    def __init__(self, adb: AdbDevice, package: str = PACKAGE) -> None:
        self._adb = adb
        self.package = package

    def installed(self) -> str | None:
        """Return the path of the installed APK on the device, None if the app is not installed.

        Raises:
            DeviceError: the device does not answer.
        """
        answer = self._adb.shell(("pm", "path", self.package), what="looking for the app")
        paths = [line.removeprefix("package:") for line in answer.out.split() if line.startswith("package:")]
        return next((path for path in paths if path.endswith("/base.apk")), paths[0] if paths else None)

    def inspect(self, apk: Path | None, abi: str) -> Apk:
        """Return the APK that will run: the one given, else the one installed; nothing is changed.

        Raises:
            ConfigError: the file given is no APK.
            DeviceError: there is none, or it is for other processors.
        """
        if apk is not None:
            found, where = read_apk(apk, abi), str(apk)
        else:
            path = self.installed()
            if path is None:
                raise DeviceError(f"{self._adb.serial}: the app {self.package} is not installed; {BUILD}.")
            with scratch_folder("msd-edge-apk-") as folder:
                copy = folder / "base.apk"
                self._adb.pull(path, copy, what="reading the installed app")
                found, where = read_apk(copy, abi), "the installed app"
        if found.abis and abi not in found.abis:
            raise DeviceError(
                f"{self._adb.serial}: {where} has libraries for {', '.join(found.abis)}, and the device is {abi}; "
                "build the app for that ABI."
            )
        return found

    def ensure(self, apk: Path | None) -> bool:
        """Install or update the app unless exactly this APK is installed already. Without one, what is there stays.

        Returns:
            Whether anything was installed.

        Raises:
            DeviceError: it is not there and cannot be installed; what to do is said.
        """
        path = self.installed()
        if apk is None:
            if path is None:
                raise DeviceError(f"{self._adb.serial}: the app {self.package} is not installed; {BUILD}.")
            self._check_debuggable()
            return False
        wanted = sha256_file(apk)
        if path is None or self._hash(path) != wanted:
            self._install(apk)
            path = self.installed()
            if path is None or self._hash(path) != wanted:
                raise AdbError(f"{self._adb.serial}: adb says that {apk} is installed, and the device has another app.")
            self._check_debuggable()
            return True
        self._check_debuggable()
        return False

    def as_app(self, line: str) -> str:
        """Return a line of shell that runs ``line`` as the app, in the folder above its ``files/``."""
        return shlex.join(("run-as", self.package, "sh", "-c", line))

    def run(self, line: str, *, what: str, timeout: float = 30.0) -> ShellAnswer:
        """Run a line of shell as the app.

        Raises:
            DeviceError: the device does not answer.
        """
        return self._adb.shell(self.as_app(line), what=what, timeout=timeout)

    def must(self, line: str, *, what: str, timeout: float = 30.0) -> str:
        """Run a line of shell as the app that has to succeed, return its standard output.

        Raises:
            DeviceError: it failed, or the device does not answer.
        """
        answer = self.run(line, what=what, timeout=timeout)
        if answer.code:
            raise explain_failure(self._adb.serial, what, answer.words)
        return answer.out

    def fetch(self, path: str, *, what: str) -> bytes:
        """Return the content of a file below the app's ``files/``; the caller compares its hash.

        Raises:
            DeviceError: it is not there, or the device does not answer.
        """
        words = ("exec-out", shlex.join(("run-as", self.package, "cat", f"files/{path}")))
        done = self._adb.call(words, what=what, timeout=LONG)
        if done.returncode:
            raise self._adb.lost_or_failed(what, done)
        return done.stdout

    def stop(self) -> None:
        """End the app's process, whatever it does.

        Raises:
            DeviceError: the device does not answer.
        """
        self._adb.shell(("am", "force-stop", self.package), what="stopping the app")

    def _hash(self, path: str) -> str:
        return self._adb.must(("sha256sum", path), what="comparing the installed app", timeout=LONG).split()[0]

    def _check_debuggable(self) -> None:
        answer = self.run("mkdir -p files && echo ready", what="entering the app's folder")
        if answer.code or "ready" not in answer.out:
            raise DeviceError(
                f"{self._adb.serial}: the app's folder cannot be entered ({answer.words}); that needs the debug "
                f"build: {BUILD}."
            )

    def _install(self, apk: Path) -> None:
        what = f"installing {apk.name}"
        said = ""
        for options in ((), ("--no-streaming",)):  # some devices refuse streamed installs
            done = self._adb.call(("install", "-r", *options, str(apk)), what=what, timeout=LONG)
            text = (done.stdout + done.stderr).decode(errors="replace")
            if done.returncode == 0 and "Success" in text:
                return
            said = " ".join(text.split())[-300:].rstrip(".")
            if "INSTALL_FAILED" in text:
                break
        raise AdbError(f"{self._adb.serial}: {what} failed: {said}{_explain_install(said, self._adb.serial)}.")


def _explain_install(said: str, serial: str) -> str:
    if "UPDATE_INCOMPATIBLE" in said or "VERSION_DOWNGRADE" in said:
        return f"; another build is there: `adb -s {shlex.quote(serial)} uninstall {PACKAGE}` removes it with its data"
    if "NO_MATCHING_ABIS" in said:
        return "; the APK has no libraries for this device's ABI"
    if "INSUFFICIENT_STORAGE" in said or "No space left" in said:
        return "; free some space on the device"
    if "USER_RESTRICTED" in said:
        return "; allow installing by USB in the device's developer options"
    return "" if said else "the connection broke; check the cable and run it again"
