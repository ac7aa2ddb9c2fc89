"""How many processors this process may use."""

import os


def usable_processors() -> int:
    """Return how many processors the affinity of this process allows."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
