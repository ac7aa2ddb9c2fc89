"""What an epoch of training came to."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to.

    Attributes:
        epoch: 1-based; ``epochs`` of them in all.
        int8: whether it was one of those in int8 arithmetic; ``accuracy`` is then that of this arithmetic.
        loss: the total, mean over steps.
        losses: cross-entropy of every exit on the training images.
        distillation, features: the other terms, unweighted.
        lr, tau: at the end of the epoch.
        size: height and width of the training images as they were shown.
        frozen: pieces of the trunk, from the first one on, that were trained no more.
        accuracy: of every exit on the calibration split.
        speed: training images a second, validation not counted.
        seconds: of the whole epoch.
        best_epoch: the best one so far, by the mean accuracy of all exits; with epochs in int8 arithmetic, of those.
    """

    epoch: int
    epochs: int
    int8: bool
    loss: float
    losses: tuple[float, ...]
    distillation: float
    features: float
    lr: float
    tau: float
    size: tuple[int, int]
    frozen: int
    accuracy: tuple[float, ...]
    speed: float
    seconds: float
    best_epoch: int

    def to_json(self) -> dict[str, Any]:
        """Return the line for ``metrics.jsonl``."""
        return {**vars(self), "losses": list(self.losses), "accuracy": list(self.accuracy)}
