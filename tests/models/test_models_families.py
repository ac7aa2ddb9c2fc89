"""Every family keeps the promises of ``BackboneSpec``, at any size, with exits anywhere and branches of any kind."""

import itertools
from typing import get_args

import pytest
import torch
from torch import nn

from msd_edge.errors import ModelError
from msd_edge.models.branches import Place, all_places, sample_branch
from msd_edge.models.build import NetworkConfig, build_network, probe
from msd_edge.models.choices import BranchKind
from msd_edge.models.families import FAMILIES, describe_arch, has_arch, list_archs
from msd_edge.models.families.densenet import _shrinking
from msd_edge.models.families.parts import (
    padded_max_pool,
    round_channels,
    scale_widths,
    soften_strides,
)
from msd_edge.models.families.shufflenet import ShuffleUnit
from msd_edge.models.network import BackboneSpec, BlockSpec
from msd_edge.segments import cut, standalone

# One of each family, and both of where a family has two kinds of block or head.
SMALLEST = (
    "resnet14",
    "resnet50",
    "seresnet14",
    "seresnet50",
    "resnext29-2x64d",
    "preresnet14",
    "wrn-16-4",
    "vgg13",
    "densenet-bc-16-12",
    "mobilenetv1",
    "mobilenetv2",
    "mobilenetv3-small",
    "efficientnet-b0",
    "efficientnet-lite0",
    "shufflenetv2-0.5",
    "regnetx-200mf",
    "regnety-400mf",
    "airbench",
)
# Alike to others but for their length.
LONG = {"resnet56", "resnet110", "seresnet56", "seresnet110", "preresnet56", "preresnet110", "wrn-28-10", "wrn-40-4"}
SIZES = ((28, 28), (32, 47), (65, 96), (130, 161), (224, 224))


def config(arch: str, size: tuple[int, int] = (32, 32), channels: int = 3, **changes: object) -> NetworkConfig:
    base: dict[str, object] = {
        "arch": arch,
        "width": 4,
        "classes": 5,
        "image_shape": (channels, *size),
        "mean": (121.0,),
        "std": (64.0,),
    }
    return NetworkConfig.model_validate(base | changes)


def blocks_of(spec: BackboneSpec) -> list[BlockSpec]:
    return [spec.stem, *itertools.chain.from_iterable(spec.stages)]


def inside_a_stage(spec: BackboneSpec) -> Place:
    """The place in the middle of the longest stage."""
    longest = max(range(len(spec.stages)), key=lambda place: len(spec.stages[place]))
    return Place(longest + 1, len(spec.stages[longest]) // 2)


def test_every_family_is_tested() -> None:
    for family in FAMILIES:
        assert any(family.has_arch(arch) for arch in SMALLEST), family.title


@pytest.mark.parametrize("arch", list_archs())
def test_names_belong_to_one_family_and_widths_follow_each_other(arch: str) -> None:
    assert has_arch(arch)
    assert sum(family.has_arch(arch) for family in FAMILIES) == 1
    for width in (None, 4):
        spec = describe_arch(arch, width, 3, 32)
        assert spec.name == arch
        assert all(spec.stages)
        for before, after in itertools.pairwise(blocks_of(spec)):
            assert before.out_channels == after.in_channels
        for stage in spec.stages:
            if any(block.between is None for block in stage):
                assert len({block.out_channels for block in stage}) == 1


@pytest.mark.parametrize("arch", sorted({*list_archs(), *SMALLEST}.difference(LONG)))
def test_every_network_runs_on_small_grey_images(arch: str) -> None:
    probe(build_network(config(arch, (28, 30), channels=1)), (1, 28, 30))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("arch", SMALLEST)
def test_blocks_are_as_wide_and_shrink_as_much_as_they_say(arch: str, size: tuple[int, int]) -> None:
    spec = describe_arch(arch, 4, 3, min(size))
    x = torch.zeros(1, 3, *size)
    with torch.no_grad():
        for block in blocks_of(spec):
            y = block.build().eval()(x)
            assert y.shape[:2] == (1, block.out_channels)
            for before, after in zip(x.shape[2:], y.shape[2:], strict=True):
                assert after in (before // block.stride, -(-before // block.stride))
            x = y
        pooled = spec.head(x.shape[1]).eval()(x)
    assert pooled.shape == (1, spec.feature_width(x.shape[1]))


@pytest.mark.parametrize("side", [28, 32, 64, 65, 96, 128, 129, 160, 224])
@pytest.mark.parametrize("arch", ["mobilenetv2", "efficientnet-b0", "shufflenetv2-1.0", "regnetx-200mf", "resnet18"])
def test_the_last_map_is_neither_a_point_nor_large(arch: str, side: int) -> None:
    for block in blocks_of(describe_arch(arch, None, 3, side)):
        side = -(-side // block.stride)
    assert 4 <= side <= 8


@pytest.mark.parametrize("kind", get_args(BranchKind))
@pytest.mark.parametrize("arch", SMALLEST)
def test_segments_equal_the_whole_with_exits_anywhere(arch: str, kind: BranchKind) -> None:
    places = f"stem,{inside_a_stage(describe_arch(arch, 4, 3, 28))}"
    network = build_network(config(arch, (28, 33), exits_at=places, branch=kind))
    torch.manual_seed(0)
    images = torch.randint(0, 256, (3, 3, 28, 33)).float()
    network(images)  # moves BatchNorm's statistics off their start
    network.eval()
    with torch.no_grad():
        whole = network(images)
        given: tuple[torch.Tensor, ...] = (images,)
        for k, segment in enumerate(cut(network)):
            logits, *given = segment(*given)
            assert torch.equal(logits, whole[k])
        for k, alone in enumerate(standalone(network)):
            assert torch.equal(alone(images), whole[k])


@pytest.mark.parametrize("kind", get_args(BranchKind))
@pytest.mark.parametrize("arch", SMALLEST)
def test_gradients_reach_everything(arch: str, kind: BranchKind) -> None:
    torch.manual_seed(0)
    network = build_network(config(arch, exits=3, branch=kind)).train()
    logits, features = network.forward_features(torch.randint(0, 256, (4, 3, 32, 32)).float())
    loss = sum(a.square().mean() for a in (*logits, *features))
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    for name, parameter in network.named_parameters():
        if "adapter" in name:  # serves the feature term of training only
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("interval", [None, 1, 2, 3])
@pytest.mark.parametrize("arch", ["densenet-bc-16-12", "densenet-bc-22-12"])
def test_a_dense_layer_stands_for_those_that_a_branch_skips(arch: str, interval: int | None) -> None:
    spec = describe_arch(arch, 8, 3, 32)
    for place, block_left in zip(all_places(spec), blocks_of(spec), strict=True):
        channels = block_left.out_channels
        for block in sample_branch(spec, place, interval):
            assert block.in_channels == channels
            assert block.build()(torch.zeros(1, channels, 8, 8)).shape[1] == block.out_channels
            channels = block.out_channels
        if place.stage < len(spec.stages):
            assert channels == spec.stages[-1][-1].out_channels


def test_pooling_before_the_transition_computes_the_same() -> None:
    torch.manual_seed(0)
    transition = _shrinking(4, 6, 10)[0].eval()
    norm, relu, pool, conv = transition
    x = torch.randn(2, 6, 9, 12)
    assert torch.allclose(transition(x), pool(conv(relu(norm(x)))), atol=1e-6)


def test_zero_padding_before_max_pooling_is_exact_behind_a_relu() -> None:
    x = torch.randn(1, 4, 33, 47).relu()
    assert torch.equal(padded_max_pool()(x), nn.functional.max_pool2d(x, 3, 2, 1))


def test_no_channel_passes_a_shuffle_net_by_for_more_than_two_blocks() -> None:
    units = [ShuffleUnit(22) for _ in range(6)]
    for unit in units:
        unit.branch = nn.Identity()  # so that channels can be followed
    x = torch.arange(22.0).reshape(1, 22, 1, 1)
    waiting = torch.zeros(22)
    for unit in units:
        worked_on = x[0, unit.first : unit.last, 0, 0].long()
        waiting += 1
        waiting[worked_on] = 0
        x = unit(x)
        assert sorted(x.flatten().tolist()) == list(range(22))
        assert waiting.max() <= 2


def test_a_block_of_a_shuffle_net_takes_half_from_the_block_before() -> None:
    unit = ShuffleUnit(24)
    fresh = torch.zeros(1, 24, 1, 1)
    fresh[:, 12:] = 1  # where a block puts what it made
    assert fresh[:, unit.first : unit.last].sum() == 6


def test_widths_are_rounded_as_the_papers_do() -> None:
    assert [round_channels(c) for c in (4, 12, 20, 23.9, 33.6, 107)] == [8, 16, 24, 24, 32, 104]
    assert round_channels(11) == 16  # 8 would be less than 90 %
    widths = scale_widths("any", 6, 16)
    assert (widths(16), widths(24), widths(96)) == (6, 10, 36)


def test_small_images_lose_the_first_strides() -> None:
    assert soften_strides((2, 1, 2, 2, 1), 32) == (1, 1, 1, 2, 1)
    assert soften_strides((2, 1, 2, 2, 1), 96) == (1, 1, 2, 2, 1)
    assert soften_strides((2, 1, 2, 2, 1), 224) == (2, 1, 2, 2, 1)


@pytest.mark.parametrize(
    "arch",
    [
        "resnet19",
        "seresnet19",
        "preresnet19",
        "resnext29",
        "resnext30-2x64d",
        "resnext29-0x64d",
        "wrn-15-4",
        "wrn-16-0",
        "wrn-16",
        "vgg12",
        "densenet122",
        "densenet-bc-101-12",
        "mobilenetv1-0.0",
        "mobilenetv2-",
        "mobilenetv2-half",
        "mobilenetv3",
        "mobilenetv3-tiny",
        "efficientnet-b9",
        "shufflenetv2",
        "regnetx-1mf",
        "resnet٢٠",
    ],
)
def test_names_that_no_family_knows(arch: str) -> None:
    assert not has_arch(arch)


def test_a_width_that_cannot_be_is_refused() -> None:
    with pytest.raises(ModelError, match="has a width already"):
        describe_arch("mobilenetv2-0.5", 8, 3, 32)
    with pytest.raises(ModelError, match="come in two halves"):
        describe_arch("shufflenetv2-1.0", 7, 3, 32)
    assert describe_arch("mobilenetv2-0.5", None, 3, 32).stages[0][0].out_channels == 8
