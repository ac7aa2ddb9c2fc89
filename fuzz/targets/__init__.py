"""The targets: one parser each, fed with bytes. It may refuse them with a clear sentence, or take them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Run = Callable[[bytes], None]
CORPUS = Path(__file__).parents[1] / "corpus"


@dataclass(frozen=True)
class Target:
    """A parser to be fuzzed.

    Attributes:
        name: of it, and of its folder of seeds.
        make: given a folder to work in, returns what takes one input.
        share: of all cases; slow parsers get fewer. Shares need not add up to anything.
        native: code that is no Python parses too, and may end the process: every input is written down first.
    """

    name: str
    make: Callable[[Path], Run]
    share: float
    native: bool = False

    def seeds(self) -> tuple[bytes, ...]:
        """Return the inputs kept for it."""
        return tuple(path.read_bytes() for path in sorted((CORPUS / self.name).iterdir()))


def all_targets() -> dict[str, Target]:
    """Return every target by name."""
    from fuzz.targets import artefacts, devices, images, models, studies, words

    found = (*artefacts.TARGETS, *images.TARGETS, *devices.TARGETS, *models.TARGETS, *studies.TARGETS, *words.TARGETS)
    return {target.name: target for target in found}
