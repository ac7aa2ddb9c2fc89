"""Every family through both converters, float32 and int8: what the files compute, and what they hold.

Networks and exceptions stand in ``support/known_networks.py``, from which the documentation's list is written.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from support.known_networks import ALLOWED, CONVERTED, LEFT, family_of
from support.onnx_layers import integer_layers
from torch import nn

from msd_edge.bundle.manifest import Target
from msd_edge.converters.base import ConvertedVariant
from msd_edge.converters.proof import check_equal, open_chain, run_chain, run_file, to_logits
from msd_edge.converters.tflite import TfliteConverter
from msd_edge.converters.tflite.quiet import quiet
from msd_edge.converters.variants import open_converter
from msd_edge.models.blocks import conv_bn_act
from msd_edge.models.branches import BranchMaker, Place, augment_backbone
from msd_edge.models.build import initialise
from msd_edge.models.families import FAMILIES, describe_arch
from msd_edge.models.network import Branch, GlobalPool, MultiExitNetwork, Normalize
from msd_edge.runtime.open import open_session

HEIGHT, BREADTH = 32, 28
IMAGES = np.random.default_rng(3).integers(0, 256, (16, HEIGHT, BREADTH, 3), dtype=np.uint8)
STRAYS = {"TRANSPOSE", "Transpose", "DEQUANTIZE", "QUANTIZE"}
# Off from the network at most, as a share of the range of the logits.
LARGEST = {"float32": 1e-4, "int8": 0.2}
MEAN = {"float32": 1e-5, "int8": 0.04}


@dataclass(frozen=True)
class Converted:
    arch: str
    target: Target
    variants: tuple[ConvertedVariant, ...]
    expected: NDArray[np.float32]


def small(arch: str) -> MultiExitNetwork:
    """A network of the family with few blocks, since conversion takes a second for each two: every stage keeps its
    first, the longest one two. One exit leaves before the last stage.
    """
    spec = describe_arch(arch, 8, 3, min(HEIGHT, BREADTH))
    if all(block.between is None for stage in spec.stages for block in stage):
        longest = max(spec.stages, key=len)
        spec = replace(spec, stages=tuple(stage[: 2 if stage is longest else 1] for stage in spec.stages))
    places = [Place(number, len(stage)) for number, stage in enumerate(spec.stages, 1)][-2:]
    torch.manual_seed(1)
    normalize = Normalize((120.0,), (64.0,))
    network = augment_backbone(spec, places, 5, normalize, (3, HEIGHT, BREADTH), BranchMaker())
    initialise(network)
    with torch.no_grad():
        for _ in range(20):  # running statistics near the true ones, so that activations have the size of trained ones
            network.train()(torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float())
    return network.eval()


@pytest.fixture(scope="module", params=[(arch, target) for arch in CONVERTED for target in ("tflite", "onnx")], ids=str)
def converted(request: pytest.FixtureRequest) -> Converted:
    arch, target = request.param
    network = small(arch)
    with torch.no_grad():
        logits = network(torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float())
    prepared = open_converter(target).prepare(network, lambda _: None)
    variants = tuple(prepared.variant(precision, IMAGES) for precision in ("float32", "int8"))
    return Converted(arch, target, variants, torch.stack(logits, 1).numpy())


def test_every_family_is_converted() -> None:
    for family in FAMILIES:
        assert any(family.has_arch(arch) for arch in CONVERTED), family.title


@pytest.mark.slow
def test_segments_compute_what_the_network_computes(converted: Converted) -> None:
    for variant in converted.variants:
        raw = run_chain(open_chain(variant.segments, variant.target, 1), variant.segments, IMAGES, lambda: None)
        off = np.abs(to_logits(raw, [file.logits for file in variant.segments]) - converted.expected)
        off /= np.ptp(converted.expected, (0, 2))[:, None]
        assert off.max() <= LARGEST[variant.precision], variant.precision
        assert off.mean() <= MEAN[variant.precision], variant.precision
        for exit_, file in enumerate(variant.exits):
            alone = run_file(open_session(file.data, variant.target, threads=1), file, IMAGES)
            check_equal(alone, raw[:, exit_], f"{converted.arch} {variant.target} {variant.precision} exit {exit_}")


@pytest.mark.slow
def test_nothing_is_cast_or_turned_around(converted: Converted) -> None:
    allowed = ALLOWED.get((family_of(converted.arch).title, converted.target), set())
    for variant in converted.variants:
        int8 = variant.precision == "int8"
        # Maps at an int8 seam are turned around in ONNX files, and the runtime takes that out.
        seams = {"Transpose"} if int8 and converted.target == "onnx" else set()
        for file in variant.segments:
            assert STRAYS & file.operators.keys() - seams <= (allowed if int8 else set()), variant.precision
        for file in variant.exits:
            assert STRAYS & file.operators.keys() <= (allowed if int8 else set()), variant.precision


def left_by_xnnpack(data: bytes) -> set[str]:
    """Types of operators that LiteRT's default delegate leaves to the slower kernels: they stand between its parts."""
    with quiet():
        loaded = Interpreter(model_content=data, num_threads=1)
        loaded.allocate_tensors()
    operators = loaded._get_ops_details()
    parts = [operator for operator in operators if operator["op_name"] == "DELEGATE"]
    taken = {int(tensor) for part in parts for tensor in part["inputs"]}
    given = {int(tensor) for part in parts for tensor in part["outputs"]}
    wanted = taken.union(details["index"] for details in loaded.get_output_details()) - given
    return {
        operator["op_name"]
        for operator in operators
        if operator not in parts and wanted.intersection(map(int, operator["outputs"]))
    }


@pytest.mark.slow
def test_kernels_take_every_operator_of_an_int8_file(converted: Converted) -> None:
    _, int8 = converted.variants
    for file in int8.segments:
        if converted.target == "tflite":
            assert left_by_xnnpack(file.data) <= LEFT.get(family_of(converted.arch).title, set())
        else:
            integers, layers = integer_layers(file.data)
            assert integers == layers


@pytest.mark.slow
def test_an_operator_that_xnnpack_leaves_is_seen() -> None:
    """Without the converter's respellings: hard-swish in the middle, a pooling at the end of the file's trunk."""
    trunk = nn.Sequential(conv_bn_act(3, 8, 3, act=nn.Hardswish), conv_bn_act(8, 8, 3), nn.AvgPool2d(2))
    branch = Branch(conv_bn_act(8, 8, 1), GlobalPool(), 8, 5)
    network = MultiExitNetwork(Normalize((120.0,), (64.0,)), [trunk], [branch], ["1:1"], (3, HEIGHT, BREADTH))
    int8 = TfliteConverter(rewrites=()).prepare(network).variant("int8", IMAGES)
    assert left_by_xnnpack(int8.segments[0].data) == {"HARD_SWISH", "AVERAGE_POOL_2D"}
