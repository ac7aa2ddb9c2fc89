"""What the verbs share: printing, progress, shared options, finding the newest run or bundle."""

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msd_edge.bundle.choices import closest, suggest
from msd_edge.cli.helping import WIDEST, PlainCommand
from msd_edge.cli.presets import PRESETS
from msd_edge.cli.usage import UsageProblem, explain_usage
from msd_edge.commands import suggest_command
from msd_edge.errors import ConfigError, Interrupted, MsdEdgeError
from msd_edge.training.distributed import ALONE, World

if TYPE_CHECKING:
    from msd_edge.bundle.reader import Bundle

_LONGEST = 3000  # characters of a message


@dataclass
class State:
    """What the whole command line shares.

    Attributes:
        verbose: show tracebacks.
        quiet: print no results and notes, since another process of the job does.
        mute: print no errors either, since another process of this host does.
        world: the processes that do the work together.
    """

    verbose: bool = False
    quiet: bool = False
    mute: bool = False
    world: World = ALONE


state = State()


# Control signs but for line breaks: a name in somebody else's file must not move the cursor or set a title.
_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if code != 10}
_ESCAPES = {code: f"\\u{code:04x}" for code in range(127, 160)}


def plain(text: str) -> str:
    """Return a text that is safe to be printed on a terminal."""
    return text.translate(_CONTROLS)


def say(text: str = "") -> None:
    """Print a line to standard output."""
    if state.quiet:
        return
    sys.stdout.write(plain(text) + "\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    """Print a note to standard error, where it does not disturb a pipe."""
    if not state.quiet:
        sys.stderr.write(f"msd-edge: note: {plain(text)}\n")


def complain(text: str) -> None:
    """Print what went wrong to standard error, where work goes on with the rest."""
    if not state.quiet:
        say_error(text)


def say_error(text: str) -> None:
    """Print what went wrong to standard error in one line, cut in its middle if a hostile file makes it megabytes."""
    words = " ".join(text.split())
    if len(words) > _LONGEST:
        words = f"{words[: _LONGEST // 2]} … {words[-_LONGEST // 2 :]}"
    sys.stderr.write(f"msd-edge: {plain(words)}\n")


def facts(rows: Iterable[tuple[str, str]]) -> None:
    """Print lines of a short name and what is to be said of it, aligned."""
    for name, text in rows:
        say(f"{name:<8} {text}")


def table(header: list[str], rows: list[list[str]]) -> None:
    """Print an aligned table: the first column to the left, the others to the right."""
    cells = [header, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        parts = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        say("  ".join(parts).rstrip())


def run_script(main: Callable[..., None]) -> None:
    """Run a script's function as its command line, and end with its exit code."""
    sys.exit(call_script(main, sys.argv[1:]))


def call_script(main: Callable[..., None], arguments: list[str]) -> int:
    """Call a script's function with the words of a command line; where it fails, one sentence says why.

    Args:
        main: of a module that is started with ``python -m``; annotated as a verb is.
        arguments: the words.

    Returns:
        The exit code, as of ``msd-edge``.
    """

    @functools.wraps(main)
    def work(*given: Any, **named: Any) -> None:
        try:
            main(*given, **named)
        except KeyboardInterrupt:  # told apart here from what a script chose to end with
            raise Interrupted("interrupted.") from None

    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
    )
    app.command(cls=PlainCommand)(work)
    program = f"python -m {_name_module(main)}"
    try:
        code = app(arguments, prog_name=program, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except UsageProblem as wrong:
        words, code = explain_usage(wrong, arguments, program), ConfigError.exit_code
    except MsdEdgeError as problem:
        words, code = str(problem), problem.exit_code
    sys.stderr.write(f"{plain(words)}\n")
    return code


def _name_module(main: Callable[..., None]) -> str:
    """Return the name by which ``python -m`` starts a function's module."""
    started = getattr(sys.modules["__main__"], "__spec__", None)
    name = started.name if main.__module__ == "__main__" and started is not None else main.__module__
    return name.removesuffix(".__main__")


def say_json(value: Any) -> None:
    """Print one JSON document, for machines."""
    say(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).translate(_ESCAPES))


@dataclass
class Progress:
    """A live line on a terminal, nothing in a pipe. ``total`` 0: the number of steps is not known."""

    total: int
    text: str
    live: bool
    done: int = 0

    def advance(self, count: int = 1, text: str | None = None) -> None:
        """Move on by ``count`` steps."""
        self.done += count
        if text is not None:
            self.text = text
        self._draw()

    def note(self, text: str) -> None:
        """Change the text."""
        self.text = text
        self._draw()

    def clear(self) -> None:
        """Take the line away, so that something else can be printed."""
        if self.live:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()

    def _draw(self) -> None:
        if self.live:
            width = max(20, _terminal_width() - 1)
            count = f"[{self.done}/{self.total}] " if self.total else ""
            sys.stderr.write(f"\r\x1b[2K{plain(f'{count}{self.text}')[:width]}")
            sys.stderr.flush()


@contextmanager
def progress(total: int, text: str) -> Iterator[Progress]:
    """Show progress over ``total`` steps on standard error while the block runs, on a terminal only."""
    bar = Progress(total, text, live=sys.stderr.isatty() and not state.quiet)
    bar.note(text)
    try:
        yield bar
    finally:
        bar.clear()


def newest(parent: Path, marker: str, what: str, make: str) -> Path:
    """Return the newest folder under ``parent`` that holds a file ``marker``.

    Args:
        parent: ``runs`` or ``bundles``.
        marker: ``run.json`` or ``manifest.json``.
        what: ``run`` or ``bundle``, for the message.
        make: the command that makes one.

    Raises:
        ConfigError: there is none.
    """
    found = _find(parent, marker)
    if not found:
        raise ConfigError(f"{parent}/: there is no {what} here; name one, or make one with `{make}`.")
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent


def newest_bundle() -> Path:
    """Return the newest bundle under ``bundles``.

    Raises:
        ConfigError: there is none.
    """
    return newest(Path("bundles"), "manifest.json", "bundle", "msd-edge export")


def newest_run() -> Path:
    """Return the newest run under ``runs``.

    Raises:
        ConfigError: there is none.
    """
    return newest(Path("runs"), "run.json", "run", "msd-edge train")


def bench_target(bundle: Path, device: str) -> Path:
    """Return where ``bench`` writes its results unless ``--out`` says otherwise; ``device``: its name."""
    return Path("results") / f"{bundle.resolve().name}-{device}.json"


def suggest_bench(bundle: Path, device: str, *words: str | Path) -> str:
    """Return a command line of ``bench`` with these words, which measures a bundle on the device of this name."""
    target = bench_target(bundle, device)
    return suggest_command("bench", *words, writes=[target, target.with_suffix(".raw.json")])


def suggest_export(run: Path, *words: str | Path, kept: Sequence[str] = ()) -> str:
    """Return a command line of ``export`` with these words, for a run and the exits that are kept, if not all."""
    return suggest_command("export", *words, writes=[export_target(run, kept)])


def export_target(run: Path, kept: Sequence[str] = ()) -> Path:
    """Return where ``export`` writes unless ``--out`` says otherwise; ``kept``: numbers of exits, if not all."""
    return Path("bundles") / "-".join([run.resolve().name, *(["exits", *kept] if kept else [])])


def tell_choice(taken: Path, named: Path | None) -> str:
    """Return a run's or bundle's path as it is told: where nobody named it, as the newest, and of how many.

    Args:
        taken: what a verb took.
        named: what its user named, if anything.
    """
    if named is not None:
        return str(taken)
    count = len(_find(taken.parent, "run.json" if (taken / "run.json").is_file() else "manifest.json"))
    return f"{taken} (newest{f' of {count} in {taken.parent}/' if count > 1 else ''})"


def _find(parent: Path, marker: str) -> list[Path]:
    """Return the marker files of the folders in ``parent``, but for hidden folders."""
    return [path for path in parent.glob(f"*/{marker}") if not path.parent.name.startswith(".")]


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 80


def _set_verbose(value: bool) -> None:
    state.verbose = state.verbose or value


def _load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make a TOML or JSON file's values the defaults of this verb's options."""
    if path is None:
        return None
    values = _read_config(path)
    # By what they are called on the command line: in Python --json may be json_.
    known = {
        option.lstrip("-").replace("-", "_"): parameter.name
        for parameter in context.command.params
        for option in parameter.opts
        if parameter.name
    }
    defaults: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known or name in ("config", "preset", "verbose"):
            options = [parameter.replace("_", "-") for parameter in known]
            raise ConfigError(f"{path}: {key}: `{context.info_name}` has no such option{suggest(key, options) or '.'}")
        defaults[known[name]] = value
    context.default_map = {**(context.default_map or {}), **defaults}
    return path


def _take_preset(context: typer.Context, name: str | None) -> str | None:
    """Make a recipe's values the defaults of this verb's options; a configuration file's win."""
    if name is None:
        return None
    values = PRESETS[choose("--preset", name, PRESETS)]
    context.default_map = {**values, **(context.default_map or {})}
    return name


def _read_config(path: Path) -> dict[str, Any]:
    from msd_edge.files import read_json

    if path.suffix == ".json":
        values = read_json(path, what="configuration", error=ConfigError)
    else:
        import tomllib

        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as problem:
            raise ConfigError(f"{path}: cannot read this configuration: {problem.strerror}.") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{path}: this configuration is no text; it is written in TOML or JSON.") from None
        except (ValueError, RecursionError) as problem:  # ValueError: also whole numbers of thousands of digits
            raise ConfigError(f"{path}: this configuration is no valid TOML: {problem}.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a configuration is a table of option names and values.")
    return values


def choose(name: str, value: str, known: Iterable[str]) -> str:
    """Return ``value`` if it is known.

    Raises:
        ConfigError: it is not; the closest match is offered.
    """
    names = list(known)
    if value not in names:
        raise ConfigError(f"{name} {value}: no such choice{closest(value, names)}.")
    return value


def choose_variant(bundle: "Bundle", name: str | None, runtime: str | None = None) -> str:
    """Return the name of the variant to run: the one given, else the first choice; say so where that does not run here.

    Raises:
        BundleError: there is no such variant.
        RuntimeUnavailable: none was named, and no runtime for any of the bundle's is installed.
    """
    from msd_edge.runtime.open import choose_variant, keep_runnable

    chosen = choose_variant(bundle, name, runtime)
    first = bundle.variant(name).name
    if chosen.name != first:
        notes = keep_runnable(bundle.manifest.variants)[1] if runtime is None else (f"{runtime} does not run {first}.",)
        warn(f"{chosen.name} runs; {' '.join(notes)}")
    return chosen.name


def resolve_source(data: str) -> str:
    """Return a choice of data that means the same from any folder: paths become absolute, built-in names stay.

    Raises:
        ConfigError: it is empty.
    """
    from msd_edge.data.load import known_sources

    if not data.strip():
        raise ConfigError("--data: it is empty; name a data set, a .npz file or a folder.")
    return data if data in known_sources() or not Path(data).exists() else str(Path(data).resolve())


def run_or_bundle(path: Path) -> str:
    """Return ``run`` or ``bundle`` for a folder that is one.

    Raises:
        ConfigError: it is neither.
    """
    if (path / "run.json").is_file():
        return "run"
    if (path / "manifest.json").is_file():
        return "bundle"
    raise ConfigError(f"{path}: neither a run (run.json) nor a bundle (manifest.json) is there.")


VerboseOption = Annotated[
    bool, typer.Option("--verbose", callback=_set_verbose, is_eager=True, help="Show tracebacks and more detail.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", callback=_load_config, is_eager=True, metavar="FILE", help="TOML or JSON file with option values."
    ),
]
PresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        callback=_take_preset,
        is_eager=True,
        metavar="NAME",
        help="fast: 60 epochs of a wide airbench for CIFAR-10, minutes on a GPU; options you give win.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Seed of everything random.")]


def read_size(text: str) -> tuple[int, int]:
    """Return height and width from ``--image-size``: one side (224) or height x width (96x128).

    Raises:
        ConfigError: it is neither, or out of range.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(re.fullmatch("[0-9]{1,4}", part) and 1 <= int(part) <= 8192 for part in parts):
        raise ConfigError(f"--image-size {text}: one side (224) or height x width (96x128), in pixels.")
    sides = [int(part) for part in parts]
    return sides[0], sides[-1]
