"""Which exits can pay, before anything is trained: what a branch costs against what leaving there saves."""

import math
from collections.abc import Sequence
from itertools import pairwise

from msd_edge.errors import ModelError
from msd_edge.models.branches import all_places
from msd_edge.models.build import ExitCost, NetworkConfig, build_network, describe_backbone, measure_costs
from msd_edge.models.imported import is_imported

# An exit that more than so many of the images reaching it must leave by, or it costs more than it saves.
EXPENSIVE = 0.5
# Each exit should cost, alone, at most so much of what the next one costs.
_CHEAPER = 0.95


def break_even(costs: Sequence[ExitCost]) -> tuple[float, ...]:
    """Return for each exit but the last which share of the images that reach it must leave there for it to pay.

    Every image that reaches exit k pays its branch, b_k MACs; one that leaves saves what the chain would still cost,
    C_N - C_k, the branches of later exits included. So the share is b_k / (C_N - C_k): below it, the network without
    this exit is cheaper; above 1 it never pays. MACs stand for milliseconds; ``calibrate`` weighs the measured ones.
    """
    last = costs[-1].chain_macs
    return tuple(cost.branch_macs / max(1, last - cost.chain_macs) for cost in costs[:-1])


def find_no_cheaper(costs: Sequence[ExitCost]) -> tuple[int, ...]:
    """Return the numbers of exits (1-based) that cost as much alone as the next one, which is not the last.

    Places are spread over the trunk, and the branch of an early exit may cost what the trunk up to a later one does.
    What costs as much as the last exit can never pay (``break_even``).
    """
    pairs = enumerate(pairwise(costs[:-1]), 1)
    return tuple(index for index, (here, following) in pairs if here.macs > _CHEAPER * following.macs)


def mend_places(config: NetworkConfig, costs: Sequence[ExitCost]) -> tuple[str, ...]:
    """Return the places nearest to those chosen where each exit costs clearly less than the next one but the last.

    Args:
        config: of a network whose places can be chosen.
        costs: what its exits cost.

    Returns:
        The places but for the last, as ``--exits-at`` takes them; empty where there are none that do, for networks from
        elsewhere, which are not built once more for this, and where exits cannot stand at every place.
    """
    if is_imported(config.arch):
        return ()
    try:
        count = len(all_places(describe_backbone(config)))
        every = measure_costs(build_network(config.model_copy(update={"exits": count, "exits_at": None})))
    except (ModelError, RuntimeError):  # a network that runs with the exits chosen is trained for all that
        return ()
    where = {cost.place: index for index, cost in enumerate(every)}
    chosen = [where[cost.place] for cost in costs]
    last = len(every) - 1
    # From the last exit to the first: what the best places up to the end are, for every place of the first of them.
    best: dict[int, tuple[int, tuple[int, ...]]] = {last: (0, ())}
    for wanted in reversed(chosen[:-1]):
        found = {}
        for place in range(last):
            behind = [
                (moved + abs(place - wanted), (place, *rest))
                for following, (moved, rest) in best.items()
                if place < following and (following == last or every[place].macs <= _CHEAPER * every[following].macs)
            ]
            if behind:
                found[place] = min(behind)
        best = found
    moved, places = min(best.values(), default=(math.inf, ()))
    return tuple(every[place].place for place in places) if moved < math.inf else ()
