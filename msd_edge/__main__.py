"""The command ``msd-edge``, also ``python -m msd_edge``."""

import os
import sys

from msd_edge.cli.app import run
from msd_edge.cli.common import state


def main() -> None:
    """Run the command line and leave with its exit code."""
    code = run(sys.argv[1:])
    if code and state.world.size > 1:  # connections of a job in which somebody is missing are not waited for
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
