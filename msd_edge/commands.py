"""Command lines that messages suggest: pasted into a shell they say what was meant, whatever a folder is called."""

import shlex
from collections.abc import Iterable
from pathlib import Path


def suggest_command(verb: str, *words: str | Path, writes: Iterable[Path] = ()) -> str:
    """Return ``msd-edge VERB WORDS``, each word quoted where a shell would take it apart; plain words stay as they are.

    A path that starts with a dash gets a ``./`` before it, so that it is not read as an option.

    Args:
        verb: of the command line.
        words: what follows it.
        writes: the files or folders that the command would write; ``--overwrite`` is added where one is there already.
    """
    replaces = ["--overwrite"] if any(path.exists() for path in writes) else []
    return shlex.join(["msd-edge", verb, *(_spell(word) for word in words), *replaces])


def _spell(word: str | Path) -> str:
    text = str(word)
    return f"./{text}" if isinstance(word, Path) and text.startswith("-") else text
