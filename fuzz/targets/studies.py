"""Studies: a TOML file that says which networks, data and methods are compared."""

from pathlib import Path

from fuzz.oracle import refuses
from fuzz.targets import Run, Target


def study(folder: Path) -> Run:
    """A study's file: read, and every cell's settings put together."""
    from msd_edge.benchmarks.study.settings import combinations, make_loss, make_optim, pairs, read_study

    file = folder / "study.toml"

    def run(data: bytes) -> None:
        file.write_bytes(data)

        def use() -> None:
            found = read_study(file)
            for where, _, method in pairs(found):
                make_optim(found, where, method)
                for values in combinations(found.methods[method]):
                    make_loss(found, method, values)

        refuses(use)

    return run


TARGETS = (Target("study", study, 2),)
