"""What a phone is and how it is: processor, memory, space, battery, heat."""

import re
from dataclasses import dataclass

from msd_edge.benchmarks import environment
from msd_edge.benchmarks.devices.adb import AdbDevice
from msd_edge.benchmarks.devices.discover import FoundDevice
from msd_edge.benchmarks.results import Condition, Device
from msd_edge.errors import AdbError, DeviceError

OLDEST_SDK = 28
THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
LOW_BATTERY = 15

_CHARGING = re.compile(r"^\s*(?:AC|USB|Wireless|Dock) powered:\s*true", re.MULTILINE)
_NUMBER = r"^\s*{}:\s*(-?[0-9]{{1,9}})\b"
_PROPERTIES = ("ro.soc.manufacturer", "ro.soc.model", "ro.board.platform", "ro.hardware", "ro.build.id")


@dataclass(frozen=True)
class Phone:
    """A phone, asked once. ``free_mib``: space in /data."""

    device: Device
    abi: str
    sdk: int
    free_mib: int


def read_phone(adb: AdbDevice, found: FoundDevice) -> Phone:
    """Ask a phone what it is.

    Raises:
        DeviceError: it does not answer.
        AdbError: it has not what every Android has.
    """
    line = (
        "; ".join(f"echo {key}=$(getprop {key})" for key in _PROPERTIES)
        + "; echo cores=$(nproc); echo memory=$(grep MemTotal /proc/meminfo); echo cpuinfo; cat /proc/cpuinfo"
    )
    said, _, cpuinfo = adb.must(line, what="asking what it is").partition("cpuinfo\n")
    facts = dict(part.split("=", 1) for part in said.splitlines() if "=" in part)
    processor = environment.parse_cpuinfo(cpuinfo)
    chip = " ".join(facts.get(key, "") for key in ("ro.soc.manufacturer", "ro.soc.model")).strip()
    name = chip or facts.get("ro.board.platform") or facts.get("ro.hardware") or ""
    known = processor.name if processor.name != "unknown" else ""
    return Phone(
        Device(
            kind="android",
            name=found.model or found.serial,
            processor=f"{name} ({known})" if name and known else name or known or "unknown",
            features=processor.features,
            cores=_first_number(facts.get("cores", "")) or 1,
            memory_mib=(_first_number(facts.get("memory", "")) or 0) // 1024,
            system=f"Android {found.android or '?'} (API {found.sdk}, build {facts.get('ro.build.id') or '?'}) · "
            f"{found.abi or 'unknown ABI'}",
        ),
        found.abi,
        found.sdk,
        read_free(adb, "/data"),
    )


def read_free(adb: AdbDevice, folder: str) -> int:
    """Return the free space where ``folder`` is, MiB.

    Raises:
        DeviceError: the device does not answer.
    """
    lines = adb.must(("df", "-k", folder), what=f"asking for the free space in {folder}").strip().splitlines()
    # A long name of the file system puts the numbers onto the next line.
    numbers = [int(word) for word in lines[-1].split() if re.fullmatch("[0-9]{1,18}", word)] if lines else []
    if len(lines) < 2 or len(numbers) < 3:
        raise AdbError(f"{adb.serial}: `df` does not tell the free space in {folder}.")
    return numbers[2] // 1024


def read_condition(adb: AdbDevice) -> Condition:
    """Return battery and thermal status; what the phone does not tell is None.

    Raises:
        DeviceError: the device does not answer.
    """
    battery = adb.shell(("dumpsys", "battery"), what="reading the battery").out
    heat = adb.shell(("dumpsys", "thermalservice"), what="reading the thermal status").out
    level, tenths = _find("level", battery), _find("temperature", battery)
    status = _find("Thermal Status", heat)
    return Condition(
        battery_percent=level if level is not None and 0 <= level <= 100 else None,
        charging=bool(_CHARGING.search(battery)) if level is not None else None,
        battery_celsius=None if tenths is None else tenths / 10,
        thermal=status if status is not None and 0 <= status < len(THERMAL) else None,
    )


def describe_condition(condition: Condition) -> str:
    """Return battery and heat in words."""
    parts = []
    if condition.battery_percent is not None:
        parts.append(f"battery {condition.battery_percent} %, {'charging' if condition.charging else 'not charging'}")
    if condition.battery_celsius is not None:
        parts.append(f"{condition.battery_celsius:.0f} °C")
    parts.append(f"thermal: {'unknown' if condition.thermal is None else THERMAL[condition.thermal]}")
    return " · ".join(parts)


def check_phone(phone: Phone, condition: Condition, serial: str) -> tuple[str, ...]:
    """Return notes on what may disturb figures.

    Raises:
        DeviceError: the Android is too old, the battery nearly empty, or the phone so hot that it is throttled hard.
    """
    if phone.sdk < OLDEST_SDK:
        raise DeviceError(
            f"{serial}: {phone.device.system.split(' · ')[0]} is too old; the app needs API {OLDEST_SDK} (Android 9)."
        )
    notes = []
    if condition.battery_percent is not None and condition.battery_percent < LOW_BATTERY:
        if not condition.charging:
            raise DeviceError(
                f"{serial}: the battery is at {condition.battery_percent} %, where phones save power; charge it to "
                f"{LOW_BATTERY} % or plug it in."
            )
        notes.append(f"The battery is at {condition.battery_percent} %: the phone may save power.")
    if condition.thermal is not None and condition.thermal >= THERMAL.index("severe"):
        raise DeviceError(
            f"{serial}: the phone is hot (thermal status {THERMAL[condition.thermal]}) and throttled; let it cool down."
        )
    if condition.thermal:
        notes.append(f"The phone is warm before the bench (thermal status {THERMAL[condition.thermal]}).")
    return tuple(notes)


def _find(name: str, text: str) -> int | None:
    match = re.search(_NUMBER.format(re.escape(name)), text, re.MULTILINE)
    return int(match[1]) if match else None


def _first_number(text: str) -> int | None:
    match = re.search("[0-9]{1,18}", text)
    return int(match[0]) if match else None
