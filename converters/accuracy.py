"""The accuracy gate: what an exit lost, and whether that can be chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from msd_edge.bundle.manifest import AccuracyProof, ExitAccuracy
from msd_edge.converters.proof import Logits, ProofSet

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Drop:
    """An exit that lost more than allowed: ``points`` of accuracy, ``exit`` 1-based."""

    exit: int
    points: float
    p_value: float


def sign_test(worse: int, better: int) -> float:
    """Return McNemar's exact one-sided p-value: P(X >= worse) for X binomial(worse + better, ½).

    Args:
        worse: images right before and wrong now.
        better: images wrong before and right now.
    """
    count = worse + better
    if count == 0:
        return 1.0
    logs = [math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(worse, count + 1)]
    return min(1.0, math.fsum(math.exp(value - count * math.log(2)) for value in logs))


def measure_accuracy(found: Logits, proof: ProofSet, split_sha256: str) -> AccuracyProof:
    """Compare the accuracy of every exit with the network's on the same images.

    Args:
        found: logits (images, exits, classes) of the exported files.
        proof: the images, with labels and the network's logits.
        split_sha256: names the calibration split they are from.
    """
    exits = []
    for k in range(found.shape[1]):
        before = proof.reference[:, k].argmax(-1) == proof.labels
        now = found[:, k].argmax(-1) == proof.labels
        lost, gained = int((before & ~now).sum()), int((~before & now).sum())
        exits.append(
            ExitAccuracy(
                exit=k + 1,
                reference=float(before.mean()),
                exported=float(now.mean()),
                lost=lost,
                gained=gained,
                p_value=sign_test(lost, gained),
            )
        )
    return AccuracyProof(images=len(found), split_sha256=split_sha256, exits=tuple(exits))


def find_drops(proof: AccuracyProof, max_drop: float) -> tuple[Drop, ...]:
    """Return the exits that lost more than ``max_drop`` points where a paired test says that this is no chance."""
    return tuple(drop for drop in list_drops(proof, max_drop) if drop.p_value < SIGNIFICANCE)


def list_drops(proof: AccuracyProof, max_drop: float) -> tuple[Drop, ...]:
    """Return the exits that lost more than ``max_drop`` points, whether by chance or not.

    The images that may be lost count as gained in McNemar's test: asked is whether more were lost than that.
    """
    allowed = int(max_drop / 100 * proof.images + 1e-9)
    drops = []
    for entry in proof.exits:
        points = 100 * (entry.reference - entry.exported)
        if points > max_drop + 1e-9:
            drops.append(Drop(entry.exit, points, sign_test(entry.lost, entry.gained + allowed)))
    return tuple(drops)


def total_error(found: Logits, reference: Logits, exits: Sequence[int]) -> float:
    """Return the mean absolute error of some exits' logits, each in units of its own reference range."""
    errors = []
    for k in (exit_ - 1 for exit_ in exits):
        scale = max(float(np.ptp(reference[:, k])), 1e-6)
        errors.append(float(np.abs(found[:, k] - reference[:, k]).mean()) / scale)
    return sum(errors) / len(errors)
