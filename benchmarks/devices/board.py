"""What a board is, told by the board itself: ``python -m msd_edge.benchmarks.devices.board`` prints it as JSON."""

import sys

from msd_edge import __version__
from msd_edge.benchmarks.devices.cpu import CpuDevice
from msd_edge.benchmarks.results import Device
from msd_edge.bundle.manifest import Target
from msd_edge.runtime.open import RUNTIMES, installed
from msd_edge.typed import Model


class Board(Model):
    """A board: the machine, the versions of its packages, and the runtimes installed for each kind of file."""

    device: Device
    versions: dict[str, str]
    runtimes: dict[Target, tuple[str, ...]]


def describe_board() -> Board:
    """Return what this machine is."""
    device = CpuDevice()
    return Board(
        device=device.describe(),
        versions={"msd-edge": __version__, **device.versions()},
        runtimes={target: installed(target) for target in RUNTIMES},
    )


if __name__ == "__main__":
    sys.stdout.write(describe_board().model_dump_json() + "\n")
