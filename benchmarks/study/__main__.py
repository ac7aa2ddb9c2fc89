"""``python -m msd_edge.benchmarks.study FILE.toml --out DIR``: run what is not done yet, then print the tables."""

from pathlib import Path
from typing import Annotated, Any

import typer

from msd_edge.cli import common
from msd_edge.errors import Interrupted
from msd_edge.files import write_text

from .cells import cells_of, read_result, run_cell
from .settings import read_study
from .table import draw_tables, summarise_cells


def main(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="What is compared.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results are kept.")] = Path("study"),
    draw: Annotated[bool, typer.Option("--draw", help="Draw what is there; run nothing.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many cells.")] = None,
) -> None:
    """Run a study; stop it at any moment, start it again, and it goes on."""
    study = read_study(file)
    results: list[dict[str, Any]] = []
    ran = 0
    for cell in cells_of(study, out):
        result = read_result(study, cell, out)
        if result is None:
            if draw or ran == limit:
                break
            with common.progress(0, cell.name) as bar:
                try:
                    result = run_cell(study, cell, out, lambda text, name=cell.name: bar.note(f"{name}: {text}"))  # type: ignore[misc]
                except KeyboardInterrupt:
                    raise Interrupted("stopped; the same command goes on where it was.") from None
            ran += 1
            reached = " / ".join(f"{100 * value:.2f}" for value in result.get("test", result["calibration"]))
            common.say(f"{cell.name}: {reached} % in {result['seconds']:.0f} s")
        results.append(result)
    table = draw_tables(summarise_cells(results, study.baseline), study.baseline)
    common.say(table)
    write_text(out / "table.md", table)


if __name__ == "__main__":
    common.run_script(main)
