"""From what ``adb devices -l`` prints to the one device that a name means."""

import stat
from pathlib import Path

import pytest

from msd_edge.benchmarks.devices.adb import find_adb, list_devices
from msd_edge.benchmarks.devices.discover import FoundDevice, find_devices, parse_devices, resolve
from msd_edge.errors import AdbError, AmbiguousDevice, NoDevice

PRINTED = """* daemon not running; starting now at tcp:5037
* daemon started successfully
List of devices attached
3A061FDJH00ABC         device usb:1-2 product:shiba model:Pixel_8 device:shiba transport_id:1
5B22                   device product:bluejay model:Pixel_6a device:bluejay transport_id:2
R58N                   unauthorized usb:1-4 transport_id:3
192.168.0.7:5555       offline transport_id:4
0123                   no permissions (user in plugdev group; are your udev rules wrong?); see [http://x] usb:1-5

"""
PIXEL_8 = FoundDevice("3A061FDJH00ABC", "device", "Pixel 8", "shiba")
PIXEL_6A = FoundDevice("5B22", "device", "Pixel 6a", "bluejay")
LOCKED = FoundDevice("R58N", "unauthorized")


def test_every_line_is_read() -> None:
    found = parse_devices(PRINTED)
    assert found[:3] == (PIXEL_8, PIXEL_6A, LOCKED)
    assert [device.state for device in found[3:]] == ["offline", "no permissions"]
    assert found[4].serial == "0123"
    assert all(device.advice for device in found[2:])
    assert parse_devices("List of devices attached\n\n") == ()


@pytest.mark.parametrize(
    ("name", "serial"),
    [
        ("3A061FDJH00ABC", "3A061FDJH00ABC"),
        ("pixel 8", "3A061FDJH00ABC"),
        ("PIXEL_8", "3A061FDJH00ABC"),
        ("pixel8", "3A061FDJH00ABC"),
        ("6a", "5B22"),
        ("shiba", "3A061FDJH00ABC"),
        ("5B22", "5B22"),
    ],
)
def test_a_name_means_serial_model_or_product(name: str, serial: str) -> None:
    assert resolve(name, [PIXEL_8, PIXEL_6A], "").serial == serial


def test_an_ambiguous_name_lists_the_devices() -> None:
    with pytest.raises(AmbiguousDevice) as caught:
        resolve("pixel", [PIXEL_8, PIXEL_6A], "")
    assert str(caught.value) == (
        "two devices match 'pixel': 3A061FDJH00ABC (Pixel 8), 5B22 (Pixel 6a). "
        "Name one with --device SERIAL, or set ANDROID_SERIAL."
    )
    assert caught.value.exit_code == 3


def test_android_serial_decides_between_devices_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("pixel", [PIXEL_8, PIXEL_6A], "5B22") == PIXEL_6A
    assert resolve("android", [PIXEL_8, PIXEL_6A], "5B22") == PIXEL_6A
    assert resolve("shiba", [PIXEL_8, PIXEL_6A], "5B22") == PIXEL_8
    with pytest.raises(AmbiguousDevice):
        resolve("pixel", [PIXEL_8, PIXEL_6A], "other")
    monkeypatch.setenv("ANDROID_SERIAL", "3A061FDJH00ABC")
    assert resolve("pixel", [PIXEL_8, PIXEL_6A]) == PIXEL_8


@pytest.mark.parametrize(
    ("name", "devices", "message"),
    [
        ("pixel", [], "adb knows no device; plug one in with USB debugging on"),
        ("galaxy", [PIXEL_8], "no device answers to that name; there is 3A061FDJH00ABC (Pixel 8), and cpu."),
        ("pixel", [LOCKED], "R58N is unauthorized: unlock it and allow USB debugging"),
        ("R58N", [PIXEL_8, LOCKED], "R58N is unauthorized: unlock it and allow USB debugging"),
        ("x", [FoundDevice("9", "offline")], "9 is offline: plug it in again"),
        ("-", [PIXEL_8], "no device answers"),
    ],
)
def test_no_device_is_told_with_what_to_do(name: str, devices: list[FoundDevice], message: str) -> None:
    with pytest.raises(NoDevice) as caught:
        resolve(name, devices, "")
    assert message in str(caught.value)
    assert caught.value.exit_code == 3


def fake_adb(folder: Path, script: str) -> str:
    path = folder / "adb"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_without_adb_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    monkeypatch.delenv("ANDROID_SDK_ROOT", raising=False)
    with pytest.raises(AdbError, match="install Android's platform-tools"):
        find_adb()
    sdk = tmp_path / "sdk/platform-tools"
    sdk.mkdir(parents=True)
    fake_adb(sdk, "exit 0")
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "sdk"))
    assert find_adb() == str(sdk / "adb")


def test_an_adb_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(AdbError, match="`adb devices` failed: cannot bind; run `adb kill-server`"):
        list_devices(fake_adb(tmp_path, "echo cannot bind >&2; exit 1"))


def test_a_device_that_lists_but_does_not_answer_counts_as_offline(tmp_path: Path) -> None:
    """The client returns 0 with nothing when the device dies during a shell."""
    adb = fake_adb(tmp_path, 'if [ "$1" = devices ]; then echo "S1  device model:X transport_id:1"; fi; exit 0')
    (found,) = find_devices(adb)
    assert (found.serial, found.state, found.model) == ("S1", "offline", "X")
