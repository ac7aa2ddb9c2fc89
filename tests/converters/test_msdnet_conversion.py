"""Several feature maps at a seam: the chain equals its stand-alone exits and its network, in both targets."""

import itertools

import numpy as np
import onnx
import pytest
import torch

from msd_edge.converters.base import ConvertedVariant
from msd_edge.converters.proof import open_chain, run_chain, run_file, to_logits
from msd_edge.converters.variants import open_converter
from msd_edge.models.build import NetworkConfig, build_network, measure_costs
from msd_edge.runtime.open import open_session

IMAGES = np.random.default_rng(3).integers(0, 256, (24, 16, 20, 3), dtype=np.uint8)


def small_msdnet():
    torch.manual_seed(1)
    config = NetworkConfig(
        arch="msdnet",
        exits=3,
        arch_options={"channels": 8, "growth": 4, "base": 2, "step": 1},
        classes=5,
        image_shape=(3, 16, 20),
        mean=(120.0,),
        std=(64.0,),
    )
    network = build_network(config).train()
    with torch.no_grad():  # running statistics of its own
        network(torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float())
    return network.eval()


def chain_logits(variant: ConvertedVariant):
    sessions = open_chain(variant.segments, variant.target, 1)
    return run_chain(sessions, variant.segments, IMAGES, lambda: None)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_every_seam_holds_for_every_feature_map(target):
    network = small_msdnet()
    with torch.no_grad():
        expected = torch.stack(network(torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float())).transpose(0, 1).numpy()
    prepared = open_converter(target).prepare(network, lambda _: None)
    for precision, limit in (("float32", 1e-4), ("int8", 0.12)):
        variant = prepared.variant(precision, IMAGES)
        assert [len(file.features) for file in variant.segments] == [3, 2, 0]
        for given, taken in zip(variant.segments, variant.segments[1:], strict=False):
            for a, b in zip(given.features, taken.inputs, strict=True):
                assert (a.shape, a.dtype, a.scale, a.zero_point) == (b.shape, b.dtype, b.scale, b.zero_point)
        raw = chain_logits(variant)
        found = to_logits(raw, [file.logits for file in variant.segments])
        assert np.abs(found - expected).max() <= limit * np.ptp(expected)
        for k, file in enumerate(variant.exits):
            alone = run_file(open_session(file.data, target, threads=1), file, IMAGES)
            if precision == "int8":
                np.testing.assert_array_equal(alone, raw[:, k])
            else:
                np.testing.assert_allclose(alone, raw[:, k], atol=1e-4 * np.ptp(expected))
        casts = {"DEQUANTIZE"} if target == "tflite" or precision == "float32" else set()
        for file in variant.segments:
            maps = [spec for spec in (*file.inputs, *file.features) if spec.name != "image"]
            # Maps at an int8 seam of ONNX files are turned around, which the runtime takes out; nothing else is.
            turned = len(maps) if target == "onnx" and precision == "int8" else 0
            assert file.operators.get("TRANSPOSE", 0) + file.operators.get("Transpose", 0) == turned
            assert not casts & file.operators.keys()


def count(data: bytes) -> tuple[int, int]:
    """Multiply-accumulates of a float ONNX file, and its network's parameters, with a BatchNorm behind each layer."""
    graph = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data)).graph
    size = {tensor.name: np.prod(tensor.dims, dtype=int) for tensor in graph.initializer}
    first = {tensor.name: tensor.dims[0] for tensor in graph.initializer}
    values = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.value_info, *graph.output)}
    macs = parameters = 0
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            weight, bias = node.input[1:]
            macs += size[weight] * np.prod(values[node.output[0]][2:], dtype=int)
            parameters += size[weight] + first[bias] * (2 if node.op_type == "Conv" else 1)
    return macs, parameters


def test_costs_are_those_of_the_files():
    network = small_msdnet()
    variant = open_converter("onnx").prepare(network, lambda _: None).variant("float32", None)
    costs = measure_costs(network)
    assert [(cost.macs, cost.parameters) for cost in costs] == [count(file.data) for file in variant.exits]
    chain = itertools.accumulate(count(file.data)[0] for file in variant.segments)
    assert [cost.chain_macs for cost in costs] == list(chain)
    assert costs[0].macs < costs[0].chain_macs  # finer scales are made for the next segment only
