"""Which layers cost the most in int8: each is kept in float alone, and what that regains is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msd_edge.bundle.manifest import Target
from msd_edge.converters.accuracy import total_error
from msd_edge.converters.base import ConvertedVariant, Prepared
from msd_edge.converters.proof import Logits, ProofSet, open_chain, run_chain, to_logits
from msd_edge.data.dataset import Images
from msd_edge.errors import ExportError
from msd_edge.processors import usable_processors

_IMAGES = 64


@dataclass(frozen=True)
class LayerGain:
    """What keeping one layer in float regains: ``share`` of the quantization error of the exits in question, 0..1."""

    layer: str
    share: float


def rank_layers(
    prepared: Prepared,
    activations: Images,
    proof: ProofSet,
    exits: Sequence[int],
    step: Callable[[str], None],
) -> tuple[LayerGain, ...]:
    """Rank layers by what they cost some exits in int8, the costliest first.

    Args:
        prepared: the converted network.
        activations: training images for the ranges.
        proof: images with the network's logits; the first 64 are used.
        exits: 1-based; only layers that these exits pass are tried.
        step: progress.
    """
    few = proof.head(_IMAGES)
    layers = [layer for layer in prepared.layers if _passed(layer, exits)]
    whole = total_error(chain_logits(prepared.variant("int8", activations), few), few.reference, exits)
    gains = []
    for place, layer in enumerate(layers, 1):
        step(f"layer {place} of {len(layers)} in float: {layer}")
        try:
            variant = prepared.variant("int8", activations, frozenset({layer}))
        except ExportError:
            continue  # it cannot be kept in float by itself: a seam would become float with it
        error = total_error(chain_logits(variant, few), few.reference, exits)
        gains.append(LayerGain(layer, max(0.0, 1 - error / whole) if whole > 0 else 0.0))
    return tuple(sorted(gains, key=lambda gain: -gain.share))


def chain_logits(variant: ConvertedVariant, proof: ProofSet) -> Logits:
    """Return the logits (images, exits, classes) of a variant's chain."""
    target: Target = variant.target
    sessions = open_chain(variant.segments, target, usable_processors())
    raw = run_chain(sessions, variant.segments, proof.images, lambda: None)
    return to_logits(raw, [file.logits for file in variant.segments])


def _passed(layer: str, exits: Sequence[int]) -> bool:
    segment, _, name = layer.partition("/")
    index = int(segment.removeprefix("segment-"))
    return index in exits or (index < max(exits) and "branch" not in name)
