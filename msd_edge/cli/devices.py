"""``msd-edge devices``."""

from typing import TYPE_CHECKING

import typer

from msd_edge.cli import common
from msd_edge.cli.common import JsonOption, VerboseOption

if TYPE_CHECKING:
    from msd_edge.benchmarks.devices.discover import FoundDevice

EXAMPLES = """List the devices that a bundle can be measured on or brought to.

Examples:

  msd-edge devices

  msd-edge devices --json

A name for --device is a serial number, or a part of a model or product that only one device has. Boards are named
ssh:USER@HOST and are not listed.
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("devices", help=EXAMPLES)(devices)


def devices(json: JsonOption = False, verbose: VerboseOption = False) -> None:
    """List devices."""
    from msd_edge.benchmarks.devices.discover import find_devices

    del verbose
    found = find_devices()
    if json:
        common.say_json([_plain(device) for device in found])
        return
    rows = [[device.serial, *_texts(device)] for device in found]
    common.table(["serial", "model", "product", "state", "ABI", "Android"], [["cpu", *_this_machine()], *rows])
    for device in found:
        if device.advice:
            common.say(f"note     {device.serial} is {device.state}: {device.advice}.")
    if not found:
        common.say("note     adb knows no device: plug one in with USB debugging on, or `adb connect HOST:PORT`.")


def _this_machine() -> list[str]:
    import platform

    return ["this machine", "-", "device", platform.machine(), "-"]


def _texts(device: "FoundDevice") -> list[str]:
    android = f"{device.android} (API {device.sdk})" if device.sdk else ""
    return [text or "-" for text in (device.model, device.product, device.state, device.abi, android)]


def _plain(device: "FoundDevice") -> dict[str, object]:
    return {
        "serial": device.serial,
        "model": device.model,
        "product": device.product,
        "state": device.state,
        "abi": device.abi,
        "android": device.android,
        "sdk": device.sdk,
        "usable": device.usable,
        "advice": device.advice,
    }
