"""Verbs that ``torchrun`` may start in several processes: one of them prints, one a host says what went wrong."""

import functools
from collections.abc import Callable
from typing import Any

from msd_edge.cli import common
from msd_edge.errors import ConfigError, Interrupted
from msd_edge.installed import require
from msd_edge.training.distributed import World, join, read_place

# What may be given otherwise on another host.
_OWN = frozenset({"context", "config", "verbose", "data", "data_root", "workers"})


def together(verb: Callable[..., None]) -> Callable[..., None]:
    """Let a verb run in all processes of a job, which it finds as ``common.state.world``."""

    @functools.wraps(verb)
    def run(**options: Any) -> None:
        if read_place().size > 1:
            require("work in several processes", "torch", extra="train")
        with join() as world:
            common.state.world = world
            try:
                _check_options(world, options)
                verb(**options)
            except BaseException as error:
                common.state.mute = not world.explain(error)
                if isinstance(error, KeyboardInterrupt) and world.cause:
                    raise Interrupted(f"{world.cause}.") from None
                raise

    return run


def _check_options(world: World, options: dict[str, Any]) -> None:
    found = world.find_difference({name: str(value) for name, value in options.items() if name not in _OWN})
    if found is not None:
        name, rank, other, first = found
        raise ConfigError(
            f"--{name.removeprefix('as_').strip('_').replace('_', '-')} is {other} in process {rank} and {first} in "
            "process 0; start all with the same options."
        )
