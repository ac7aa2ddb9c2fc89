"""``msd-edge deploy``."""

from pathlib import Path
from typing import Annotated

import typer

from msd_edge.cli import common
from msd_edge.cli.common import JsonOption, VerboseOption
from msd_edge.errors import ConfigError

EXAMPLES = """Bring a bundle into the demo app on a phone; the app needs no rebuild.

Examples:

  msd-edge deploy --device pixel

  msd-edge deploy bundles/resnet20-cifar10 --device pixel --apk app-debug.apk

Every file is compared by SHA-256 on the phone. A transfer that broke goes on where it stopped.
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("deploy", help=EXAMPLES)(deploy)


def deploy(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle; default the newest under bundles/.")] = None,
    device: Annotated[str, typer.Option(metavar="NAME|SERIAL", help="Which phone; default the only one.")] = "android",
    name: Annotated[
        str | None, typer.Option(help="Of its folder on the phone; default that of the bundle's folder.")
    ] = None,
    apk: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The app, installed unless exactly it is there.")
    ] = None,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Bring a bundle to a phone."""
    from msd_edge.benchmarks.devices.app import App
    from msd_edge.benchmarks.devices.discover import connect
    from msd_edge.benchmarks.devices.transfer import deploy as bring
    from msd_edge.bundle.android import check_name, folder_name
    from msd_edge.bundle.reader import read_bundle

    del verbose
    if device == "cpu" or device.startswith("ssh:"):
        raise ConfigError(f"--device {device}: bundles are deployed to the app on a phone; a board needs a copy only.")
    chosen = common.newest_bundle() if bundle is None else bundle
    opened = read_bundle(chosen)
    folder = folder_name(chosen.resolve().name) if name is None else check_name(name)
    adb, found = connect(device)
    app = App(adb)
    facts = app.inspect(apk, found.abi)
    fresh = app.ensure(apk)
    if not json:
        common.facts(
            [
                ("bundle", common.tell_choice(chosen, bundle)),
                ("device", f"{found.name} · Android {found.android} · {found.abi}"),
                ("app", f"{app.package}{' (installed now)' if fresh else ''}"),
            ]
        )
    with common.progress(0, "comparing files") as bar:
        bring(adb, app, opened, folder, lambda done, total: bar.note(f"sent {done / 1e6:.1f} of {total / 1e6:.1f} MB"))
    missing = [variant.name for variant in opened.manifest.variants if variant.target not in facts.targets]
    bare = [variant.name for variant in opened.manifest.variants if variant.calibration is None]
    if json:
        common.say_json({"bundle": str(chosen), "serial": found.serial, "name": folder, "installed": fresh})
        return
    for names, why in (
        (missing, "the app has no runtime for"),
        (bare, "not calibrated, so only the last exit answers:"),
    ):
        if names:
            common.say(f"note     {why} {', '.join(names)}.")
    following = common.suggest_bench(chosen, folder_name(found.model or found.serial), chosen, "--device", device)
    common.facts([("there", f"{folder}, all files compared"), ("next", following)])
