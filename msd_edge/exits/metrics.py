"""How good and how honest one exit's probabilities are: accuracy, negative log-likelihood, calibration error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msd_edge.exits.rules import Floats, softmax

Labels = NDArray[np.int64]

BINS = 15


@dataclass(frozen=True)
class Bin:
    """Images whose top probability fell into [low, high); the last bin holds 1 as well.

    ``confidence`` is their mean top probability, ``accuracy`` the share that is right; both 0 where ``count`` is 0.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Quality:
    """Accuracy (share), negative log-likelihood (nats per image), expected calibration error (share) of one exit."""

    accuracy: float
    nll: float
    ece: float


def accuracy(logits: Floats, labels: Labels) -> float:
    """Return the share of images whose largest logit is the label's.

    Args:
        logits: (images, classes).
        labels: (images,).
    """
    return float(np.mean(logits.argmax(axis=1) == labels))


def nll(logits: Floats, labels: Labels, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood of the labels, in nats.

    Args:
        logits: (images, classes).
        labels: (images,).
        temperature: logits are divided by it.
    """
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    right = scaled[np.arange(len(labels)), labels]
    return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - right))


def reliability(logits: Floats, labels: Labels, temperature: float = 1.0, bins: int = BINS) -> tuple[Bin, ...]:
    """Sort images into ``bins`` equally wide bins of their top probability.

    Args:
        logits: (images, classes).
        labels: (images,).
        temperature: logits are divided by it.
        bins: how many.
    """
    confidence = softmax(logits, temperature).max(axis=1).astype(np.float64)
    right = logits.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    confidences = np.bincount(place, weights=confidence, minlength=bins) / np.maximum(counts, 1)
    accuracies = np.bincount(place, weights=right, minlength=bins) / np.maximum(counts, 1)
    return tuple(
        Bin(i / bins, (i + 1) / bins, int(counts[i]), min(float(confidences[i]), 1.0), float(accuracies[i]))
        for i in range(bins)
    )


def ece(logits: Floats, labels: Labels, temperature: float = 1.0, bins: int = BINS) -> float:
    """Return the expected calibration error (Naeini et al. 2015; Guo et al. 2017, equation 3).

    The mean over images of |accuracy - confidence| of the bin they are in.

    Args:
        logits: (images, classes).
        labels: (images,).
        temperature: logits are divided by it.
        bins: how many equally wide bins.
    """
    found = reliability(logits, labels, temperature, bins)
    return sum(part.count * abs(part.accuracy - part.confidence) for part in found) / len(labels)


def quality(logits: Floats, labels: Labels, temperature: float = 1.0) -> Quality:
    """Return accuracy, NLL and ECE (15 bins) of one exit.

    Args:
        logits: (images, classes).
        labels: (images,).
        temperature: logits are divided by it.
    """
    return Quality(accuracy(logits, labels), nll(logits, labels, temperature), ece(logits, labels, temperature))
