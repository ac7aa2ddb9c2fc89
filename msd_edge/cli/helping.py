"""What ``--help`` prints: two columns that fit a narrow terminal, whatever the longest option is called.

Typer's own table gives types, short names and negations a column each, which leaves the words a fifth of 80 columns.
"""

import inspect
import re
import textwrap
from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperCommand

# Wider lines are hard to read.
WIDEST = 100

# How a value is called where an option does not say so itself, by what Typer and click call its type.
_VALUES = {
    "<int>": "N",
    "<int range>": "N",
    "INTEGER": "N",
    "INTEGER RANGE": "N",
    "<float>": "X",
    "<float range>": "X",
    "FLOAT": "X",
    "FLOAT RANGE": "X",
    "<path>": "PATH",
    "<str>": "TEXT",
    "<list[str]>": "TEXT",
}
_TYPE = re.compile(rf"(?<= )({'|'.join(map(re.escape, sorted(_VALUES, key=len, reverse=True)))})$")
_INDENT = "  "
_COLUMN = 28  # what is longer stands on a line of its own


class PlainCommand(TyperCommand):
    """A verb whose options stand in two columns: how it is written, and what it does."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows the verb in the line of usage: optional words in brackets."""
        found = [each for each in self.get_params(ctx) if each.param_type_name == "argument"]
        names = [f"{_name(each)}{'...' if each.nargs != 1 else ''}" for each in found]
        words = [name if each.required else f"[{name}]" for each, name in zip(found, names, strict=True)]
        return ["[OPTIONS]", *words]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what the verb does; paragraphs that begin with blanks are command lines."""
        del ctx
        before = None
        for part in inspect.cleandoc(self.help or "").split("\n\n"):
            command = part.startswith(" ")
            if not (command and before):
                formatter.write("\n")
            write = _wrap_command if command else _wrap
            formatter.write("".join(f"{line}\n" for line in write(" ".join(part.split()), formatter.width)))
            before = command

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options; names of values are short, a switch and its negation share a word."""
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                # Older releases of Typer escape brackets for Rich even where it does not print.
                words = record[1].replace("\\[", "[")
                rows[parameter.param_type_name].append((_written(parameter, record[0]), words))
        for kind, title in (("argument", "Arguments"), ("option", "Options")):
            if rows[kind]:
                formatter.write(f"\n{title}:\n")
                formatter.write("".join(f"{line}\n" for line in _columns(rows[kind], formatter.width)))


def make_plain(app: typer.Typer) -> None:
    """Give an app's verbs plain help, and each its first paragraph as the line in the list of verbs."""
    for verb in app.registered_commands:
        verb.cls = PlainCommand
        if verb.help:
            verb.short_help = " ".join(verb.help.split("\n\n")[0].split())


def _name(parameter: Any) -> str:
    return re.sub(r"[\[\]]|\.{3}$", "", str(parameter.metavar or parameter.name.upper()))


def _written(parameter: Any, names: str) -> str:
    if parameter.param_type_name == "argument":
        return _name(parameter)
    if parameter.secondary_opts:
        return str(parameter.opts[0]).replace("--", "--[no-]", 1)
    return _TYPE.sub(lambda found: _VALUES[found[1]], names)


def _wrap(text: str, width: int, first: str = _INDENT, rest: str = _INDENT) -> list[str]:
    # An option broken at one of its hyphens could not be copied.
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, break_long_words=False
    )


def _wrap_command(text: str, width: int) -> list[str]:
    """Break a command line before options only, so that it can be pasted as it stands."""
    lines: list[str] = []
    line = f"{_INDENT}{_INDENT}"
    for place, part in enumerate(text.split(" --")):
        word = f" --{part}" if place else part
        if place and len(line) + len(word) + 2 > width:
            lines.append(f"{line} \\")
            line, word = 4 * _INDENT, word[1:]
        line += word
    return [*lines, line]


def _columns(rows: Iterable[tuple[str, str]], width: int) -> list[str]:
    rows = list(rows)
    longest = max((len(name) for name, _ in rows if len(name) <= _COLUMN), default=_COLUMN)
    blank = " " * (len(_INDENT) + longest + 2)
    lines = []
    for name, text in rows:
        first = f"{_INDENT}{name}".ljust(len(blank))
        if len(name) > longest and text:
            lines.append(first)
            first = blank
        lines += _wrap(text, width, first, blank) or [first.rstrip()]
    return lines
