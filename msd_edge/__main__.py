"""The command ``msd-edge``, also ``python -m msd_edge``."""

import os
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        # Imported here, so that Ctrl-C is answered in the first second too.
        from msd_edge.cli.app import run
        from msd_edge.cli.common import state

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("msd-edge: interrupted.\n")
        sys.exit(130)
    if code and state.world.size > 1:  # connections of a job in which somebody is missing are not waited for
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
