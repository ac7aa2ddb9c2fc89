"""Prints what each respelling saves: ``python -m msd_edge.benchmarks.rewrite_ratios``.

One layer on 56x56x32 in a small network, as written and respelled, for every target and precision, on one thread.
Invocations of both files alternate in one run; a ratio is the median over rounds. Errors are the mean distance of the
logits from torch's over other images than the ranges came from, in thousandths of the logits' range.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn

from msd_edge.benchmarks.plain_route import PAIRS, convert_plainly, draw_statistics
from msd_edge.benchmarks.side_by_side import SideBySide, time_side_by_side
from msd_edge.bundle.manifest import Precision, Target, TensorSpec
from msd_edge.cli import common
from msd_edge.converters.base import Converter, ignore
from msd_edge.converters.onnx import OnnxConverter
from msd_edge.converters.rewrites import REWRITES, Rewrite
from msd_edge.converters.tflite import TfliteConverter
from msd_edge.data.dataset import Images
from msd_edge.errors import ExportError
from msd_edge.models.network import Branch, GlobalPool, MultiExitNetwork, Normalize
from msd_edge.runtime.open import open_session
from msd_edge.runtime.session import Array, dequantize

_Maker = Callable[[tuple[Rewrite, ...]], Converter]
_CHANNELS, _SIDE, _CLASSES = 32, 56, 10


@dataclass(frozen=True)
class Row:
    """One rewrite for one target and precision.

    Attributes:
        rewrite: what was measured.
        target, precision: of both files.
        times: ours are the respelled file's.
        errors: as written, respelled.
        plain: the file as written came by the plainest route, because ours refuses it.
    """

    rewrite: Rewrite
    target: Target
    precision: Precision
    times: SideBySide
    errors: tuple[float, float]
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
            *(f"{1000 * error:.2f}" for error in self.errors),
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
    draw_statistics(network)
    return network.eval()


def _draw_images(count: int, seed: int) -> Images:
    """Draw coloured waves: smooth, different from each other, with every pixel value."""
    rng = np.random.default_rng(seed)
    place = np.linspace(0, 2 * np.pi, _SIDE)
    down, across, start = rng.uniform(-3, 3, (3, count, 1, 1, 3))
    waves = down * place[:, None, None] + across * place[:, None] + start
    images: Images = (127.5 + 127.5 * np.sin(waves)).astype(np.uint8)
    return images


def measure(rewrite: Rewrite, rounds: int, runs: int) -> Iterator[Row]:
    """Measure one rewrite for every target and precision."""
    network = build_network(rewrite.name)
    images, others = _draw_images(64, 0), _draw_images(64, 1)
    everywhere = replace(rewrite, pairs=frozenset(PAIRS))
    makers: dict[Target, _Maker] = {"tflite": TfliteConverter, "onnx": OnnxConverter}
    for target, precision in PAIRS:
        plain, told = False, None
        ours = makers[target]((everywhere,)).prepare(network, ignore).variant(precision, images).exits[-1]
        try:
            written = makers[target](()).prepare(network, ignore).variant(precision, images).exits[-1]
            theirs, told = written.data, written.logits
        except ExportError:
            plain = True
            theirs = convert_plainly(network, target, precision, images)
        errors = (
            _measure_error(network, theirs, target, told, others),
            _measure_error(network, ours.data, target, ours.logits, others),
        )
        times = time_side_by_side(ours.data, theirs, target, rounds=rounds, runs=runs)
        yield Row(rewrite, target, precision, times, errors, plain)


def _measure_error(
    network: MultiExitNetwork, data: bytes, target: Target, logits: TensorSpec | None, images: Images
) -> float:
    """Return the mean distance from torch's logits over the images, as a share of their range.

    ``logits`` is what our converter says of the output; None: a file of the plain route.
    """
    session = open_session(data, target, threads=1)
    ((taken, info),) = session.inputs.items()
    found = []
    for image in images:
        pixels: Array = image if info.shape[-1] == image.shape[-1] else image.transpose(2, 0, 1)
        if info.dtype == "int8" and logits is None and info.scale is not None and info.zero_point is not None:
            pixels = np.clip(np.rint(pixels / info.scale) + info.zero_point, -128, 127)
        elif info.dtype == "int8":
            pixels = pixels.astype(np.int16) - 128
        outputs = session.run({taken: np.ascontiguousarray(pixels[None].astype(info.dtype))})
        (name,) = outputs
        scale = session.outputs[name] if logits is None else logits
        found.append(dequantize(outputs[name][0], scale.scale, scale.zero_point).copy())
    with torch.no_grad():
        exact = network(torch.from_numpy(images).permute(0, 3, 1, 2).float())[-1].numpy()
    return float(np.abs(np.stack(found) - exact).mean() / np.ptp(exact))


def main(
    only: Annotated[str | None, typer.Option(help="A rewrite's name.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each giving one ratio.")] = 9,
    runs: Annotated[int, typer.Option(min=10, help="Invocations in a round.")] = 200,
) -> None:
    """Print milliseconds and ratios of every rewrite."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    chosen = [rewrite for rewrite in REWRITES if only in (None, rewrite.name)]
    times, errors = ["as written, ms", "respelled, ms", "ratio"], ["error as written", "error respelled"]
    header = ["rewrite", "target", "precision", *times, *errors, "applied"]
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
    common.run_script(main)
