"""``python -m msd_edge.benchmarks.study FILE.toml --out DIR``: run what is not done yet, then print the tables."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from msd_edge.cli import common
from msd_edge.errors import ConfigError, Interrupted, MsdEdgeError
from msd_edge.files import write_text
from msd_edge.processors import usable_processors
from msd_edge.training.choices import Precision
from msd_edge.training.config import ComputeConfig
from msd_edge.training.distributed import read_place

from .cells import Running, Step, cells_of, read_result
from .settings import Cell, read_study
from .table import draw_pooled, draw_tables, pool_gains, summarise_cells
from .work import share_work, work


def main(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="What is compared.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results are kept.")] = Path("study"),
    draw: Annotated[bool, typer.Option("--draw", help="Draw what is there; run nothing.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many cells.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes that share the cells.")] = 1,
    precision: Annotated[Precision, typer.Option(help="As for train; auto measures anew for every cell.")] = "auto",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the runs, not their results alone.")] = False,
    worker: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run a study; stop it at any moment, start it again, and it goes on.

    Processes of the same command share the work, whoever starts them: --jobs, torchrun, or you on another machine that
    sees the same folder.
    """
    study = read_study(file)
    place = read_place()
    if jobs > 1 and (limit is not None or place.size > 1):
        other = "--limit counts one process's cells" if limit is not None else "torchrun has started processes already"
        raise ConfigError(f"--jobs {jobs}: {other}; give one of them.")
    try:
        if draw:
            pass
        elif jobs > 1:
            options = ["--precision", precision, *(["--keep"] if keep else [])]
            share_work([str(file), "--out", str(out), *options], jobs, max(1, usable_processors() // jobs))
        else:
            _choose_card(place.local if worker is None else worker)
            running = Running(ComputeConfig(device="auto", precision=precision), keep)
            work(study, out, running, _show, _show_failure, limit)
    except KeyboardInterrupt:
        if worker is not None:  # the process that started this one says it
            raise typer.Exit(Interrupted.exit_code) from None
        raise Interrupted("stopped; the same command goes on where it was.") from None
    if worker is not None or place.rank:
        return
    results = [result for cell in cells_of(study, out) if (result := read_result(study, cell, out)) is not None]
    if not results:
        raise ConfigError(f"{out}: there are no results of {file} to draw.")
    table = draw_tables(summarise_cells(results, study.baseline), study.baseline)
    pooled = pool_gains(results, study.baseline)
    if any(count > 1 for count, _ in pooled.values()):
        table += f"\n### over all settings\n\n{draw_pooled(pooled)}\n"
    common.say(table)
    write_text(out / "table.md", table)


def _choose_card(number: int) -> None:
    """Spread the processes of one host over its GPUs."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


def _show(cell: Cell, run: Callable[[Step], dict[str, Any]]) -> None:
    with common.progress(0, cell.name) as bar:
        result = run(lambda text: bar.note(f"{cell.name}: {text}"))
    reached = " / ".join(f"{100 * value:.2f}" for value in result.get("test", result["calibration"]))
    common.say(f"{cell.name}: {reached} % in {result['seconds']:.0f} s")


def _show_failure(cell: Cell, problem: MsdEdgeError) -> None:
    sys.stderr.write(f"{cell.name}: {problem}\n")


if __name__ == "__main__":
    common.run_script(main)
