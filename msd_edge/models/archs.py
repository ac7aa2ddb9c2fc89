"""Which networks there are by name: the families, MSDNet, and what is imported from elsewhere."""

from msd_edge.bundle.choices import suggest
from msd_edge.errors import ModelError
from msd_edge.models import families, imported, msdnet


def list_archs() -> tuple[str, ...]:
    """Return the names to offer; families know more of them (``resnetD`` for any D of 6n+2)."""
    return (*families.list_archs(), msdnet.ARCH)


def outline() -> tuple[str, ...]:
    """Return the same by family, a line each, with what other names there are."""
    return (*families.outline(), msdnet.ARCH)


def check_arch(arch: str) -> None:
    """Raise when there is no such network; the closest one is offered.

    Raises:
        ModelError: there is none.
    """
    if imported.is_imported(arch):
        imported.check_source(arch)
    elif arch != msdnet.ARCH and not families.has_arch(arch):
        hint = suggest(arch, list_archs())
        raise ModelError(f"--arch {arch}: no such network{hint or '.'} `msd-edge train --list-archs` shows all.")
