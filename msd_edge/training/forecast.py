"""How long the epochs that are left will take."""

from collections.abc import Sequence

from msd_edge.models.build import ExitCost
from msd_edge.training.config import OptimConfig
from msd_edge.training.schedule import freezing_epochs, image_sides

_BACKWARD = 2 / 3  # of a step's multiply-adds: gradients of inputs and of weights, beside the forward pass


def weigh_epochs(optim: OptimConfig, sides: tuple[int, int], costs: Sequence[ExitCost]) -> tuple[float, ...]:
    """Return what each epoch costs, 1 for one on whole images in which all is trained.

    An epoch in int8 arithmetic counts as 1 too: what it costs is known when one is done.

    Args:
        optim: how it is trained.
        sides: height and width of whole images.
        costs: of the exits.
    """
    trunk = [cost.macs - cost.branch_macs for cost in costs]  # up to each exit
    ends = freezing_epochs(len(costs), optim.freeze_early, optim.epochs)
    weights = []
    for epoch in range(optim.all_epochs):
        height, width = image_sides(sides, optim.initial_scale, min(epoch, optim.epochs - 1), optim.epochs)
        frozen = 0 if epoch >= optim.epochs else sum(end <= epoch for end in ends)
        spared = _BACKWARD * trunk[frozen - 1] / costs[-1].chain_macs if frozen else 0.0
        weights.append(height * width / (sides[0] * sides[1]) * (1 - spared))
    return tuple(weights)
