"""Words of the command line that have an inner form: places of exits, sizes, pixels, settings, targets, names."""

from collections.abc import Callable
from pathlib import Path

from fuzz.oracle import refuses
from fuzz.targets import Run, Target


def option_words(folder: Path) -> Run:
    """An option's text; the first byte says of which option."""
    from msd_edge.bundle.android import check_name
    from msd_edge.cli import common, export, train
    from msd_edge.cli.calibrate import read_share
    from msd_edge.converters.capability import parse_targets
    from msd_edge.models.archs import check_arch
    from msd_edge.models.branches import parse_places
    from msd_edge.models.families import describe_arch
    from msd_edge.segments import check_kept

    del folder
    spec = describe_arch("resnet20", 4, 3, 32)

    def share(text: str) -> None:
        try:
            value = float(text)
        except ValueError:  # the command line's own answer
            return
        read_share(value)

    def arch(text: str) -> None:
        check_arch(text)
        if ":" not in text and not text.endswith(".py") and text != "msdnet":
            describe_arch(text, 4, 3, 32)

    readers: tuple[Callable[[str], object], ...] = (
        common.read_size,
        lambda text: train._read_pixels("--mean", text),
        lambda text: train._read_pixels("--std", text),
        lambda text: train.read_arch_options([text]),
        lambda text: check_kept(export._read_exits(text), 3),
        lambda text: parse_places(spec, text, (3, 32, 32)),
        check_name,
        lambda text: parse_targets([text]),
        share,
        arch,
    )

    def run(data: bytes) -> None:
        if data:
            text = data[1:].decode(errors="replace")
            if len(text) <= 200:
                refuses(lambda: readers[data[0] % len(readers)](text))

    return run


TARGETS = (Target("option-words", option_words, 1),)
