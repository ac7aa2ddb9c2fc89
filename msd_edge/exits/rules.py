"""Exit rules: from the logits of the exits computed so far, leave now or go on.

A rule sees logits only: no label, no loss, no feature. What is decided image by image on a device (``decide``) and what
calibration computes for a whole split (``take``) is the same float32 arithmetic, so that ties fall the same way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self, get_args

import numpy as np
from numpy.typing import NDArray

from msd_edge.bundle.manifest import Calibration, OperatingPoint, RuleName
from msd_edge.errors import ConfigError

Floats = NDArray[np.float32]
Exits = NDArray[np.int64]

RULES: tuple[RuleName, ...] = get_args(RuleName)


@dataclass(frozen=True)
class ExitRule:
    """When an image leaves the cascade.

    - ``max-softmax``: when the top probability of the temperature-scaled logits is at least the threshold.
    - ``entropy``: when their entropy divided by log(classes) is at most the threshold (BranchyNet, Teerapittayanon et
      al. 2016, normalized so that it means the same for any number of classes).
    - ``patience``: when t + 1 exits in a row name the same class (PABEE, Zhou et al. 2020); every threshold is t.
    - ``averaged``: as max-softmax, of a weighted sum of the logits of all exits so far. It answers by that sum too: the
      weighted geometric mean of their probabilities (Zero Time Waste, Wołczyk et al. 2021, arXiv 2106.05409).

    Thresholds are compared in float32. At the last exit every image leaves.

    Attributes:
        name: the kind of rule.
        thresholds: one per exit but the last.
        temperatures: one per exit; logits are divided by it before the softmax.
        weights: of ``averaged``, for every exit those of the logits of all exits up to it, instead of temperatures.

    Raises:
        ConfigError: the lengths do not fit, a temperature is not positive, a weight is negative, or a threshold is no
            number of its kind.
    """

    name: RuleName
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        exits = len(self.temperatures)
        if self.name not in RULES:
            raise ConfigError(f"exit rule {self.name!r}: no such rule (known: {', '.join(RULES)}).")
        if not exits or len(self.thresholds) != exits - 1:
            raise ConfigError(
                f"the {self.name} rule has {len(self.thresholds)} thresholds for {exits} exits; "
                f"every exit but the last needs one, which makes {max(exits - 1, 0)}."
            )
        for place, temperature in enumerate(self.temperatures, 1):
            if not (math.isfinite(temperature) and temperature > 0):
                raise ConfigError(f"the temperature of exit {place} is {temperature}; it must be positive and finite.")
        for place, threshold in enumerate(self.thresholds, 1):
            if not math.isfinite(threshold):
                raise ConfigError(f"the threshold of exit {place} is {threshold}; it must be finite.")
        if self.name == "patience" and self.thresholds:
            count = self.thresholds[0]
            if count < 0 or count != int(count) or any(other != count for other in self.thresholds):
                raise ConfigError(
                    f"patience thresholds {list(self.thresholds)}: all must be one and the same count 0, 1, 2, …"
                )

        wanted = [*range(1, exits + 1)] if self.name == "averaged" else []
        if [len(own) for own in self.weights] != wanted:
            raise ConfigError(
                f"the {self.name} rule has weights for {len(self.weights)} exits; averaged has one list for each of "
                f"{exits}, of one weight for each exit up to it, and no other rule has any."
            )
        for place, own in enumerate(self.weights, 1):
            if not all(math.isfinite(weight) and weight >= 0 for weight in own):
                raise ConfigError(f"the weights of exit {place} are {list(own)}; they must be finite, 0 or more.")

    @classmethod
    def of(cls, calibration: Calibration, point: OperatingPoint) -> Self:
        """Return the rule of an operating point of a calibration.

        Raises:
            ConfigError: the numbers make no rule.
        """
        exits = calibration.exits
        weights = tuple(part.weights for part in exits if part.weights is not None)
        return cls(calibration.rule, point.thresholds, tuple(part.temperature for part in exits), weights)

    @cached_property
    def _factors(self) -> tuple[tuple[np.float32, ...], ...]:
        """The weights in float32, made once: a decision takes microseconds."""
        return tuple(tuple(np.float32(weight) for weight in own) for own in self.weights)

    @property
    def exits(self) -> int:
        """The number of exits."""
        return len(self.temperatures)

    def decide(self, exit: int, logits: Sequence[Floats]) -> tuple[bool, Floats]:
        """Decide for one image.

        Args:
            exit: the exit just computed, 0-based.
            logits: of exits 0..exit, each (classes,).

        Returns:
            Whether the image leaves here, and the probabilities it is answered by, (classes,) float32.
        """
        shifted, weights, total = _exponentials(*self.basis(exit, logits))
        probabilities = weights / total
        if exit == self.exits - 1:
            return True, probabilities
        threshold = float(np.float32(self.thresholds[exit]))
        if self.name in ("max-softmax", "averaged"):
            return float(np.reciprocal(total)[0]) >= threshold, probabilities
        if self.name == "entropy":
            return float(_entropy(shifted, probabilities, total)[0]) <= threshold, probabilities
        patience = int(threshold)
        if exit < patience:
            return False, probabilities
        named = int(np.argmax(logits[exit]))
        return all(int(np.argmax(logits[exit - back])) == named for back in range(1, patience + 1)), probabilities

    def basis(self, exit: int, logits: Sequence[Floats]) -> tuple[Floats, float]:
        """Return the logits that an exit answers by, (..., classes), and the temperature they are to be divided by.

        Args:
            exit: 0-based.
            logits: of exits 0..exit at least, each (..., classes).
        """
        if self.name != "averaged":
            return logits[exit], self.temperatures[exit]
        return mix(logits, self._factors[exit]), 1.0

    def name_classes(self, logits: Floats) -> Exits:
        """Return the class that every exit names, (images, exits).

        Args:
            logits: of every exit, (images, exits, classes).
        """
        values = logits
        if self.name == "averaged":  # by probabilities, as ``decide`` gives them for an image alone
            each = split_exits(logits)
            values = np.stack([softmax(*self.basis(place, each)) for place in range(self.exits)], axis=1)
        named: Exits = values.argmax(axis=-1)
        return named

    def take(self, logits: Floats) -> Exits:
        """Decide for many images at once; equal to ``decide`` on each of them.

        Args:
            logits: of every exit, (images, exits, classes).

        Returns:
            The exit each image leaves at, 0-based, (images,).

        Raises:
            ConfigError: the logits have another number of exits than the rule.
        """
        if logits.ndim != 3 or logits.shape[1] != self.exits:
            raise ConfigError(f"logits of shape {logits.shape} do not fit a rule for {self.exits} exits.")
        leaves = np.ones(logits.shape[:2], dtype=np.bool_)
        if self.name == "patience":
            if self.thresholds:
                leaves[:, :-1] = agreeing(logits)[:, :-1] > self.thresholds[0]
        else:
            each = split_exits(logits)
            for place, threshold in enumerate(self.thresholds):
                values = score(self.name, *self.basis(place, each))
                limit = np.float32(threshold)
                leaves[:, place] = values <= limit if self.name == "entropy" else values >= limit
        taken: Exits = leaves.argmax(axis=1)
        return taken


def split_exits(logits: Floats) -> list[Floats]:
    """Return the logits of every exit, each (images, classes); ``logits``: (images, exits, classes)."""
    return [logits[:, place] for place in range(logits.shape[1])]


def mix(logits: Sequence[Floats], weights: Sequence[float | np.float32]) -> Floats:
    """Return the weighted sum of the logits of some exits, float32, added in their order.

    Args:
        logits: of each exit at least, (..., classes) float32.
        weights: one for each exit.
    """
    total: Floats = logits[0] * np.float32(weights[0])
    for place in range(1, len(weights)):
        total += logits[place] * np.float32(weights[place])
    return total


def never(name: RuleName, exits: int) -> float:
    """Return the threshold with which no image leaves before the last exit."""
    return {"max-softmax": 2.0, "entropy": -1.0, "patience": float(exits), "averaged": 2.0}[name]


def always(name: RuleName) -> float:
    """Return the threshold with which every image leaves; beyond 0..1, so that rounding cannot keep one back."""
    return {"max-softmax": -1.0, "entropy": 2.0, "patience": 0.0, "averaged": -1.0}[name]


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Return the softmax of ``logits / temperature`` over the last axis, float32, in the rule's own arithmetic.

    Args:
        logits: (..., classes).
        temperature: positive.
    """
    _, weights, total = _exponentials(logits, temperature)
    return weights / total


def score(name: RuleName, logits: Floats, temperature: float) -> Floats:
    """Return what the rule compares with the threshold of an exit: (images,) float32.

    Args:
        name: ``max-softmax`` or ``averaged`` (top probability, leave when high) or ``entropy`` (normalized, leave when
            low).
        logits: that the exit answers by, (images, classes).
        temperature: of that exit.
    """
    shifted, weights, total = _exponentials(logits, temperature)
    if name != "entropy":
        top: Floats = np.reciprocal(total)[..., 0]  # the top class's weight is exp(0), exactly 1
        return top
    return _entropy(shifted, weights / total, total)[..., 0]


def agreeing(logits: Floats) -> Exits:
    """Return how many exits in a row, up to and with each, name the same class: (images, exits), at least 1.

    Args:
        logits: (images, exits, classes).
    """
    named = logits.argmax(axis=-1)
    run = np.ones(named.shape, dtype=np.int64)
    for place in range(1, named.shape[1]):
        run[:, place] += np.where(named[:, place] == named[:, place - 1], run[:, place - 1], 0)
    return run


def _exponentials(logits: Floats, temperature: float) -> tuple[Floats, Floats, Floats]:
    # C order makes numpy sum each row of a batch exactly as it sums a single row.
    values = np.ascontiguousarray(logits, dtype=np.float32)
    shifted = values - np.maximum.reduce(values, axis=-1, keepdims=True)
    if temperature != 1:
        shifted /= np.float32(temperature)
    weights = np.exp(shifted)
    return shifted, weights, np.add.reduce(weights, axis=-1, keepdims=True)


def _entropy(shifted: Floats, probabilities: Floats, total: Floats) -> Floats:
    # log p = shifted - log(total): finite even where p itself is 0.
    mean: Floats = np.add.reduce(probabilities * shifted, axis=-1, keepdims=True)
    result: Floats = (np.log(total) - mean) / np.float32(math.log(shifted.shape[-1]))
    return result
