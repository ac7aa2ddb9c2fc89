"""Whether the packages that a part of msd-edge needs are installed; nothing is imported."""

import importlib.util

from msd_edge.errors import RuntimeUnavailable


def require(what: str, *packages: str, extra: str) -> None:
    """Raise unless packages are installed.

    Args:
        what: the work that needs them, for the message.
        packages: import names.
        extra: of this project, that brings them.

    Raises:
        RuntimeUnavailable: one is missing.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeUnavailable(f"{what} needs {' and '.join(missing)}: pip install 'msd-edge[{extra}]'.")
