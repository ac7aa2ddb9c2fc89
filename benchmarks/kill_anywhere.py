"""Kills every command at random moments and looks what is left: ``python -m msd_edge.benchmarks.kill_anywhere``.

Half of the moments are drawn from the time that a command takes, half from the changes that it makes to files: it is
killed with -9 just before one of them. Besides, the disk is full at random sizes, permission to write is taken away
before or while it works, and a second process starts the same command. Afterwards

- every artefact that is there is opened and verified by the readers that everybody uses, and is the old one or the new;
- whatever else was there is as it was;
- the same command goes on, or refuses in one sentence; a run that is gone on with has the weights, bit for bit, of one
  that was never stopped (where the same files are left as after an earlier moment, that has been seen: ``as before``);
- no process lives on, and once the command has succeeded no temporary file is left.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from msd_edge.benchmarks.kill_cases import COMMANDS, VARIANTS, Case, export_as, make_cases
from msd_edge.benchmarks.kill_tries import Harness, Tally
from msd_edge.cli import common
from msd_edge.errors import ConfigError, MsdEdgeError


def main(
    moments: Annotated[int, typer.Option(min=1, help="Kills of each command.")] = 50,
    faults: Annotated[
        int, typer.Option(min=0, help="Full disks and closed folders of each command, so many each.")
    ] = 10,
    command: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help=f"Of {', '.join(COMMANDS)}; repeatable. Default all.")
    ] = None,
    variant: Annotated[
        str, typer.Option(metavar="NAME", help=f"What export is killed at: {', '.join(VARIANTS)}.")
    ] = VARIANTS[0],
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Kill train, export, calibrate, bench and report at random moments, and check what is left."""
    if os.name != "posix" or not sys.platform.startswith("linux"):
        raise ConfigError("processes are looked for in /proc, which Linux alone has.")
    chosen = [common.choose("--command", name, COMMANDS) for name in command or COMMANDS]
    every = make_cases(common.choose("--variant", variant, VARIANTS))
    columns = (
        "moments",
        "ended before",
        "stopped",
        "nothing yet",
        "old kept",
        "new",
        "went on",
        "refused",
        "as before",
    )
    rows: list[list[str]] = []
    found: list[str] = []
    with tempfile.TemporaryDirectory(prefix="msd-edge-kill-") as name:
        harness = Harness(Path(name).resolve(), seed, common.say)
        more = [] if variant == VARIANTS[0] else [(*export_as(variant), "--out", "bundles/more")]
        harness.prepare(*more)
        for one in chosen:
            cases = [case for case in every if case.command == one]
            ways: list[tuple[str, int, Callable[[Case, Tally, int], None]]] = [
                # Each case in turn; of its kills every other one by time, every other one by change.
                ("kill -9", moments, lambda case, tally, turn: harness.kill(case, tally, by_change=turn % 4 in (1, 2))),
                ("disk full", faults, lambda case, tally, _: harness.fill_disk(case, tally)),
                ("no permission", faults, lambda case, tally, _: harness.close_folder(case, tally)),
            ]
            for way, count, act in ways:
                tally = Tally()
                for turn in range(count):
                    act(cases[turn % len(cases)], tally, turn)
                if count:
                    rows.append([one, way, *(str(tally.seen[column]) for column in columns), str(len(tally.faults))])
                    common.say(" ".join(rows[-1]))
                found += tally.faults
            if one != "report" and faults:
                tally = Tally()
                for case in cases:
                    harness.start_twice(case, tally)
                common.say(f"{one} twice at once: {tally.seen['second told who holds it']} of {len(cases)} told")
                found += tally.faults
        harness.server.close()
    common.say()
    common.table(["command", "way", *columns, "faults"], rows)
    for text in found:
        common.say(f"fault    {text}")
    if found:
        raise MsdEdgeError(f"{len(found)} faults were found.")


if __name__ == "__main__":
    common.run_script(main)
