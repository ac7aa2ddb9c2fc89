"""Our files against the plainest route's: ``python -m msd_edge.benchmarks.plain_route``.

The plainest route is the converter, then the quantizer, both with their defaults and nothing of ours. Both sides are
one file that takes the image and gives the last exit's logits; their invocations alternate in one run, on one thread.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer

from msd_edge.benchmarks.side_by_side import time_side_by_side
from msd_edge.bundle.manifest import Precision, Target
from msd_edge.cli import common
from msd_edge.converters.base import ignore
from msd_edge.converters.export import open_converter
from msd_edge.converters.onnx.libraries import quiet as quiet_onnx
from msd_edge.converters.tflite.quiet import quiet
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
_ARCHS = "resnet20,preresnet20,mobilenetv3-small,efficientnet-b0"


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


def compare(arch: str, side: int, rounds: int, runs: int) -> Iterator[list[str]]:
    """Convert a network by both routes and return a row for each target and precision."""
    torch.manual_seed(0)
    config = NetworkConfig(arch=arch, exits=2, classes=10, image_shape=(3, side, side), mean=(121.0,), std=(64.0,))
    network = build_network(config).eval()
    draw_statistics(network)
    images = np.random.default_rng(0).integers(0, 256, (32, side, side, 3)).astype(np.uint8)
    for target in dict.fromkeys(target for target, _ in PAIRS):
        prepared = open_converter(target).prepare(network, ignore)
        for precision in [precision for known, precision in PAIRS if known == target]:
            ours = prepared.variant(precision, images).exits[-1].data
            try:
                theirs = convert_plainly(network, target, precision, images)
                times = time_side_by_side(ours, theirs, target, rounds=rounds, runs=runs)
            except Exception as problem:  # noqa: BLE001  whatever the plain route fails with is its result
                yield [arch, target, precision, "-", f"fails: {type(problem).__name__}", "-"]
                continue
            middle = [f"{median(values):.3f}" for values in (times.theirs, times.ours)]
            yield [arch, target, precision, *middle, f"{times.ratio:.2f}"]


def main(
    archs: Annotated[str, typer.Option(help="Networks, separated by commas.")] = _ARCHS,
    side: Annotated[int, typer.Option(min=28, help="Height and width of the image.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each giving one ratio.")] = 9,
    runs: Annotated[int, typer.Option(min=10, help="Invocations in a round.")] = 100,
) -> None:
    """Print milliseconds of the last exit by both routes, and their ratios."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    header = ["network", "target", "precision", "plain, ms", "ours, ms", "ours / plain"]
    common.say(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for arch in archs.split(","):
        for row in compare(arch, side, rounds, runs):
            common.say(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    common.run_script(main)
