"""The command ``msd-edge``, also ``python -m msd_edge``."""

import sys

from msd_edge.cli.app import run


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
