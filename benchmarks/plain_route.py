"""Our files against the plainest route's: ``python -m msd_edge.benchmarks.plain_route``.

The plainest route is the converter, then the quantizer, both with their defaults and nothing of ours. Both sides are
one file that takes the image and gives the last exit's logits; their invocations alternate in one run, on one thread.
The networks are those of the table of what int8 costs.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer

from msd_edge.benchmarks.devices.cpu import worker_environment
from msd_edge.benchmarks.int8_table import ROWS, Row
from msd_edge.benchmarks.side_by_side import time_side_by_side
from msd_edge.bundle.manifest import Precision, Target
from msd_edge.cli import common
from msd_edge.converters.base import ignore
from msd_edge.converters.onnx.libraries import quiet as quiet_onnx
from msd_edge.converters.tflite.quiet import quiet
from msd_edge.converters.variants import open_converter
from msd_edge.data.dataset import Images
from msd_edge.models.build import NetworkConfig, build_network
from msd_edge.models.network import MultiExitNetwork
from msd_edge.segments import standalone

PAIRS: tuple[tuple[Target, Precision], ...] = (
    ("tflite", "float32"),
    ("tflite", "int8"),
    ("onnx", "float32"),
    ("onnx", "int8"),
)


def convert_plainly(network: MultiExitNetwork, target: Target, precision: Precision, images: Images) -> bytes:
    """Convert a network's last exit as the libraries' own examples do.

    Args:
        network: in evaluation mode.
        target: the file format.
        precision: ``float32`` or ``int8``.
        images: raw images (images, H, W, C), uint8, for the quantizer's calibration.
    """
    module = standalone(network)[-1].eval()
    example = torch.zeros(1, *network.image_shape)
    pixels = [image[None] for image in images.transpose(0, 3, 1, 2).astype(np.float32)]
    if target == "tflite":
        return _tflite(module, example, pixels if precision == "int8" else [])
    return _onnx(module, example, pixels if precision == "int8" else [])


def _tflite(module: torch.nn.Module, example: torch.Tensor, pixels: list[Any]) -> bytes:
    with quiet():
        import litert_torch
        from ai_edge_quantizer import quantizer, recipe

        data = bytes(litert_torch.convert(module, (example,)).model_content())
        if not pixels:
            return data
        work = quantizer.Quantizer(data, recipe.static_wi8_ai8())
        ranges = work.calibrate({"serving_default": [{"args_0": image} for image in pixels]})
        return bytes(work.quantize(ranges).quantized_model)


def _onnx(module: torch.nn.Module, example: torch.Tensor, pixels: list[Any]) -> bytes:
    with quiet_onnx(), quiet(), tempfile.TemporaryDirectory(prefix="msd-edge-plain-") as folder:
        from onnxruntime.quantization import CalibrationDataReader, quantize_static

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            def __init__(self) -> None:
                self._left: Iterator[Any] = iter(pixels)

            def get_next(self) -> Any:
                image = next(self._left, None)
                return None if image is None else {"image": image}

        made, quantized = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        program = torch.onnx.export(module, (example,), dynamo=True, input_names=["image"], verbose=False)
        assert program is not None
        program.save(str(made))
        if not pixels:
            return made.read_bytes()
        quantize_static(str(made), str(quantized), Reader())
        return quantized.read_bytes()


def draw_statistics(network: torch.nn.Module) -> None:
    """Give batch normalizations numbers as if trained: with fresh ones a converter leaves half of their work out."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            torch.nn.init.normal_(module.running_mean, 0, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.bias, 0, 0.3)


@dataclass(frozen=True)
class Pair:
    """One network for one target and precision: our file, and the plain route's or what it fails with."""

    row: Row
    target: Target
    precision: Precision
    ours: bytes
    theirs: bytes | Exception


def convert_both(row: Row, side: int, precisions: Sequence[str]) -> Iterator[Pair]:
    """Convert a network's last exit by both routes, for every target.

    Args:
        row: which network; it has three exits.
        side: height and width of the image.
        precisions: those wanted.
    """
    torch.manual_seed(0)
    config = NetworkConfig(
        arch=row.arch, width=row.width, classes=10, image_shape=(3, side, side), mean=(121.0,), std=(64.0,)
    )
    network = build_network(config).eval()
    draw_statistics(network)
    images = np.random.default_rng(0).integers(0, 256, (32, side, side, 3)).astype(np.uint8)
    for target in dict.fromkeys(target for target, _ in PAIRS):
        prepared = open_converter(target).prepare(network, ignore)
        for precision in (known for each, known in PAIRS if each == target and known in precisions):
            ours = prepared.variant(precision, images).exits[-1].data
            theirs: bytes | Exception
            try:
                theirs = convert_plainly(network, target, precision, images)
            except Exception as problem:  # noqa: BLE001  whatever the plain route fails with is its result
                theirs = problem
            yield Pair(row, target, precision, ours, theirs)


def compare(pair: Pair, rounds: int, runs: int) -> list[str]:
    """Time both files of a pair in turns and return the row that is printed.

    Raises:
        BundleError: our file does not load. Where the other does not, the row says so.
    """
    start = [pair.row.name, pair.target, pair.precision]
    if isinstance(pair.theirs, Exception):
        return [*start, "-", f"fails: {type(pair.theirs).__name__}", "-", "-"]
    if not _loads(pair.theirs, pair.target):
        return [*start, "-", "does not load", "-", "-"]
    times = time_side_by_side(pair.ours, pair.theirs, pair.target, rounds=rounds, runs=runs)
    middle = [f"{median(values):.3f}" for values in (times.theirs, times.ours)]
    low, high = np.percentile(times.ratios, (25, 75))
    return [*start, *middle, f"{times.ratio:.2f}", f"{low:.2f} to {high:.2f}"]


def _loads(data: bytes, target: Target) -> bool:
    """Tell whether a file can be loaded, in a process of its own: LiteRT ends with a file that XNNPACK refuses."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        program = (
            "import sys; from pathlib import Path; from msd_edge.runtime.open import open_session; "
            "open_session(Path(sys.argv[1]).read_bytes(), sys.argv[2])"
        )
        command = [sys.executable, "-P", "-c", program, file.name, target]
        return not subprocess.run(command, env=worker_environment(1), capture_output=True, check=False).returncode


def main(
    only: Annotated[list[str] | None, typer.Option(help="Only these networks; repeatable.")] = None,
    precision: Annotated[list[str] | None, typer.Option(help="float32, int8 (default: int8); repeatable.")] = None,
    side: Annotated[int, typer.Option(min=28, help="Height and width of the image.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each giving one ratio.")] = 9,
    runs: Annotated[int, typer.Option(min=10, help="Invocations in a round.")] = 100,
) -> None:
    """Print milliseconds of the last exit by both routes, and their ratios."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    known = {row.name: row for row in ROWS}
    chosen = [known[common.choose("--only", name, known)] for name in only] if only else ROWS
    offered = dict.fromkeys(name for _, name in PAIRS)
    precisions = [common.choose("--precision", name, offered) for name in precision or ("int8",)]
    header = ["network", "target", "precision", "plain, ms", "ours, ms", "ours / plain", "half of the rounds"]
    common.say(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in chosen:
        for pair in convert_both(row, side, precisions):
            common.say(f"| {' | '.join(compare(pair, rounds, runs))} |")


if __name__ == "__main__":
    common.run_script(main)
