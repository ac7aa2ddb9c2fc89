"""Linear maps that let features of different widths be compared; they exist in training only."""

from collections.abc import Sequence

from torch import Tensor, nn

from msd_edge.models.network import Branch, MultiExitNetwork


class FeatureAdapters(nn.Module):
    """One map for every exit whose pooled features are not as wide as the last exit's; the others stay as they are."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        last = widths[-1]
        self.maps = nn.ModuleList(
            nn.Identity() if width == last else nn.Linear(width, last, bias=False) for width in widths
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map N tensors (batch, features_n) to N tensors (batch, features_N)."""
        return tuple(adapt(f) for adapt, f in zip(self.maps, features, strict=True))


def make_adapters(network: nn.Module) -> FeatureAdapters | None:
    """Return the adapters that a network's feature term needs, None where all features have one width."""
    if not isinstance(network, MultiExitNetwork):
        return None
    widths = [branch.classifier.in_features for branch in network.branches if isinstance(branch, Branch)]
    return None if len(set(widths)) == 1 else FeatureAdapters(widths)
