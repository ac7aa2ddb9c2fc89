"""``msd-edge report``."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msd_edge.cli import common
from msd_edge.cli.common import ConfigOption, JsonOption, OverwriteOption, VerboseOption
from msd_edge.errors import ConfigError

if TYPE_CHECKING:
    from msd_edge.benchmarks.report.load import Source

EXAMPLES = """Write one HTML page about what `msd-edge bench` measured.

The page needs no network and no other file. Several results files, from several devices, go into one page.

Examples:

  msd-edge report --open

  msd-edge report results/pixel.json results/desk.json --out both.html

  msd-edge report --markdown report.md --csv report.csv --overwrite
"""

# What of the page stands in a bundle's manifest only.
_LACKS = "Without it the page has no parity, operators, accuracy at export, seams, temperatures or where the exits are."


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("report", help=EXAMPLES)(report)


def report(
    results: Annotated[
        list[Path] | None, typer.Argument(metavar="[RESULTS]...", help="Results files; default the newest in results/.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("report.html"),
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="The main tables as Markdown, too.")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="All exits and points as CSV, too.")] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The bundle that was measured; default the same one in bundles/."),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Write the page and what else was asked for."""
    from msd_edge.benchmarks.report.load import load, newest_results
    from msd_edge.benchmarks.report.page import build_page, require_jinja
    from msd_edge.benchmarks.report.paste import build_csv, build_markdown
    from msd_edge.files import write_text

    require_jinja()
    paths = results or [newest_results()]
    files = {"report": out, "markdown": markdown, "csv": csv}
    targets = {kind: path for kind, path in files.items() if path is not None}
    sources = load(paths, bundle)
    _check_targets(targets, paths, overwrite=overwrite)
    if not as_json:
        _say_sources(sources, newest=not results)
    # All texts before the first file: what fails, fails before anything is written.
    build = {"report": build_page, "markdown": build_markdown, "csv": build_csv}
    texts = {kind: build[kind](sources) for kind in targets}
    for kind, path in targets.items():
        write_text(path, texts[kind])
    _say_done(sources, targets, as_json=as_json)
    if open_:
        _open(out)


def _check_targets(targets: dict[str, Path], results: list[Path], *, overwrite: bool) -> None:
    from msd_edge.files import refuse_existing

    seen: dict[Path, str] = {path.resolve(): "the results" for path in results}
    for kind, path in targets.items():
        option = "--out" if kind == "report" else f"--{kind}"
        if path.resolve() in seen:
            raise ConfigError(f"{option} {path}: {seen[path.resolve()]} would be overwritten; name another file.")
        if path.is_dir():
            raise ConfigError(f"{option} {path}: this is a folder; name a file.")
        seen[path.resolve()] = f"the file of {option}"
        refuse_existing(path, overwrite=overwrite)


def _say_sources(sources: list["Source"], *, newest: bool) -> None:
    for source in sources:
        found = source.results
        common.facts(
            [
                ("results", f"{source.path}{' (newest)' if newest else ''} · {found.device.name} · {found.data}"),
                ("bundle", str(source.bundle.path) if source.bundle is not None else f"{source.missing} {_LACKS}"),
            ]
        )


def _say_done(sources: list["Source"], targets: dict[str, Path], *, as_json: bool) -> None:
    from msd_edge.benchmarks.report.findings import headline, warnings
    from msd_edge.benchmarks.report.measures import prepare

    runs = prepare(sources)
    if as_json:
        common.say_json(
            {
                **{kind: str(path) for kind, path in targets.items()},
                "results": [
                    {
                        "path": str(run.source.path),
                        "device": run.label,
                        "bundle": str(run.source.bundle.path) if run.source.bundle is not None else None,
                        "headline": headline(run),
                        "notes": [*warnings(run), *run.source.results.notes],
                    }
                    for run in runs
                ],
            }
        )
        return
    for run in runs:
        common.facts([("found", f"{f'{run.label}: ' if len(runs) > 1 else ''}{headline(run).replace('`', '')}")])
        common.facts([("note", sentence) for sentence in warnings(run)])
    common.facts((kind, str(path)) for kind, path in targets.items())


def _open(page: Path) -> None:
    try:
        shown = webbrowser.open(page.resolve().as_uri())
    except webbrowser.Error:
        shown = False
    if not shown:
        common.warn(f"no browser could be started; open {page} yourself.")
