"""Channels of a concatenation brought to one range, where nothing but BatchNorm takes them.

A concatenation has one scale for all of its parts in int8. Where a later part reaches six times as far as the first, as
in a DenseNet after short training, the first is left with 40 of 256 steps: 1 to 4 points of accuracy. If every use of
the channels is a BatchNorm that cannot fold, a factor for each channel moves from the layer that makes it into those
BatchNorms and nothing else changes (cross-layer equalization, Nagel et al. 2019, arXiv 1906.04721, section 4.1, whose
second layer is here a factor per channel and costs no precision). What a channel reaches is told by the statistics that
BatchNorm learned; no image is needed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from msd_edge.models.network import MultiExitNetwork

from .batch_norm import bind_batch_norm
from .trace import OUTSIDE, Call, Trace, Value, record_network, tensors_in

# What gives the same factor back that it takes in, if that is positive.
_PASSES = frozenset({"relu", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "dropout", "clone", "contiguous"})
_REACH = 4  # standard deviations
_LEAST = 1e-3  # of the largest reach: dead channels are not blown up


@dataclass
class _Channel:
    """One channel on its way: ``reach`` of its values; ``free``: nothing but BatchNorm uses it."""

    joined: bool = False
    free: bool = True
    reach: float = 0.0
    factor: float = 1.0
    beside: set[int] = field(default_factory=set)


def equalize_concatenations(network: MultiExitNetwork, trace: Trace | None = None) -> int:
    """Move factors between layers and BatchNorms, in place, so that the network computes the same.

    Args:
        network: a copy to be converted, in evaluation mode.
        trace: of the network, where there is one already; it stays right, since the same tensors get other values.

    Returns:
        How many channels were scaled.
    """
    trace = trace or record_network(network)
    if not any(_joins_channels(call) for call in trace.calls):
        return 0
    flow = _Flow(trace)
    chosen = list(_choose(flow.channels))
    for place in chosen:
        flow.channels[place].factor = 1 / flow.channels[place].reach
    _apply(flow)
    return len(chosen)


class _Flow:
    """Which channels a network makes, where they meet, and what takes them.

    Attributes:
        channels: all of them.
        makers: layers and BatchNorms with the places of the channels that they make.
        takers: BatchNorms with the places of those that they take.
    """

    def __init__(self, trace: Trace) -> None:
        self.channels: list[_Channel] = []
        self.makers: list[tuple[Call, list[int]]] = []
        self.takers: list[tuple[Call, list[int]]] = []
        self._shared = _used_twice(trace)
        self._carried: dict[Value, list[int]] = {}
        for call in trace.calls:
            self._follow(call, [self._carried[value] for value in call.takes if value in self._carried])
        for value, users in trace.users.items():
            if len(trace.calls) in users:  # the network gives it
                self._hold(self._carried.get(value, []))

    def _follow(self, call: Call, given: list[list[int]]) -> None:
        if call.name == "batch_norm":
            for ids in given:
                self._take(call, ids)
            self._make(call)
        elif call.name == "conv2d":
            for ids in given:
                self._hold(ids)
            self._make(call)
        elif _joins_channels(call) and len(given) == len(call.takes):
            self._join(call, [place for ids in given for place in ids])
        elif call.name in _PASSES and len(given) == 1:
            self._carried[call.number, 0] = given[0]
        else:
            for ids in given:
                self._hold(ids)

    def _make(self, call: Call) -> None:
        made = list(range(len(self.channels), len(self.channels) + call.shape[1]))
        free = _can_be_scaled(call, self._shared)
        self.channels += [_Channel(free=free) for _ in made]
        self._carried[call.number, 0] = made
        self.makers.append((call, made))

    def _take(self, call: Call, ids: list[int]) -> None:
        self.takers.append((call, ids))
        if not _can_be_scaled(call, self._shared):
            self._hold(ids)
        for place, reach in zip(ids, _reach(call), strict=True):
            self.channels[place].reach = max(self.channels[place].reach, reach)

    def _join(self, call: Call, ids: list[int]) -> None:
        self._carried[call.number, 0] = ids
        for place in ids:
            self.channels[place].joined = True
            self.channels[place].beside.add(ids[0])

    def _hold(self, ids: Iterable[int]) -> None:
        for place in ids:
            self.channels[place].free = False


def _choose(channels: list[_Channel]) -> Iterator[int]:
    """Yield the channels to scale: all that stand beside each other in a concatenation are free, or none is scaled."""
    for group in _groups(channels):
        members = [channels[place] for place in group]
        largest = max(member.reach for member in members)
        if largest > 0 and all(member.free for member in members):
            for place in group:
                channels[place].reach = max(channels[place].reach, _LEAST * largest)
                yield place


def _groups(channels: list[_Channel]) -> Iterator[list[int]]:
    """Yield channels that meet in concatenations, directly or by way of others."""
    parent = list(range(len(channels)))

    def root(place: int) -> int:
        while parent[place] != place:
            place = parent[place]
        return place

    for place, channel in enumerate(channels):
        for other in channel.beside:
            parent[root(place)] = root(other)
    groups: dict[int, list[int]] = {}
    for place, channel in enumerate(channels):
        if channel.joined:
            groups.setdefault(root(place), []).append(place)
    yield from groups.values()


def _apply(flow: _Flow) -> None:
    with torch.no_grad():
        for call, ids in flow.makers:
            for tensor in _scaled_tensors(call):
                _multiply(tensor, _factors(flow, ids))
        for call, ids in flow.takers:
            numbers = bind_batch_norm(call)
            if numbers["running_mean"] is not None and numbers["weight"] is not None:
                _multiply(numbers["running_mean"], _factors(flow, ids))
                _multiply(numbers["weight"], 1 / _factors(flow, ids))


def _factors(flow: _Flow, ids: list[int]) -> Tensor:
    return torch.tensor([flow.channels[place].factor for place in ids], dtype=torch.float64)


def _multiply(tensor: Tensor, factors: Tensor) -> None:
    if (factors != 1).any():
        tensor.copy_(tensor.double() * factors.reshape(-1, *[1] * (tensor.dim() - 1)))


def _reach(call: Call) -> list[float]:
    numbers = bind_batch_norm(call)
    mean, variance = numbers["running_mean"], numbers["running_var"]
    if mean is None or variance is None:
        return [0.0] * call.shape[1]
    reach: list[float] = (mean.double().abs() + _REACH * variance.double().sqrt()).tolist()
    return reach


def _scaled_tensors(call: Call) -> list[Tensor]:
    """Return what makes an output channel larger: weights and biases of a layer, or of a BatchNorm."""
    if call.name == "batch_norm":
        numbers = bind_batch_norm(call)
        return [tensor for tensor in (numbers["weight"], numbers["bias"]) if tensor is not None]
    return list(tensors_in((call.args, call.kwargs)))[1:]


def _can_be_scaled(call: Call, shared: set[int]) -> bool:
    if any(place != OUTSIDE for place, _ in call.takes[1:]):
        return False  # its weights are computed
    if call.name == "batch_norm":
        numbers = bind_batch_norm(call)
        if numbers["training"] or any(numbers[name] is None for name in ("running_mean", "running_var", "weight")):
            return False
    return not any(id(tensor) in shared for tensor in tensors_in((call.args, call.kwargs)))


def _joins_channels(call: Call) -> bool:
    if call.name not in ("cat", "concat", "concatenate"):
        return False
    return len(call.shape) == 4 and call.bind(tensors=None, dim=0)["dim"] in (1, -3)


def _used_twice(trace: Trace) -> set[int]:
    """Return weights that several calls use: what is right for one of them would be wrong for the others."""
    return {number for (place, number), users in trace.users.items() if place == OUTSIDE and len(users) > 1}
