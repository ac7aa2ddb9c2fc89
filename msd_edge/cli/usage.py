"""Wrong words on the command line, answered in one sentence: which word, what belongs there.

Typer carries its own copy of click since it dropped click, and both change their wording between releases: only what
an error is of, by name of its class and its attributes, is taken from them.
"""

import inspect
import re
import typing
from collections.abc import Sequence
from typing import Any, Literal

import typer

from msd_edge.bundle.choices import suggest

# The base of what Typer raises while it reads a command line.
UsageProblem: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

_COMMAND = re.compile(r"No such command '(.*?)'", re.DOTALL)
# What other programs call it, where a close spelling would not lead there; for verbs that have the right one.
_ELSEWHERE = {
    "--gpu": "--compute cuda",
    "--cuda": "--compute cuda",
    "--cpu": "--compute cpu",
    "--device": "--compute",
    "--model": "--arch",
    "--learning-rate": "--lr",
    "--force": "--overwrite",
}
_EXTRA = re.compile(r"unexpected extra arguments?(?:\(s\))? \((.*)\)", re.DOTALL)


def explain_usage(wrong: Exception, arguments: Sequence[str], script: str | None = None) -> str:
    """Return a sentence for an error that Typer raised while it read the command line.

    Args:
        wrong: the error.
        arguments: the words of the command line.
        script: how the program is called if it is not ``msd-edge``; it has no verbs.
    """
    context = getattr(wrong, "ctx", None)
    # A missing value is found before there is a context: the verb is then the first word that is no option.
    nested = context is not None and context.parent is not None
    verb = _first_word(arguments) if context is None else context.info_name if nested else ""
    command = script or f"msd-edge {verb}".strip()
    see = f"`{command} --help`"
    kind, message = type(wrong).__name__, str(getattr(wrong, "message", "") or wrong)
    parameter = getattr(wrong, "param", None)
    option = getattr(wrong, "option_name", None)
    if kind == "NoSuchOption" and option is not None:
        known = [name for one in _parameters(context) for name in _names(one) if name.startswith("--")]
        return f"{option}: `{command}` has no such option{_suggest_option(option, known) or ';'} {see} shows all."
    if (found := _COMMAND.search(message)) is not None and context is not None:
        known = list(context.command.list_commands(context))
        if found[1] in ("help", "version"):
            told = next((word for word in arguments if word in known), "")
            words = " ".join(["msd-edge", *([told] if told and found[1] == "help" else []), f"--{found[1]}"])
            return f"{found[1]}: there is no such command; did you mean `{words}`?"
        return f"{found[1]}: there is no such command{suggest(found[1], known) or ';'} {see} shows all."
    if (found := _EXTRA.search(message)) is not None:
        return f"{found[1]}: `{command}` does not take so many words; {see} says which."
    if kind == "MissingParameter" and parameter is not None:
        return f"`{command}` needs {_show(parameter)}; {see} says what that is."
    if option is not None and "requires an argument" in message:
        return f"{option}: a value belongs after it; {see} says which."
    if parameter is not None:
        wanted = _describe(context, str(parameter.name))
        if wanted:
            return f"{_given(parameter, arguments)}: give {wanted}."
    return f"{message.rstrip('.')}; see {see}."


def _suggest_option(option: str, known: Sequence[str]) -> str:
    elsewhere = _ELSEWHERE.get(option)
    if elsewhere is None:
        return suggest(option, known)
    return f"; did you mean {elsewhere}?" if elsewhere.split(" ")[0] in known else ""


def _first_word(arguments: Sequence[str]) -> str:
    return next((word for word in arguments if not word.startswith("-")), "")


def _parameters(context: Any) -> list[Any]:
    return [] if context is None else list(context.command.get_params(context))


def _names(parameter: Any) -> list[str]:
    return [*getattr(parameter, "opts", ()), *getattr(parameter, "secondary_opts", ())]


def _show(parameter: Any) -> str:
    name = str(getattr(parameter, "metavar", None) or parameter.name.upper())
    return f"{parameter.opts[0]} {name}" if parameter.param_type_name == "option" else name


def _given(parameter: Any, arguments: Sequence[str]) -> str:
    """Return the option with the value that stands after it; from a configuration file there is none."""
    names = [name for name in _names(parameter) if name.startswith("-")]
    for place, word in enumerate(arguments):
        name, sign, value = word.partition("=")
        if name in names and (sign or place + 1 < len(arguments)):
            return f"{name} {value if sign else arguments[place + 1]}".strip()
    return names[0] if names else _show(parameter)


def _describe(context: Any, name: str) -> str:
    """Return what a parameter of a verb takes, by how the verb declares it; empty if that is not told here."""
    callback = getattr(getattr(context, "command", None), "callback", None)
    if callback is None:
        return ""
    hint = typing.get_type_hints(inspect.unwrap(callback), include_extras=True).get(name)
    if hint is None:
        return ""
    declared = next((extra for extra in getattr(hint, "__metadata__", ()) if hasattr(extra, "min")), None)
    for part in (hint, *typing.get_args(hint)):
        if typing.get_origin(part) is Literal:
            *others, last = map(str, typing.get_args(part))
            return f"{', '.join(others)} or {last}" if others else last
    kinds = {hint} | set(typing.get_args(hint)) | {x for part in typing.get_args(hint) for x in typing.get_args(part)}
    kind = "a number" if float in kinds else "a whole number" if int in kinds else ""
    if not kind:
        return ""
    low, high = getattr(declared, "min", None), getattr(declared, "max", None)
    if low is not None and high is not None:
        return f"{kind} from {low:g} to {high:.10g}"
    return f"{kind} from {low:g} on" if low is not None else kind
