"""Prints what each respelling saves: ``python -m msd_edge.benchmarks.rewrite_ratios``.

One layer on 56x56x32 in a small network, as written and respelled, for every target and precision, on one thread.
Invocations of both files alternate in one run; a ratio is the median over rounds.
"""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn

from msd_edge.benchmarks.plain_route import PAIRS, convert_plainly
from msd_edge.benchmarks.side_by_side import SideBySide, time_side_by_side
from msd_edge.bundle.manifest import Precision, Target
from msd_edge.cli import common
from msd_edge.converters.base import Converter, ignore
from msd_edge.converters.onnx import OnnxConverter
from msd_edge.converters.rewrites import REWRITES, Rewrite
from msd_edge.converters.tflite import TfliteConverter
from msd_edge.errors import ExportError, MsdEdgeError
from msd_edge.models.network import Branch, GlobalPool, MultiExitNetwork, Normalize

_Maker = Callable[[tuple[Rewrite, ...]], Converter]
_CHANNELS, _SIDE, _CLASSES = 32, 56, 10


@dataclass(frozen=True)
class Row:
    """One rewrite for one target and precision.

    Attributes:
        rewrite: what was measured.
        target, precision: of both files.
        times: ours are the respelled file's.
        plain: the file as written came by the plainest route, because ours refuses it.
    """

    rewrite: Rewrite
    target: Target
    precision: Precision
    times: SideBySide
    plain: bool

    def cells(self) -> list[str]:
        """Return the row as it is printed."""
        mark = "*" if self.plain else ""
        applied = (self.target, self.precision) in self.rewrite.pairs
        return [
            self.rewrite.name,
            self.target,
            self.precision,
            f"{median(self.times.theirs):.3f}{mark}",
            f"{median(self.times.ours):.3f}",
            f"{self.times.ratio:.2f}",
            "yes" if applied else "no",
        ]


class _Layer(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _shuffle(x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    return x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)


# What stands in the middle of the network; the others change its end.
_LAYERS: dict[str, Callable[[], nn.Module]] = {
    "hard-swish": nn.Hardswish,
    "leaky ReLU": lambda: nn.LeakyReLU(0.1),
    "average pooling": lambda: nn.AvgPool2d(2),
    "padded max pooling": lambda: nn.MaxPool2d(3, 2, 1),
    "lone batch norm": lambda: nn.Sequential(nn.BatchNorm2d(_CHANNELS), nn.ReLU()),
    "channel shuffle": lambda: _Layer(_shuffle),
}
_POOLS: dict[str, Callable[[], nn.Module]] = {
    "global pooling": lambda: _Layer(lambda x: nn.functional.avg_pool2d(x, x.shape[2:]).flatten(1)),
    "flattened map": nn.Flatten,
}


def build_network(name: str) -> MultiExitNetwork:
    """Return the small network around a rewrite's layer, with weights and statistics as if trained."""
    torch.manual_seed(0)
    flat = name == "flattened map"
    middle = nn.AvgPool2d(8) if flat else _LAYERS.get(name, nn.Identity)()
    trunk = nn.Sequential(
        nn.Conv2d(3, _CHANNELS, 1),
        nn.Identity() if name in ("hard-swish", "leaky ReLU") else nn.ReLU(),
        middle,
        nn.Conv2d(_CHANNELS, 8, 1),
        nn.ReLU(),
    )
    features = 8 * (_SIDE // 8) ** 2 if flat else 8
    branch = Branch(nn.Identity(), _POOLS.get(name, GlobalPool)(), features, _CLASSES)
    network = MultiExitNetwork(Normalize((121.0,), (64.0,)), [trunk], [branch], ("a",), (3, _SIDE, _SIDE))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.bias, 0, 0.3)
    return network.eval()


def measure(rewrite: Rewrite, rounds: int, runs: int) -> Iterator[Row]:
    """Measure one rewrite for every target and precision."""
    network = build_network(rewrite.name)
    images = np.random.default_rng(0).integers(0, 256, (16, _SIDE, _SIDE, 3)).astype(np.uint8)
    everywhere = replace(rewrite, pairs=frozenset(PAIRS))
    makers: dict[Target, Callable[[tuple[Rewrite, ...]], Converter]] = {
        "tflite": TfliteConverter,
        "onnx": OnnxConverter,
    }
    for target, precision in PAIRS:
        plain = False
        ours = makers[target]((everywhere,)).prepare(network, ignore).variant(precision, images).exits[-1].data
        try:
            theirs = makers[target](()).prepare(network, ignore).variant(precision, images).exits[-1].data
        except ExportError:
            plain = True
            theirs = convert_plainly(network, target, precision, images)
        yield Row(rewrite, target, precision, time_side_by_side(ours, theirs, target, rounds=rounds, runs=runs), plain)


def main(
    only: Annotated[str | None, typer.Option(help="A rewrite's name.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each giving one ratio.")] = 9,
    runs: Annotated[int, typer.Option(min=10, help="Invocations in a round.")] = 200,
) -> None:
    """Print milliseconds and ratios of every rewrite."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    chosen = [rewrite for rewrite in REWRITES if only in (None, rewrite.name)]
    header = ["rewrite", "target", "precision", "as written, ms", "respelled, ms", "ratio", "applied"]
    # Row by row: on a busy machine the whole takes its time.
    common.say(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    plain = False
    for rewrite in chosen:
        for row in measure(rewrite, rounds, runs):
            common.say(f"| {' | '.join(row.cells())} |")
            plain = plain or row.plain
    if plain:
        common.say("\n\\* by the plainest route: what this package's own checks refuse")


if __name__ == "__main__":
    try:
        typer.run(main)
    except MsdEdgeError as problem:
        sys.stderr.write(f"{problem}\n")
        sys.exit(problem.exit_code)
