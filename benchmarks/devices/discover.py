"""Which Android devices are there, and which one a name means."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from msd_edge.benchmarks.devices.adb import SHORT, AdbDevice, find_adb, list_devices
from msd_edge.errors import AdbError, AmbiguousDevice, DeviceError, NoDevice

# Serial number, state (one word, or "no permissions" and why), then facts as key:value.
_LINE = re.compile(r"^(\S+)\s+(no permissions.*?|[a-z]+)((?:\s+\w+:\S+)*)\s*$")
_ADVICE = {
    "unauthorized": "unlock it and allow USB debugging for this computer",
    "authorizing": "it is still deciding about this computer; try again in a moment",
    "offline": "plug it in again, or restart it",
    "no permissions": "this user may not talk to USB devices: add the udev rules of your system",
    "recovery": "it is in recovery mode: start Android",
    "sideload": "it is in recovery mode: start Android",
    "bootloader": "it is in its boot loader: start Android",
}


@dataclass(frozen=True)
class FoundDevice:
    """A device that adb knows; what it does not tell is empty.

    Attributes:
        serial: its serial number, or address.
        state: ``device`` when it can be used.
        model: what people call it, ``Pixel 8``.
        product: its build's product, ``shiba``.
        abi: ``arm64-v8a``; ``android``: ``15``; ``sdk``: ``35``.
    """

    serial: str
    state: str
    model: str = ""
    product: str = ""
    abi: str = ""
    android: str = ""
    sdk: int = 0

    @property
    def usable(self) -> bool:
        """Whether commands can be run on it."""
        return self.state == "device"

    @property
    def advice(self) -> str:
        """What to do so that it can be used; empty if it can."""
        if self.usable:
            return ""
        return next((text for state, text in _ADVICE.items() if self.state.startswith(state)), "plug it in again")

    @property
    def name(self) -> str:
        """Model and serial number, for a message."""
        return f"{self.serial} ({self.model})" if self.model else self.serial


def find_devices(adb: str | None = None) -> tuple[FoundDevice, ...]:
    """Return all devices that adb knows, those that can be used asked for their ABI and Android version.

    Raises:
        AdbError: adb is missing or does not answer.
    """
    program = find_adb() if adb is None else adb
    return tuple(_ask(program, device) for device in parse_devices(list_devices(program)))


def parse_devices(text: str) -> tuple[FoundDevice, ...]:
    """Read what ``adb devices -l`` prints."""
    found = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None or line.startswith(("List of devices", "*")):
            continue
        facts = dict(word.split(":", 1) for word in match[3].split())
        state = "no permissions" if match[2].startswith("no permissions") else match[2]
        found.append(FoundDevice(match[1], state, facts.get("model", "").replace("_", " "), facts.get("product", "")))
    return tuple(found)


def resolve(name: str, devices: Sequence[FoundDevice], environment: str | None = None) -> FoundDevice:
    """Return the one device that a name means.

    A serial number means its device. Any other name means the devices whose model or product holds it, whatever the
    case; ``android`` means every device. Where that leaves several, ANDROID_SERIAL decides.

    Args:
        name: what the user said.
        devices: from ``find_devices``.
        environment: the value of ANDROID_SERIAL; None: that of this process.

    Raises:
        NoDevice: none answers to the name, or it cannot be used; what to do is said.
        AmbiguousDevice: more than one answers; they are listed.
    """
    preferred = os.environ.get("ANDROID_SERIAL", "") if environment is None else environment
    exact = [device for device in devices if device.serial == name]
    wanted = _plain(name)
    fitting = exact or [
        device
        for device in devices
        if name == "android" or (wanted and (wanted in _plain(device.model) or wanted in _plain(device.product)))
    ]
    if len(fitting) > 1 and preferred:
        fitting = [device for device in fitting if device.serial == preferred] or fitting
    usable = [device for device in fitting if device.usable]
    if len(fitting) > 1:
        listed = ", ".join(f"{device.name}{'' if device.usable else f', {device.state}'}" for device in fitting)
        raise AmbiguousDevice(
            f"{_number(len(fitting))} devices match {name!r}: {listed}. Name one with --device SERIAL, or set "
            "ANDROID_SERIAL."
        )
    if usable:
        return usable[0]
    if fitting:
        raise NoDevice(f"{fitting[0].name} is {fitting[0].state}: {fitting[0].advice}.")
    if not devices:
        raise NoDevice(
            f"--device {name}: adb knows no device; plug one in with USB debugging on, or "
            "`adb connect HOST:PORT`. `msd-edge devices` lists them."
        )
    # A device that does not allow this computer tells no model: it may be the one that is meant.
    silent = [device for device in devices if not device.usable]
    hint = f" {silent[0].serial} is {silent[0].state}: {silent[0].advice}." if silent else ""
    raise NoDevice(
        f"--device {name}: no device answers to that name; there {'is' if len(devices) == 1 else 'are'} "
        f"{', '.join(device.name for device in devices)}, and cpu.{hint}"
    )


def connect(name: str) -> tuple[AdbDevice, FoundDevice]:
    """Return the device that a name means, ready for commands.

    Raises:
        AdbError: adb is missing or does not answer.
        NoDevice: none answers to the name, or it cannot be used.
        AmbiguousDevice: more than one answers.
    """
    adb = find_adb()
    found = resolve(name, find_devices(adb))
    return AdbDevice(adb, found.serial), found


def _ask(adb: str, device: FoundDevice) -> FoundDevice:
    if not device.usable:
        return device
    keys = ("ro.product.cpu.abi", "ro.build.version.release", "ro.build.version.sdk", "ro.product.model",
            "ro.product.name")  # fmt: skip
    line = "; ".join(f"echo {key}=$(getprop {key})" for key in keys)
    try:
        said = AdbDevice(adb, device.serial).must(line, what="asking what it is", timeout=SHORT)
    except (AdbError, DeviceError):
        return FoundDevice(device.serial, "offline", device.model, device.product)
    facts = dict(part.split("=", 1) for part in said.splitlines() if "=" in part)
    sdk = facts.get("ro.build.version.sdk", "")
    return FoundDevice(
        device.serial,
        device.state,
        facts.get("ro.product.model") or device.model,
        facts.get("ro.product.name") or device.product,
        facts.get("ro.product.cpu.abi", ""),
        facts.get("ro.build.version.release", ""),
        int(sdk) if re.fullmatch("[0-9]{1,6}", sdk) else 0,
    )


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _number(count: int) -> str:
    return {2: "two", 3: "three", 4: "four"}.get(count, str(count))
