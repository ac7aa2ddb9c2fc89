"""MSDNet: its shape is the paper's, its pieces chained are the whole, its settings are checked."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msd_edge.errors import ModelError
from msd_edge.models.build import NetworkConfig, SeparateExits, build_network, measure_costs
from msd_edge.segments import cut, standalone
from msd_edge.training.choices import METHODS
from msd_edge.training.methods import LossConfig, compute_loss


def build(exits=3, shape=(3, 32, 32), **options):
    config = NetworkConfig(
        arch="msdnet", exits=exits, arch_options=options, classes=10, image_shape=shape, mean=(120.0,), std=(64.0,)
    )
    torch.manual_seed(0)
    return config, build_network(config).eval()


def test_a_small_one_counted_by_hand():
    """Two scales, one layer a block, no bottleneck, no transition."""
    _, network = build(2, (3, 8, 8), scales=2, base=1, step=1, channels=4, growth=2, bottleneck=False, reduction=1.0)
    first = 3 * 4 * 9 * 64 + 4 * 8 * 9 * 16  # image to scale 1, scale 1 to scale 2
    fine_1 = 4 * 2 * 9 * 64  # the first layer's scale 1, which the second takes and the first classifier does not
    coarse_1 = 4 * 2 * 9 * 16 + 8 * 2 * 9 * 16  # scale 2 from the finer one and from itself
    classifier_1 = (8 + 4) * 128 * 9 * 4 + 128 * 128 * 9 + 128 * 10
    layer_2 = 6 * 2 * 9 * 16 + 12 * 2 * 9 * 16  # the fine scale is dropped
    classifier_2 = (12 + 4) * 128 * 9 * 4 + 128 * 128 * 9 + 128 * 10
    costs = measure_costs(network)
    assert costs[0].macs == first + coarse_1 + classifier_1
    assert costs[0].chain_macs == first + fine_1 + coarse_1 + classifier_1
    assert costs[1].macs == first + fine_1 + coarse_1 + layer_2 + classifier_2
    assert costs[1].chain_macs == costs[1].macs + classifier_1
    fine_parameters = 4 * 2 * 9 + 2 * 2  # with its normalization
    together = sum(p.numel() for part in (network.trunk[0], network.branches[0]) for p in part.parameters())
    assert costs[0].parameters == together - fine_parameters
    assert costs[0].handed == (4 + 2) * 64 + (8 + 4) * 16


def test_it_hands_on_one_map_a_scale_and_drops_fine_scales_in_time():
    _, network = build(5)
    names = [(segment.input_names, segment.output_names) for segment in cut(network)]
    assert names[0] == (("image",), ("logits", "features_1", "features_2", "features_3"))
    assert names[1] == (("features_1", "features_2", "features_3"), ("logits", "features_1", "features_2"))
    assert names[3] == (("features_1", "features_2"), ("logits", "features"))
    assert names[4] == (("features",), ("logits",))


shapes = st.tuples(st.sampled_from([1, 3]), st.integers(16, 40), st.integers(16, 40))


@given(
    exits=st.integers(1, 5),
    shape=shapes,
    scales=st.integers(1, 3),
    step_mode=st.sampled_from(["even", "linear"]),
    prune=st.sampled_from(["max", "min"]),
    bottleneck=st.booleans(),
    reduction=st.sampled_from([0.5, 1.0]),
)
@settings(max_examples=25, deadline=None)
def test_segments_and_standalone_exits_give_what_the_whole_gives(exits, shape, **options):
    _, network = build(exits, shape, channels=4, growth=4, base=2, step=1, **options)
    with torch.no_grad():
        images = torch.rand(2, *shape) * 255
        expected = network(images)
        state = (images,)
        for segment, logits in zip(cut(network), expected, strict=True):
            found, *rest = segment(*state)
            state = tuple(rest)
            assert torch.equal(found, logits)
            assert len(rest) == len(segment.output_names) - 1
        for alone, logits in zip(standalone(network), expected, strict=True):
            assert torch.equal(alone(images), logits)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_all_of_it(method):
    config, network = build(3, (3, 16, 16), channels=4, growth=4, base=1, step=1)
    trained = SeparateExits(config) if method == "single" else network
    logits, features = trained.train().forward_features(torch.rand(4, 3, 16, 16) * 255)
    labels = torch.tensor([0, 1, 2, 3])
    compute_loss(LossConfig(method=method), logits, features, labels, progress=0.0, tau=3.0).total.backward()
    # An exit of its own has no use for what its last layer makes of the finer scales.
    unused = [name for name, p in trained.named_parameters() if p.grad is None]
    assert not unused if method != "single" else all(".trunk." in name for name in unused)


def test_a_transition_leaves_a_channel():
    _, network = build(reduction=0.01)
    assert [logits.shape for logits in network(torch.zeros(1, 3, 32, 32))] == [(1, 10)] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch_options": {"grwth": 3}}, "--arch-option grwth: msdnet has no such setting; did you mean growth"),
        ({"arch_options": {"scales": 0}}, "scales: input should be greater than or equal to 1"),
        ({"arch_options": {"scales": 3, "growth_factors": (1, 2)}}, "3 scales need as many growth_factors"),
        ({"exits_at": "1:1"}, "--exits-at: msdnet has classifiers of its own"),
        ({"width": 8}, "--width: msdnet has classifiers of its own"),
        ({"branch": "separable"}, "--branch, --branch-width: msdnet has classifiers of its own"),
        ({"arch": "resnet8", "arch_options": {"growth": 3}}, "--arch-option growth: resnet8 has no such setting"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change, message):
    config, _ = build()
    with pytest.raises(ModelError, match=message):
        build_network(config.model_copy(update=change))
