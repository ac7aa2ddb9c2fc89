import numpy as np
import pytest
import torch

from msd_edge.errors import ModelError
from msd_edge.models.branches import Place, all_places, mac_shares, parse_places, sample_branch, spread_places
from msd_edge.models.build import NetworkConfig, SeparateExits, build_network, measure_costs
from msd_edge.models.families import describe_arch
from msd_edge.segments import cut, standalone

SPEC = describe_arch("resnet20", 4, 3, 16)


def config(**changes: object) -> NetworkConfig:
    base: dict[str, object] = {
        "arch": "resnet8",
        "width": 4,
        "classes": 5,
        "image_shape": (3, 16, 16),
        "mean": (121.0,),
        "std": (64.0,),
    }
    return NetworkConfig.model_validate(base | changes)


def test_default_exits_leave_at_the_ends_of_stages() -> None:
    assert [str(p) for p in spread_places(SPEC, 3)] == ["1:3", "2:3", "3:3"]
    assert [str(p) for p in spread_places(SPEC, 4)] == ["stem", "1:3", "2:3", "3:3"]
    assert [str(p) for p in spread_places(SPEC, 1)] == ["3:3"]
    assert spread_places(describe_arch("resnet18", 4, 3, 32), 2)[0] == Place(2, 2)


@pytest.mark.parametrize("exits", range(1, 11))
def test_any_number_of_exits_is_ordered_and_ends_with_the_head(exits: int) -> None:
    places = spread_places(SPEC, exits)
    assert len(places) == exits
    assert list(places) == sorted(set(places))
    assert places[-1] == all_places(SPEC)[-1]


def test_too_many_exits_say_how_many_there_can_be() -> None:
    with pytest.raises(ModelError, match="1 to 10 exits"):
        spread_places(SPEC, 11)


def test_branch_takes_one_down_sampling_block_from_each_remaining_stage() -> None:
    first = sample_branch(SPEC, Place(1, 3), None)
    assert [(b.in_channels, b.out_channels, b.stride) for b in first] == [(4, 8, 2), (8, 16, 2)]
    assert [b.stride for b in sample_branch(SPEC, Place(0, 0), None)] == [1, 2, 2]
    assert sample_branch(SPEC, Place(3, 3), None) == ()


def test_interval_takes_more_blocks_and_goes_on_inside_a_stage() -> None:
    every = sample_branch(SPEC, Place(2, 1), 1)
    assert [b.stride for b in every] == [1, 1, 2, 1, 1]
    assert [b.stride for b in sample_branch(SPEC, Place(2, 1), 2)] == [1, 2, 1]


def test_nothing_is_shared_between_branches_and_trunk() -> None:
    network = build_network(config(arch="resnet20", exits=4))
    names = [id(p) for p in network.parameters()]
    assert len(names) == len(set(names))


def test_places_by_block_stem_and_share_of_macs() -> None:
    shape = (3, 16, 16)
    assert [str(p) for p in parse_places(SPEC, "stem, 2:1", shape)] == ["stem", "2:1", "3:3"]
    shares = mac_shares(SPEC, shape)
    assert shares[-1] == 1.0
    assert list(shares) == sorted(shares)
    half = parse_places(SPEC, "0.5", shape)[0]
    assert abs(shares[all_places(SPEC).index(half)] - 0.5) == min(abs(s - 0.5) for s in shares)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1:4", "no such block"),
        ("0:1", "no such block"),
        ("2:1,1:1", "early to late"),
        ("1:1,1:1", "early to late"),
        ("3:3", "last exit"),
        ("", "a place is"),
        ("1.5", "a place is"),
        ("first", "a place is"),
    ],
)
def test_wrong_places_are_refused_in_a_sentence(text: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        parse_places(SPEC, text, (3, 16, 16))


def test_images_too_small_for_shares_of_macs_are_refused() -> None:
    with pytest.raises(ModelError, match=r"vgg11 does not run on images \(3, 3, 3\)"):
        parse_places(describe_arch("vgg11", 4, 3, 32), "0.5", (3, 3, 3))


def test_known_sizes_of_the_published_networks() -> None:
    # He et al. 2016, table 6: ResNet-20 has 0.27 M, ResNet-110 1.7 M parameters; projections add a little.
    def parameters(arch: str, classes: int, side: int) -> int:
        shape = (3, side, side)
        one = NetworkConfig(arch=arch, exits=1, classes=classes, image_shape=shape, mean=(121.0,), std=(64.0,))
        return measure_costs(build_network(one))[-1].parameters

    assert parameters("resnet20", 10, 32) == 272_474
    assert parameters("resnet110", 10, 32) == 1_730_714
    # torchvision's counts for 1,000 classes.
    assert parameters("resnet18", 1000, 224) == 11_689_512
    assert parameters("resnet34", 1000, 224) == 21_797_672
    assert parameters("resnet50", 1000, 224) == 25_557_032


def test_known_macs() -> None:
    shape = (3, 224, 224)
    one = NetworkConfig(arch="resnet18", exits=1, classes=1000, image_shape=shape, mean=(121.0,), std=(64.0,))
    assert measure_costs(build_network(one))[0].macs == 1_814_073_344


def test_costs_of_the_chain_add_the_branches_passed() -> None:
    first, second, last = measure_costs(build_network(config()))
    assert first.macs == first.chain_macs
    assert second.chain_macs > second.macs
    assert last.chain_macs - last.macs > second.chain_macs - second.macs


@pytest.mark.parametrize("exits_at", [None, "stem,1:1", "0.3,0.6"])
def test_segments_and_stand_alone_exits_equal_the_whole(exits_at: str | None) -> None:
    torch.manual_seed(0)
    network = build_network(config(arch="resnet14", exits_at=exits_at))
    images = torch.randint(0, 256, (4, 3, 16, 16)).float()
    network(images)  # moves BatchNorm's statistics off their start
    network.eval()
    with torch.no_grad():
        whole = network(images)
        x = images
        for k, segment in enumerate(cut(network)):
            outputs = segment(x)
            assert torch.equal(outputs[0], whole[k])
            x = outputs[-1]
        for k, alone in enumerate(standalone(network)):
            assert torch.equal(alone(images), whole[k])


def test_separate_exits_share_nothing_and_have_the_same_paths() -> None:
    together = build_network(config(arch="resnet14"))
    apart = SeparateExits(config(arch="resnet14"))
    costs = [sum(p.numel() for p in path.parameters()) for path in apart.paths]
    assert costs == [c.parameters for c in measure_costs(together)]
    logits, features = apart.forward_features(torch.zeros(2, 3, 16, 16))
    assert [a.shape for a in logits] == [(2, 5)] * 3
    assert len(features) == 3


def test_raw_pixels_are_normalized_inside() -> None:
    network = build_network(config()).eval()
    pixels = torch.from_numpy(np.arange(256, dtype=np.float32)).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.allclose(network.normalize(pixels), (pixels - 121) / 64)


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ModelError, match="no such network"):
        build_network(config(arch="resnet19"))


def test_cheaper_branches_cost_less() -> None:
    def branch_macs(**change: object) -> list[int]:
        network = build_network(config().model_copy(update={"arch": "resnet20", "width": 16, **change}))
        return [cost.branch_macs for cost in measure_costs(network)]

    sampled = branch_macs()
    separable = branch_macs(branch="separable")
    narrow = branch_macs(branch="separable", branch_width=0.5)
    pooled = branch_macs(branch="pooled")
    for index in range(2):
        assert pooled[index] < narrow[index] < separable[index] < sampled[index] / 2
    assert sampled[2] == separable[2] == narrow[2] == pooled[2]


def test_pooled_branches_have_no_interval() -> None:
    with pytest.raises(ModelError, match="--branch-interval: pooled branches have no blocks"):
        build_network(config().model_copy(update={"branch": "pooled", "branch_interval": 1}))


def test_a_width_is_for_branches_that_are_not_copies() -> None:
    with pytest.raises(ModelError, match=r"--branch-width 0\.5: sampled branches have the trunk's widths"):
        build_network(config().model_copy(update={"branch_width": 0.5}))


def test_gradient_equilibrium_weighs_what_comes_back_and_changes_no_value() -> None:
    torch.manual_seed(0)
    network = build_network(config(exits=3))
    images = torch.randint(0, 256, (4, 3, 16, 16)).float()
    plain = network(images)
    first = next(network.trunk[0].parameters())
    (apart,) = zip(*(torch.autograd.grad(logits.sum(), first, retain_graph=True) for logits in plain), strict=True)
    network.equilibrium = True
    weighed = network(images)
    assert all(torch.equal(a, b) for a, b in zip(plain, weighed, strict=True))
    (whole,) = torch.autograd.grad(torch.stack([logits.sum() for logits in weighed]).sum(), first)
    # Exit 1 by 1/3; exit 2 by 1/2 of the 2/3 that are left; exit 3 has the other half.
    torch.testing.assert_close(whole, sum(apart) / 3)
    last = network.branches[-1].classifier.weight
    (alone,) = torch.autograd.grad(network(images)[-1].sum(), last)
    network.equilibrium = False
    torch.testing.assert_close(alone, torch.autograd.grad(network(images)[-1].sum(), last)[0])
