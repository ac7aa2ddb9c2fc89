"""Which network, and what it will cost: options and texts that ``train`` and ``doctor --arch`` share."""

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msd_edge.cli import common
from msd_edge.errors import ConfigError

if TYPE_CHECKING:
    from msd_edge.models.build import ArchOption, ExitCost, NetworkConfig
    from msd_edge.models.network import MultiExitNetwork

ArchOptionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--arch-option", metavar="NAME=VALUE", help="A setting of the network (msdnet: growth=12); repeatable."
    ),
]
WidthOption = Annotated[int | None, typer.Option("--width", min=1, max=4096, help="Channels of the first stage.")]
ExitsOption = Annotated[int, typer.Option("--exits", min=1, help="How many exits, the last included.")]
ExitsAtOption = Annotated[
    str | None,
    typer.Option("--exits-at", help="Where exits leave: stage:block (1:1,2:1), stem, or shares of the MACs (0.2,0.5)."),
]
BranchOption = Annotated[
    str,
    typer.Option("--branch", help="What branches are made of: sampled (the paper's), separable or pooled (cheaper)."),
]
BranchWidthOption = Annotated[
    float,
    typer.Option(
        "--branch-width", min=0.05, max=8, help="Width of separable branches, as a factor of the sampled ones'."
    ),
]
BranchIntervalOption = Annotated[
    int | None,
    typer.Option(
        "--branch-interval",
        min=1,
        help="Take every Nth block of a stage into a branch (2: every second); default one a stage.",
    ),
]


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


def warn_of(network: "MultiExitNetwork", costs: "Sequence[ExitCost]", config: "NetworkConfig") -> None:
    """Say what the int8 kernels will not take, which exits are too expensive, and which cost as much as a later one."""
    for text in find_notes(network, costs, config):
        common.warn(text)


def find_notes(network: "MultiExitNetwork", costs: "Sequence[ExitCost]", config: "NetworkConfig") -> list[str]:
    """Return a sentence for everything that is worth knowing before training."""
    from msd_edge.converters.lint import find_untaken
    from msd_edge.models.worth import EXPENSIVE, break_even, find_no_cheaper, mend_places

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
    no_cheaper = () if own else find_no_cheaper(costs)
    places = mend_places(config, costs) if no_cheaper else ()
    for index in no_cheaper if places else ():
        here, following = costs[index - 1], costs[index]
        notes.append(
            f"exit {index} at {here.place} costs as much as exit {index + 1} at {following.place}, each alone; "
            f"--exits-at {','.join(places)} spreads them."
        )
    return notes


def to_json(network: "MultiExitNetwork", costs: "Sequence[ExitCost]", config: "NetworkConfig") -> dict[str, Any]:
    """Return costs and notes for machines."""
    from msd_edge.models.worth import break_even

    shares: list[float | None] = [*break_even(costs), None]
    exits = [{**vars(cost), "pays_from": share} for cost, share in zip(costs, shares, strict=True)]
    return {"exits": exits, "notes": find_notes(network, costs, config)}


def read_arch_options(texts: Sequence[str]) -> "dict[str, ArchOption]":
    """Return the settings of a network that ``--arch-option`` gives.

    Raises:
        ConfigError: one is not NAME=VALUE, or is given twice.
    """
    found: dict[str, ArchOption] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or not name or not value.strip():
            raise ConfigError(f"--arch-option {text}: a setting is NAME=VALUE, such as growth=12.")
        if name in found:
            raise ConfigError(f"--arch-option {text}: {name} is given twice.")
        found[name] = _read_value(value.strip())
    return found


def _read_value(text: str) -> "ArchOption":
    """Return a setting's value as JSON has it, or as a word where it is none; the network checks what it means."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, list) and all(type(part) is int for part in value):
        return tuple(value)
    return value if isinstance(value, (bool, int, float)) and math.isfinite(value) else text
