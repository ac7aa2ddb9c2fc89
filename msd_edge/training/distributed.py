"""Several processes that compute what one would (``torchrun … -m msd_edge train``).

Every process holds the same weights and takes its part of each batch; sums go over all of them. The first one (rank 0)
alone reads and writes the run, and prints. One process is the ordinary case: ``ALONE`` does nothing.

Work in step hangs when somebody is missing. So whoever stops says why in the job's store before its connections close;
the others, whose exchange fails at once then, read it there, and one process a host says it. Where a connection stays
open and silent, an exchange fails after ``MSD_EDGE_TIMEOUT`` seconds (300 by default). How that is done is in
``together``.
"""

import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from msd_edge.data.shards import WHOLE, Shard
from msd_edge.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")
# Seconds: hosts may take very different times to read a large data set.
PREPARATION = 3600.0


@dataclass(frozen=True)
class Place:
    """Where this process stands in its job. ``local``: its number on its host; ``host``: the host's name."""

    rank: int = 0
    size: int = 1
    local: int = 0
    host: str = ""


def read_place() -> Place:
    """Return what ``torchrun`` says of this process in its environment; nothing said is one process.

    Raises:
        ConfigError: it says no numbers.
    """
    if "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        return Place()
    values = {name: os.environ.get(name, "0") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    for name, value in values.items():
        if not re.fullmatch("[0-9]{1,7}", value):
            raise ConfigError(f"{name}={value}: the environment variable is to be a number, as torchrun sets it.")
    rank, size, local = (int(value) for value in values.values())
    return Place(rank, max(1, size), local, os.environ.get("GROUP_RANK") or socket.gethostname())


class World:
    """All processes of a job as one of them sees them. This class is a job of one process."""

    def __init__(self, shard: Shard = WHOLE) -> None:
        self.shard = shard

    @property
    def size(self) -> int:
        """The number of processes."""
        return self.shard.size

    @property
    def leads(self) -> bool:
        """Whether this is the process that reads, writes and prints."""
        return self.shard.rank == 0

    @property
    def cause(self) -> str:
        """Why this process was interrupted, where it was not Ctrl-C; else empty."""
        return ""

    def share(self, make: Callable[[], T]) -> T:
        """Return what the first process makes, a JSON value (a tuple becomes a list); the others do not call it."""
        return make()

    def share_tensors(
        self, make: Callable[[], tuple[dict[str, "Tensor"], dict[str, Any]]]
    ) -> tuple[dict[str, "Tensor"], dict[str, Any]]:
        """Return tensors and a JSON document that the first process reads."""
        return make()

    def gather(self, value: T) -> list[T]:
        """Return the JSON values of all processes, in the order of their ranks."""
        return [value]

    def gather_rows(self, values: "Tensor") -> "Tensor":
        """Return the vectors (n,) of all processes as (processes, n)."""
        return values[None]

    def add(self, values: "Tensor") -> None:
        """Replace a tensor by the sum over all processes; it is the same in all of them to the last bit."""

    def add_counts(self, counts: Sequence[int]) -> tuple[int, ...]:
        """Return the sum of whole numbers over all processes."""
        return tuple(counts)

    def mean(self, values: "Tensor") -> "Tensor":
        """Return the mean over the values (batch,) of all processes."""
        return values.mean()

    def weigh(self, loss: "Tensor", whole: int) -> "Tensor":
        """Return this process's share of a loss.

        Args:
            loss: a mean over its part of a batch.
            whole: images of the batch in all processes; the shares add up to the mean over them.
        """
        return loss

    def add_gradients(self, parameters: Iterable["torch.nn.Parameter"]) -> None:
        """Replace every gradient by the sum over all processes."""

    def align(self, tensors: Iterable["Tensor"]) -> None:
        """Overwrite tensors with those of the first process: other processors round otherwise."""

    def place(self, device: "torch.device") -> "torch.device":
        """Return the device, once all processes are known to have one of its kind.

        Raises:
            ConfigError: they have not.
        """
        return device

    def batch_norm(self) -> AbstractContextManager[Any]:
        """Return what makes BatchNorm take its statistics over all processes while it is entered."""
        return nullcontext()

    def seed(self, seed: int) -> int:
        """Return a seed for what each process draws for its own images (dropout), of its own for each."""
        return seed

    def wait(self, seconds: float = PREPARATION) -> None:
        """Wait until all processes are here."""

    def check_batch(self, batch_size: int) -> None:
        """Check that a batch can be shared evenly.

        Raises:
            ConfigError: it cannot.
        """
        if batch_size % self.size:
            less = batch_size // self.size * self.size
            fit = f"{less} or {less + self.size}" if less else str(self.size)
            raise ConfigError(
                f"--batch-size {batch_size} is the batch of all processes together, and {self.size} cannot share it "
                f"evenly; {fit} would do."
            )

    def find_difference(self, values: Mapping[str, Any]) -> tuple[str, int, Any, Any] | None:
        """Return the first name whose JSON value is not the same in all processes.

        Returns:
            The name, the first process that differs, its value and that of process 0; None where all are equal.
        """
        everybody = self.gather(dict(values))
        for rank, other in enumerate(everybody):
            for name, value in everybody[0].items():
                if other.get(name) != value:
                    return name, rank, other.get(name), value
        return None

    def explain(self, error: BaseException) -> bool:
        """Tell the others why this process stops, and return whether it is the one to say so on its host."""
        return True


ALONE = World()


@contextmanager
def join() -> Iterator[World]:
    """Give the job that this process is part of, and leave it at the end.

    In a job of several processes SIGTERM, which ``torchrun`` sends when one has died, interrupts as Ctrl-C does.

    Raises:
        ConfigError: the environment makes no sense.
        PeerLost: the others cannot be reached.
    """
    place = read_place()
    if place.size == 1:
        yield ALONE
        return
    from msd_edge.training.together import Together

    world = Together(place)
    with world.signals():
        try:
            yield world
            world.wait()
        finally:
            world.leave()
