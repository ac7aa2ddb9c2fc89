"""Which exits can pay, before anything is trained: what a branch costs against what leaving there saves."""

from collections.abc import Sequence

from msd_edge.models.build import ExitCost

# An exit that more than so many of the images reaching it must leave by, or it costs more than it saves.
EXPENSIVE = 0.5


def break_even(costs: Sequence[ExitCost]) -> tuple[float, ...]:
    """Return for each exit but the last which share of the images that reach it must leave there for it to pay.

    Every image that reaches exit k pays its branch, b_k MACs; one that leaves saves what the chain would still cost,
    C_N - C_k, the branches of later exits included. So the share is b_k / (C_N - C_k): below it, the network without
    this exit is cheaper; above 1 it never pays. MACs stand for milliseconds; ``calibrate`` weighs the measured ones.
    """
    last = costs[-1].chain_macs
    return tuple(cost.branch_macs / max(1, last - cost.chain_macs) for cost in costs[:-1])
