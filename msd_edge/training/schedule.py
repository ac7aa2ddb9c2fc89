"""Learning rate as a pure function of the step; the size of the images and what is frozen as ones of the epoch."""

import math

from msd_edge.training.choices import Schedule


def fine_tuning_rate(peak: float, step: int, steps: int) -> float:
    """Return the learning rate of ``step`` (0-based) out of ``steps``: from ``peak`` to nearly 0 by half a cosine."""
    return learning_rate("cosine", peak, 0, step, steps)


def learning_rate(schedule: Schedule, peak: float, warmup: float, step: int, steps: int) -> float:
    """Return the learning rate of ``step`` (0-based) out of ``steps``.

    It rises linearly to ``peak`` over the share ``warmup`` of all steps, then falls to nearly 0: linearly
    (``one-cycle``) or by half a cosine (``cosine``).
    """
    done = (step + 1) / steps
    if done <= warmup:
        return peak * done / warmup
    # Half a step is held back, so that the last step still moves.
    left = (steps - step - 0.5) / (steps * (1 - warmup) + 1e-12)
    left = min(1.0, left)
    return peak * (left if schedule == "one-cycle" else 0.5 * (1 - math.cos(math.pi * left)))


def image_sides(sides: tuple[int, int], initial: float, epoch: int, epochs: int) -> tuple[int, int]:
    """Return height and width of the images in ``epoch`` (0-based) out of ``epochs``: progressive resizing.

    ``initial`` of each side in the first third, growing linearly to all of it over the second, whole in the last, since
    a network is to end on what it will be given. Sides are eighths of the whole, so that sizes stay few.
    """
    grown = min(1.0, max(0.0, 3 * (epoch + 1) / epochs - 1))
    eighths = round(8 * (initial + (1 - initial) * grown))
    height, width = (max(1, round(side * eighths / 8)) for side in sides)
    return height, width


def freezing_epochs(pieces: int, first: float, epochs: int) -> tuple[int, ...]:
    """Return after how many epochs each piece of a trunk is frozen: FreezeOut (Brock et al. 2017, arXiv 1706.04983).

    The first piece after the share ``first`` of all epochs, the last one never, those between evenly between.

    Args:
        pieces: of the trunk.
        first: share of the epochs, 1 for no freezing.
        epochs: in all.

    Returns:
        From 1 to ``epochs`` for every piece; ``epochs``: it is trained to the end.
    """
    shares = [first + (1 - first) * (index / (pieces - 1) if pieces > 1 else 1) for index in range(pieces)]
    return tuple(max(1, round(share * epochs)) for share in shares)
