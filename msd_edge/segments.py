"""Cuts a multi-exit network at its branch points, into a chain of segments and into stand-alone exits."""

from torch import Tensor, nn

from msd_edge.models.network import MultiExitNetwork


class Segment(nn.Module):
    """Piece ``index`` (1-based) of the chain: one input, the exit's logits out, and features for the next segment.

    Segment 1 takes the raw image (batch, channels, H, W), pixel values 0..255 as floats; the others take the feature
    map of the segment before. Running segments 1..k gives exactly what the network's exit k gives.
    """

    def __init__(self, network: MultiExitNetwork, index: int) -> None:
        super().__init__()
        self.index = index
        self.last = index == network.exits
        self.entry: nn.Module = network.normalize if index == 1 else nn.Identity()
        self.piece = network.trunk[index - 1]
        self.branch = network.branches[index - 1]

    @property
    def input_name(self) -> str:
        """``image`` for the first segment, ``features`` for the others."""
        return "image" if self.index == 1 else "features"

    @property
    def output_names(self) -> tuple[str, ...]:
        """``logits``, and ``features`` unless it is the last."""
        return ("logits",) if self.last else ("logits", "features")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return (logits,) for the last segment, else (logits (batch, classes), features NCHW)."""
        features = self.piece(self.entry(x))
        logits = self.branch(features)
        return (logits,) if self.last else (logits, features)


class StandaloneExit(nn.Module):
    """Exit ``index`` (1-based) alone: raw image NCHW in, its logits (batch, classes) out."""

    def __init__(self, network: MultiExitNetwork, index: int) -> None:
        super().__init__()
        self.index = index
        self.body = nn.Sequential(network.normalize, *list(network.trunk)[:index])
        self.branch = network.branches[index - 1]

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes)."""
        logits: Tensor = self.branch(self.body(image))
        return logits


def cut(network: MultiExitNetwork) -> tuple[Segment, ...]:
    """Return the chain of segments, in order; they share the network's parameters and its training mode."""
    return tuple(Segment(network, index).train(network.training) for index in range(1, network.exits + 1))


def standalone(network: MultiExitNetwork) -> tuple[StandaloneExit, ...]:
    """Return every exit as a network of its own, in order; they share the network's parameters."""
    return tuple(StandaloneExit(network, index).train(network.training) for index in range(1, network.exits + 1))
