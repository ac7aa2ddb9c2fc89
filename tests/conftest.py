"""Makes the helpers in ``tests/support`` importable as ``support``, and one tiny bundle for all tests to read."""

import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

# A shell that starts the tests in the background lets them, and every process they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what is noted for a user out of the home of whoever runs the tests."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated bundle of all four variants, three exits, four classes. Read it only; copy it to change it."""
    from support.bundles import ALL, make_bundle

    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny", variants=ALL)
