"""Peak memory and threads of this process, as the operating system counts them."""

import gc
import sys
from pathlib import Path

_MIB = 1 << 20
_SELF = Path("/proc/self")


class PeakMemory:
    """By how much this process's peak of resident memory has grown since this object was made.

    Linux can set the peak (VmHWM) back to what is resident now; then the growth is exact. Where it cannot be set back
    (other systems, a locked ``/proc``), growth counts from the highest peak so far and may come out too small, never
    too large.
    """

    def __init__(self) -> None:
        gc.collect()
        try:
            (_SELF / "clear_refs").write_text("5")
            self.exact = True
        except OSError:
            self.exact = False
        self._start = _peak()

    def growth(self) -> float:
        """Return the growth of the peak so far, MiB."""
        return max(0, _peak() - self._start) / _MIB


def _peak() -> int:
    """Return the peak of resident memory, bytes."""
    try:
        for line in (_SELF / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def count_threads() -> int | None:
    """Return how many threads of the operating system this process has, None where that cannot be told."""
    try:
        return sum(1 for _ in (_SELF / "task").iterdir())
    except OSError:
        return None
