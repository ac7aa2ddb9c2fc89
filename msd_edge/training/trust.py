"""Which code of a user's own a run may execute: only what somebody named by hand on this machine.

``run.json`` of a network from elsewhere says where to import it from (``my_net.py:build``). Training notes that place
in a list of this user's; opening a run that names another would execute whatever a stranger wrote there.
"""

import importlib.util
import os
from pathlib import Path

from msd_edge.errors import CheckpointError

ALLOW = "MSD_EDGE_TRUST_CODE"
_LIBRARIES = ("timm", "torchvision")


def remember_code(arch: str) -> None:
    """Note that this user had a network built from there; where no list can be kept, nothing is noted."""
    place, store = _place(arch), _store()
    if not place or store is None or place in _known(store):
        return
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with store.open("a", encoding="utf-8") as file:
            file.write(f"{place}\n")
    except OSError:
        return


def check_code(arch: str, where: Path) -> None:
    """Raise where a run would execute code that nobody named here.

    Args:
        arch: the network's name.
        where: the run's file, for the message.

    Raises:
        CheckpointError: it would.
    """
    place = _place(arch)
    if not place or os.environ.get(ALLOW) == "1":
        return
    store = _store()
    if store is None or place not in _known(store):
        raise CheckpointError(
            f"{where}: opening this run executes {arch}, code that was not used for training on this machine; "
            f"look at it, and if you trust it set {ALLOW}=1."
        )


def _place(arch: str) -> str:
    """Return what a name of a user's own code stands for here; empty for networks of ours and of the libraries."""
    where, sign, name = arch.rpartition(":")
    if not sign or where in _LIBRARIES:
        return ""
    if where.endswith(".py"):
        return f"{Path(where).resolve()}:{name}"
    top = where.partition(".")[0]
    found = importlib.util.find_spec(top) if top.isidentifier() else None
    return f"{(found.origin if found is not None else None) or top}:{where}:{name}"


def _store() -> Path | None:
    base = os.environ.get("XDG_STATE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".local/state") / "msd-edge/trusted-code"
    except RuntimeError:  # no home at all
        return None


def _known(store: Path) -> set[str]:
    try:
        return set(store.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return set()
