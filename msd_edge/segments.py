"""Cuts a multi-exit network at its branch points, into a chain of segments and into stand-alone exits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from msd_edge.errors import ModelError
from msd_edge.models.network import MultiExitNetwork, Stack, State, advance


class Segment(nn.Module):
    """Piece ``index`` (1-based) of the chain: the exit's logits out, and features for the next segment.

    Segment 1 takes the raw image (batch, channels, H, W), pixel values 0..255 as floats; the others take the feature
    maps of the segment before, NCHW, in their order. Running segments 1..k gives exactly what the network's exit k
    gives.

    Attributes:
        input_names: ``image`` for the first segment; ``features``, or ``features_1``.. where there are several.
        output_names: ``logits``, and the features unless it is the last.
    """

    def __init__(self, network: MultiExitNetwork, index: int, taken: int, given: int) -> None:
        super().__init__()
        self.index = index
        self.last = index == network.exits
        self.input_names = ("image",) if index == 1 else _name_features(taken)
        self.output_names = ("logits",) if self.last else ("logits", *_name_features(given))
        self.entry: nn.Module = network.normalize if index == 1 else nn.Identity()
        self.piece = network.trunk[index - 1]
        self.branch = network.branches[index - 1]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return (logits,) for the last segment, else (logits (batch, classes), features NCHW, …)."""
        state: State = (self.entry(*inputs),) if self.index == 1 else inputs
        state = advance(self.piece, state)
        logits = self.branch(state[-1])
        return (logits,) if self.last else (logits, *state)


class StandaloneExit(nn.Module):
    """Exit ``index`` (1-based) alone: raw image NCHW in, its logits (batch, classes) out."""

    def __init__(self, network: MultiExitNetwork, index: int) -> None:
        super().__init__()
        self.index = index
        self.normalize = network.normalize
        self.trunk = nn.ModuleList(list(network.trunk)[:index])
        self.branch = network.branches[index - 1]

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes)."""
        state: State = (self.normalize(image),)
        for piece in self.trunk:
            state = advance(piece, state)
        logits: Tensor = self.branch(state[-1])
        return logits


def cut(network: MultiExitNetwork) -> tuple[Segment, ...]:
    """Return the chain of segments, in order; they share the network's parameters and its training mode."""
    counts = (1, *count_features(network))
    return tuple(
        Segment(network, index, counts[index - 1], counts[index]).train(network.training)
        for index in range(1, network.exits + 1)
    )


def standalone(network: MultiExitNetwork) -> tuple[StandaloneExit, ...]:
    """Return every exit as a network of its own, in order; they share the network's parameters."""
    return tuple(StandaloneExit(network, index).train(network.training) for index in range(1, network.exits + 1))


def keep_exits(network: MultiExitNetwork, exits: Sequence[int]) -> MultiExitNetwork:
    """Return a network with some of the exits; the trunk is merged across those that go, parameters are shared.

    Args:
        network: with all exits.
        exits: 1-based, early to late. The last one kept ends the network.

    Raises:
        ModelError: an exit does not exist, or they are out of order.
    """
    check_kept(exits, network.exits)
    trunk, before = [], 0
    for index in exits:
        pieces = list(network.trunk)[before:index]
        trunk.append(pieces[0] if len(pieces) == 1 else Stack(*pieces))
        before = index
    branches = [network.branches[index - 1] for index in exits]
    places = [network.places[index - 1] for index in exits]
    kept = MultiExitNetwork(network.normalize, trunk, branches, places, network.image_shape)  # type: ignore[arg-type]
    return kept.train(network.training)


def check_kept(exits: Sequence[int], count: int) -> None:
    """Check which exits of a network with ``count`` of them are to be kept.

    Raises:
        ModelError: an exit does not exist, or they are out of order.
    """
    named = ",".join(map(str, exits))
    if not exits or list(exits) != sorted(set(exits)):
        raise ModelError(f"--keep-exits {named}: exits go from early to late, each once (1,3).")
    if exits[0] < 1 or exits[-1] > count:
        raise ModelError(f"--keep-exits {named}: the network has exits 1 to {count}.")


def count_features(network: MultiExitNetwork) -> tuple[int, ...]:
    """Return how many feature maps each piece of the trunk hands on, found by running a black image."""
    training = network.training
    network.eval()
    device = next(network.parameters()).device
    counts = []
    with torch.no_grad():
        state: State = (network.normalize(torch.zeros(1, *network.image_shape, device=device)),)
        for piece in network.trunk:
            state = advance(piece, state)
            counts.append(len(state))
    network.train(training)
    return tuple(counts)


def _name_features(count: int) -> tuple[str, ...]:
    return ("features",) if count == 1 else tuple(f"features_{number}" for number in range(1, count + 1))
