"""From torch to one float ONNX graph that holds the whole chain of segments."""

import re
from collections.abc import Sequence

import torch
from onnx import ModelProto, shape_inference
from torch import Tensor, nn

from msd_edge.converters.capability import OPSET
from msd_edge.converters.garbage import no_garbage_collection
from msd_edge.converters.onnx.libraries import quiet
from msd_edge.converters.onnx.tidy import tidy
from msd_edge.converters.rewrites import SpelledSegment
from msd_edge.errors import ExportError

IMAGE = "image"


class _Chain(nn.Module):
    """All segments as one module: image in, every segment's outputs out, in order."""

    def __init__(self, segments: Sequence[nn.Module]) -> None:
        super().__init__()
        self.segments = nn.ModuleList(segments)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        given: tuple[Tensor, ...] = (image,)
        results: list[Tensor] = []
        for segment in self.segments:
            logits, *features = segment(*given)
            given = tuple(features)
            results += [logits, *features]
        return tuple(results)


def output_name(segment: int, output: str) -> str:
    """Return the name in the whole graph of what a segment (1-based) makes: ``logits@2``."""
    return f"{output}@{segment}"


def export_float(chain: Sequence[SpelledSegment]) -> ModelProto:
    """Export a network's chain of segments as one graph, for a batch of one image.

    Args:
        chain: every segment of the network, in order.

    Returns:
        A graph that takes ``image`` (1, channels, H, W), raw pixel values as float32, and makes ``logits@k`` and
        ``features@k`` of every segment; layers are named after the network's modules.

    Raises:
        ExportError: a segment cannot be exported; segment and cause are named.
    """
    names = [output_name(one.segment.index, output) for one in chain for output in one.segment.output_names]
    with quiet(), no_garbage_collection(), torch.no_grad():
        try:
            program = torch.onnx.export(
                _Chain([one.module for one in chain]),
                chain[0].inputs,
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                input_names=[IMAGE],
                output_names=names,
                verbose=False,
            )
        except Exception as problem:
            raise _blame(chain, problem) from problem
        if program is None:
            raise ExportError("torch's ONNX exporter gave no program; check the versions of torch and onnxscript.")
        model = tidy(program.model_proto)
        return shape_inference.infer_shapes(model, strict_mode=True)


def refuse_batch_statistics(network: nn.Module) -> None:
    """Refuse batch normalizations that take mean and variance from the batch.

    Raises:
        ExportError: there is one; it is named.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise ExportError(
                f"{name}: this batch normalization keeps no running statistics, so a file for single images cannot "
                f"hold it; build it with track_running_stats=True and train again."
            )


def _blame(chain: Sequence[SpelledSegment], problem: Exception) -> ExportError:
    """Find the first segment that torch cannot trace, and say why in a sentence."""
    for one in chain:
        try:
            torch.export.export(one.module, one.inputs)
        except Exception as cause:  # noqa: BLE001  whatever it is, it names the segment
            return ExportError(f"segment {one.segment.index} cannot be exported to ONNX: {_sentence(cause)}")
    return ExportError(f"the network cannot be exported to ONNX: {_sentence(problem)}")


def _sentence(problem: BaseException) -> str:
    """Return the first line of the innermost cause, with the line of the model's code if torch names one."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    text = (lines[0] if lines else type(problem).__name__).rstrip(".")
    places = re.findall(r'File "([^"]+)", line (\d+), in (\w+)', str(problem))
    own = [place for place in places if "site-packages" not in place[0]]
    return f"{text} ({own[-1][0]}, line {own[-1][1]}, in {own[-1][2]})." if own else f"{text}."
