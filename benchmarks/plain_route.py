"""A network by the plainest route: the converter, then the quantizer, both with their defaults and nothing of ours.

What our files are measured against. One file takes the image and gives the last exit's logits.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from msd_edge.bundle.manifest import Precision, Target
from msd_edge.converters.onnx.libraries import quiet as quiet_onnx
from msd_edge.converters.tflite.quiet import quiet
from msd_edge.data.dataset import Images
from msd_edge.models.network import MultiExitNetwork
from msd_edge.segments import standalone


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
    with quiet_onnx(), quiet(), tempfile.TemporaryDirectory(prefix="msd-edge-") as folder:
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
