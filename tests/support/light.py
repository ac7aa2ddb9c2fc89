"""Makes packages look as if they were not installed: what the light install lacks."""

import importlib.util
import sys

import pytest


def hide_packages(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let nobody find or import these packages, by import name, until the test ends."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, package=None: None if name.partition(".")[0] in packages else find(name, package),
    )
    for name in packages:
        monkeypatch.setitem(sys.modules, name, None)
