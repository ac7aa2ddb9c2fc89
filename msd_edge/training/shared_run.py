"""A run folder that one of several processes reads and writes for all."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from msd_edge.training.config import RunInfo
from msd_edge.training.distributed import ALONE, World
from msd_edge.training.run import RunFolder


def open_run(path: Path, world: World) -> RunFolder:
    """Return the run folder at ``path`` of the first process's host, for all processes."""
    return RunFolder(path) if world.size == 1 else SharedRun(path, world)


@dataclass(frozen=True)
class SharedRun(RunFolder):
    """What the first process reads all get; what the others write is dropped, since it is the same.

    All processes call the same methods in the same order, but for ``discard``.
    """

    world: World = ALONE

    def read_info(self) -> RunInfo:
        """See ``RunFolder``."""
        read = super().read_info
        return RunInfo.model_validate(self.world.share(lambda: read().model_dump(mode="json")))

    def write_info(self, info: RunInfo) -> None:
        """See ``RunFolder``."""
        if self.world.leads:
            super().write_info(info)

    def read_metrics(self) -> list[dict[str, Any]]:
        """See ``RunFolder``."""
        return self.world.share(super().read_metrics)

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """See ``RunFolder``."""
        if self.world.leads:
            super().write_metrics(rows)

    def has_state(self) -> bool:
        """See ``RunFolder``."""
        return self.world.share(super().has_state)

    def read_tensors(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See ``RunFolder``."""
        read = super().read_tensors
        return self.world.share_tensors(lambda: read(path))

    def write_tensors(self, path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """See ``RunFolder``."""
        if self.world.leads:
            super().write_tensors(path, tensors, facts)

    def begin(self) -> RunFolder:
        """See ``RunFolder``."""
        begin = super().begin
        return SharedRun(Path(self.world.share(lambda: str(begin().path))), self.world)

    def commit(self) -> RunFolder:
        """See ``RunFolder``."""
        commit = super().commit
        return SharedRun(Path(self.world.share(lambda: str(commit().path))), self.world)

    def discard(self) -> None:
        """See ``RunFolder``."""
        if self.world.leads:
            super().discard()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See ``RunFolder``; the first process holds it for all."""
        hold = super().lock
        with ExitStack() as stack:
            self.world.share(lambda: stack.enter_context(hold()))
            yield
