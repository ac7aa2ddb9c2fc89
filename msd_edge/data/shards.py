"""Which part of a batch one of several processes takes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """One of ``size`` processes; ``rank`` counts from 0."""

    rank: int = 0
    size: int = 1

    def bounds(self, count: int) -> tuple[int, int]:
        """Return (start, stop) of this process's part of ``count`` images.

        Every image is in the part of exactly one process; parts follow one another and differ by one image at most.
        With fewer images than processes some are empty.
        """
        return count * self.rank // self.size, count * (self.rank + 1) // self.size


WHOLE = Shard()
