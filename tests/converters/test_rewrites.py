"""Every respelling computes the same as what it stands for, and is applied only where that is certain."""

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from msd_edge.converters.rewrites import REWRITES, Find, Respelled, respell
from msd_edge.converters.rewrites.trace import record

FINDS: dict[str, Find] = {rewrite.name: rewrite.find for rewrite in REWRITES}
CHANNELS = 6


class Run(nn.Module):
    """A function behind a convolution, as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.function(x)


def spellings(module: nn.Module, x: Tensor, *names: str) -> list[nn.Module]:
    """Respell, require the same values within 1e-6 of their range, and return what stands in."""
    module.eval()
    with torch.no_grad():
        expected = module(x.clone())
        made = respell(module, (x,), [FINDS[name] for name in names or FINDS])
        given = made(x.clone())
    assert given.shape == expected.shape
    assert (given - expected).abs().max() <= 1e-6 * (expected.max() - expected.min()).clamp(min=1e-3)
    return list(made.spellings.values()) if isinstance(made, Respelled) else []


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 4


def lone_norm(channels: int = CHANNELS, affine: bool = True) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, affine=affine)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.01, 3)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize(
    "module",
    [nn.Hardswish(), nn.Hardswish(inplace=True), Run(F.hardswish), Run(lambda x: F.hardswish(x.add(1), inplace=True))],
)
def test_hard_swish(module: nn.Module) -> None:
    assert len(spellings(module, maps(1, CHANNELS, 7, 5), "hard-swish")) == 1


def test_a_hard_swish_in_place_changes_its_input_as_before() -> None:
    """The result is dropped: what follows takes the tensor that was changed."""

    def swish_and_drop(x: Tensor) -> Tensor:
        y = x + 1
        F.hardswish(y, inplace=True)
        return y * 2

    assert len(spellings(Run(swish_and_drop), maps(1, CHANNELS, 7, 5), "hard-swish")) == 1


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.one_of(st.none(), st.integers(1, 4)),
    pads=st.booleans(),
    size=st.tuples(st.integers(4, 11), st.integers(4, 11)),
    divisor=st.one_of(st.none(), st.integers(1, 9)),
    ceil=st.booleans(),
    counted=st.booleans(),
)
def test_average_pooling_is_the_same_or_left_alone(
    kernel: tuple[int, int],
    stride: int | None,
    pads: bool,
    size: tuple[int, int],
    divisor: int | None,
    ceil: bool,
    counted: bool,
) -> None:
    padding = (kernel[0] // 2, kernel[1] // 2) if pads else (0, 0)
    pool = nn.AvgPool2d(kernel, stride, padding, ceil, counted, divisor)
    made = spellings(pool, maps(1, CHANNELS, *size), "average pooling", "global pooling")
    if not ceil and (counted or padding == (0, 0)):
        assert len(made) == (kernel != (1, 1))


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2, ceil_mode=True),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.AvgPool2d(1, 2),
        nn.AdaptiveAvgPool2d(1),
    ],
)
def test_average_pooling_over_unequal_windows_stays(pool: nn.Module) -> None:
    assert spellings(pool, maps(1, CHANNELS, 7, 5), "average pooling", "global pooling") == []


def test_an_average_over_the_whole_map_is_a_mean() -> None:
    x = maps(1, CHANNELS, 7, 5)
    assert len(spellings(Run(lambda x: F.avg_pool2d(x, (7, 5))), x, "global pooling")) == 1
    assert spellings(Run(lambda x: F.avg_pool2d(x, (7, 4))), x, "global pooling") == []
    assert len(spellings(Run(lambda x: F.avg_pool2d(x, (7, 4))), x, "average pooling")) == 1


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.integers(2, 4),
    stride=st.one_of(st.none(), st.integers(1, 4)),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    size=st.tuples(st.integers(7, 12), st.integers(7, 12)),
    ceil=st.booleans(),
)
def test_max_pooling_behind_a_relu_is_the_same_or_left_alone(
    kernel: int, stride: int | None, padding: int, dilation: int, size: tuple[int, int], ceil: bool
) -> None:
    padding = min(padding, kernel // 2)
    pool = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)
    made = spellings(nn.Sequential(nn.ReLU(), pool), maps(1, CHANNELS, *size) - 3, "padded max pooling")
    assert len(made) == int(padding > 0 and not ceil)


POOL = nn.MaxPool2d(3, 2, 1)
PROVEN: dict[str, nn.Module] = {
    "relu in place": nn.Sequential(nn.ReLU(inplace=True), POOL),
    "relu6": nn.Sequential(nn.ReLU6(), POOL),
    "clamp": Run(lambda x: POOL(x.clamp(min=0))),
    "a sum of two": Run(lambda x: POOL(F.relu(x) + x.sigmoid())),
    "both halves": Run(lambda x: POOL(torch.cat([F.relu(x), F.relu(-x)], 1))),
    "dropout between": nn.Sequential(nn.ReLU(), nn.Dropout(0.5), POOL),
    "pooled twice": nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, 1), POOL),
    "another value on the way": Run(lambda x: POOL(F.relu(x)) + POOL(x)),
}
UNPROVEN: dict[str, nn.Module] = {
    "the input": POOL,
    "a convolution": nn.Sequential(nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 1), POOL),
    "a hard-swish": nn.Sequential(nn.Hardswish(), POOL),
    "a number taken away": Run(lambda x: POOL(F.relu(x) + -5)),
    "a difference": Run(lambda x: POOL(F.relu(x) - F.relu(-x))),
    "clamped below zero": Run(lambda x: POOL(x.clamp(-1, 1))),
    "hardtanh": nn.Sequential(nn.Hardtanh(), POOL),
    "leaky": nn.Sequential(nn.LeakyReLU(), POOL),
}


@pytest.mark.parametrize("module", PROVEN.values(), ids=PROVEN.keys())
def test_max_pooling_of_what_is_never_negative(module: nn.Module) -> None:
    assert len(spellings(module, maps(1, CHANNELS, 9, 8), "padded max pooling")) == 1


@pytest.mark.parametrize("module", UNPROVEN.values(), ids=UNPROVEN.keys())
def test_max_pooling_of_what_may_be_negative_stays(module: nn.Module) -> None:
    assert spellings(module, maps(1, CHANNELS, 9, 8) - 9, "padded max pooling") == []


def test_a_relu_that_was_changed_through_a_view_proves_nothing() -> None:
    def sneak(x: Tensor) -> Tensor:
        y = F.relu(x)
        y.view(-1).sub_(100)
        return POOL(y)

    assert spellings(Run(sneak), maps(1, CHANNELS, 9, 8), "padded max pooling") == []


@pytest.mark.parametrize("affine", [True, False])
def test_a_batch_norm_that_cannot_fold(affine: bool) -> None:
    module = nn.Sequential(lone_norm(affine=affine), nn.ReLU(inplace=True), nn.Conv2d(CHANNELS, 4, 1))
    assert len(spellings(module, maps(1, CHANNELS, 7, 5), "lone batch norm")) == 1


def test_a_batch_norm_whose_convolution_others_use_too_cannot_fold() -> None:
    shared = Run(lambda x: norm(x) + x, nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1))
    norm = lone_norm().eval()
    assert len(spellings(shared, maps(1, CHANNELS, 7, 5), "lone batch norm")) == 1


def test_a_batch_norm_behind_a_convolution_folds() -> None:
    module = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3), lone_norm(), nn.ReLU())
    assert spellings(module, maps(1, CHANNELS, 7, 5)) == []


@pytest.mark.parametrize("module", [nn.LeakyReLU(0.2), nn.LeakyReLU(inplace=True), Run(lambda x: F.leaky_relu(x, 0.3))])
def test_leaky_relus(module: nn.Module) -> None:
    assert len(spellings(module, maps(1, CHANNELS, 7, 5), "leaky ReLU")) == 1


@pytest.mark.parametrize("slope", [-0.5, 0.0, 1.0, 1.5])
def test_a_leaky_relu_of_another_slope_stays(slope: float) -> None:
    assert spellings(nn.LeakyReLU(slope), maps(1, CHANNELS, 7, 5), "leaky ReLU") == []


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_over_a_flattened_map(bias: bool) -> None:
    linear = nn.Linear(CHANNELS * 35, 4, bias=bias)
    chains: Sequence[Sequence[nn.Module]] = [
        [nn.Flatten(), linear],
        [nn.Flatten(), nn.Dropout(), linear],
        [Run(lambda x: x.view(x.size(0), -1)), linear],
    ]
    for chain in chains:
        assert len(spellings(nn.Sequential(*chain), maps(1, CHANNELS, 7, 5), "flattened map")) == 1


def test_a_linear_layer_over_pooled_values_stays() -> None:
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 4))
    assert spellings(pooled, maps(1, CHANNELS, 7, 5), "flattened map") == []


def shuffled(x: Tensor, groups: int) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.view(batch, groups, channels // groups, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(batch, -1, height, width)


@pytest.mark.parametrize("groups", [2, 3])
def test_channel_shuffles(groups: int) -> None:
    x = maps(1, CHANNELS, 7, 5)
    functions: list[Callable[[Tensor], Tensor]] = [
        lambda x: shuffled(x, groups),
        lambda x: x.reshape(1, groups, -1, 7, 5).permute(0, 2, 1, 3, 4).flatten(1, 2),
        nn.ChannelShuffle(groups),
    ]
    for function in functions:
        assert len(spellings(Run(function), x, "channel shuffle")) == 1
    assert spellings(Run(lambda x: x.view(1, groups, -1, 7, 5).transpose(1, 3).reshape(x.shape)), x) == []


def test_the_network_and_its_weights_stay_as_they_were() -> None:
    module = nn.Sequential(
        lone_norm(), nn.Hardswish(inplace=True), nn.AvgPool2d(2), nn.ReLU(), POOL, nn.Flatten(), nn.Linear(24, 3)
    ).eval()
    before = copy.deepcopy(module.state_dict())
    x = maps(1, CHANNELS, 7, 8)
    made = respell(module, (x,), FINDS.values())
    assert isinstance(made, Respelled)
    assert len(made.spellings) == 5
    with torch.no_grad():
        made(x)
    after = module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in module.modules())
    assert made.body is module


def test_spellings_are_named_after_the_module_that_called() -> None:
    module = nn.Sequential(nn.Sequential(nn.ReLU(), POOL), Run(lambda x: F.hardswish(F.hardswish(x))))
    made = respell(module.eval(), (maps(1, CHANNELS, 9, 8),), FINDS.values())
    assert isinstance(made, Respelled)
    assert list(made.spellings) == ["0-1", "1", "1#3"]


def test_nothing_to_respell_gives_the_network_itself() -> None:
    module = nn.Sequential(nn.Conv2d(CHANNELS, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)).eval()
    assert respell(module, (maps(1, CHANNELS, 9, 8),), FINDS.values()) is module


def test_a_network_that_runs_otherwise_later_is_refused() -> None:
    class Fickle(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Fickle.calls += 1
            return F.hardswish(x) if Fickle.calls == 1 else F.relu(x)

    made = respell(Fickle().eval(), (maps(1, CHANNELS, 4, 4),), FINDS.values())
    with pytest.raises(RuntimeError, match="runs otherwise"):
        made(maps(1, CHANNELS, 4, 4))


def test_a_trace_knows_makers_and_users() -> None:
    module = nn.Sequential(nn.Conv2d(CHANNELS, 4, 1), nn.ReLU(inplace=True), nn.Flatten()).eval()
    trace = record(module, (maps(1, CHANNELS, 4, 4),))
    assert [(call.name, call.module, call.in_place) for call in trace.calls] == [
        ("conv2d", "0", False),
        ("relu", "1", True),
        ("flatten", "2", False),
    ]
    relu = trace.maker(trace.calls[2].takes[0])
    assert relu is trace.calls[1]
    assert trace.used_once((0, 0))
    assert not trace.used_once((2, 0))  # the network gives it
