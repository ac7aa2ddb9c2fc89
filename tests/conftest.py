"""Makes the helpers in ``tests/support`` importable as ``support``, and one tiny bundle for all tests to read."""

import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

# A shell that starts the tests in the background lets them, and every process they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated bundle of all four variants, three exits, four classes. Read it only; copy it to change it."""
    from support.bundles import ALL, make_bundle

    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny", variants=ALL)
