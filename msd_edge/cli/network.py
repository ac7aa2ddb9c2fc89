"""What a network will cost, as ``train`` and ``doctor --arch`` print it before anything is trained."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msd_edge.cli import common

if TYPE_CHECKING:
    from msd_edge.models.build import ExitCost
    from msd_edge.models.network import MultiExitNetwork


def print_costs(costs: "Sequence[ExitCost]") -> None:
    """Print a line an exit: MACs alone, in the chain and of its branch, parameters, bytes in int8, when it pays."""
    from msd_edge.models.worth import break_even

    shares = [f"{100 * share:.0f} %" for share in break_even(costs)]
    rows = [
        [
            f"exit {index}  {cost.place}",
            f"{cost.macs / 1e6:.2f} M",
            f"{cost.chain_macs / 1e6:.2f} M",
            f"{cost.branch_macs / 1e6:.2f} M",
            f"{cost.parameters / 1e6:.3f} M",
            f"{cost.activations / 1e3:.0f} kB",
            f"{cost.handed / 1e3:.0f} kB" if cost.handed else "",
            pays,
        ]
        for index, (cost, pays) in enumerate(zip(costs, [*shares, ""], strict=True), 1)
    ]
    common.say()
    header = ["", "alone MACs", "chain MACs", "branch MACs", "parameters", "int8 activations", "handed on", "pays from"]
    common.table(header, rows)


def warn_of(network: "MultiExitNetwork", costs: "Sequence[ExitCost]") -> None:
    """Say what the int8 kernels will not take and which exits are too expensive."""
    for text in find_notes(network, costs):
        common.warn(text)


def find_notes(network: "MultiExitNetwork", costs: "Sequence[ExitCost]") -> list[str]:
    """Return a sentence for everything that is worth knowing before training."""
    from msd_edge.converters.lint import find_untaken
    from msd_edge.models.worth import EXPENSIVE, break_even

    # MSDNet's places are called "block 2", and its classifiers are its own.
    own = costs[0].place.startswith("block ")
    advice = "" if own else "; --branch separable costs less, --exits-at another place"
    notes = []
    for one in find_untaken(network):
        more = f" (and {one.count - 1} more)" if one.count > 1 else ""
        notes.append(f"int8: {one.module}{more}: {one.why}.")
    for index, share in enumerate(break_even(costs), 1):
        if share >= 1:
            notes.append(
                f"exit {index} at {costs[index - 1].place} can never pay: its branch costs as much as it saves{advice}."
            )
        elif share > EXPENSIVE:
            notes.append(
                f"exit {index} at {costs[index - 1].place} is expensive: its branch pays only if more than "
                f"{100 * share:.0f} % of the images that reach it leave there{advice}."
            )
    return notes


def to_json(network: "MultiExitNetwork", costs: "Sequence[ExitCost]") -> dict[str, Any]:
    """Return costs and notes for machines."""
    from msd_edge.models.worth import break_even

    shares: list[float | None] = [*break_even(costs), None]
    exits = [{**vars(cost), "pays_from": share} for cost, share in zip(costs, shares, strict=True)]
    return {"exits": exits, "notes": find_notes(network, costs)}
