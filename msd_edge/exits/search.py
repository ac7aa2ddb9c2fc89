"""Which settings to try: all on a grid of quantiles for two and three exits, coordinate descent for more."""

import numpy as np
from numpy.typing import NDArray

from msd_edge.exits.rules import Floats
from msd_edge.exits.thresholds import Evidence, always_limit, budgeted_limits, never_limit, shift

Indices = NDArray[np.int64]

# Quantiles tried per exit, by the number of exits. Fine enough that the next one leaves about 1 % more images; finer
# grids only follow the noise of the split.
_QUANTILES = {2: 400, 3: 64}
_QUANTILES_MANY = 64
_PRICES = 48
_SWEEPS = 20
_TIGHTER = (0.8, 0.65, 0.5, 0.35, 0.25, 0.15, 0.1)  # odds


def search(evidence: Evidence) -> Floats:
    """Return the limits of all settings worth looking at, (settings, exits - 1), in units of ease, each once.

    Always among them: leaving never, leaving at each exit always, the budgeted settings. Patience has one number for
    all exits: t = 1 up to the number of exits, with which nobody leaves early.
    """
    exits = evidence.exits
    never = np.full((1, exits - 1), never_limit(evidence.name, exits), dtype=np.float32)
    if exits == 1:
        return never
    if evidence.name == "patience":
        counts = np.arange(2, exits + 2, dtype=np.float32)
        return np.repeat(counts[:, None], exits - 1, axis=1)
    ladders = [_candidates(evidence, k, _QUANTILES.get(exits, _QUANTILES_MANY)) for k in range(exits - 1)]
    if exits <= 3:
        tried = np.stack([axis.ravel() for axis in np.meshgrid(*ladders, indexing="ij")], axis=1)
    else:
        # What descent finds fits this split closely; its tightened forms are what a cautious point is chosen from.
        found = _descend(evidence, ladders)
        alike = np.repeat(ladders[0][:, None], exits - 1, axis=1)
        tried = np.concatenate([found, alike, *(shift(evidence, found, factor) for factor in _TIGHTER)])
    corners = np.repeat(never, exits - 1, axis=0)
    np.fill_diagonal(corners, always_limit(evidence.name))
    everything = np.concatenate([never, corners, budgeted_limits(evidence)[1], tried])
    unique: Floats = np.unique(everything, axis=0)
    return unique


def _candidates(evidence: Evidence, k: int, quantiles: int) -> Floats:
    """Return limits to try at exit ``k``, rising: always, evenly spaced ranks of the ease, never."""
    ordered = np.sort(evidence.ease[:, k])
    ranks = np.unique(np.linspace(0, len(ordered) - 1, quantiles).round().astype(np.int64))
    ends = (always_limit(evidence.name), never_limit(evidence.name, evidence.exits))
    ladder: Floats = np.unique(np.concatenate([[ends[0]], ordered[ranks], [ends[1]]]).astype(np.float32))
    return ladder


def _descend(evidence: Evidence, ladders: list[Floats]) -> Floats:
    """Minimise wrong answers plus price times milliseconds, one exit's limit at a time, for many prices.

    With all other limits fixed the best limit of an exit is exact: sort the images that reach it by ease, add up what
    each gains by leaving, take the best prefix. Starts: the last price's solution, nobody leaves, everybody does.
    """
    rungs = np.stack(
        [np.searchsorted(ladder, evidence.ease[:, k], side="right") for k, ladder in enumerate(ladders)], axis=1
    )
    spread = max(float(evidence.ms[-1] - evidence.ms[0]), 1e-12)
    closed = np.array([len(ladder) - 1 for ladder in ladders])
    before = closed
    seen: set[tuple[int, ...]] = set()
    for price in np.geomspace(1e-4, 2.0, _PRICES) / spread:
        values = evidence.right - price * evidence.ms
        best = -np.inf
        for start in (before, closed, np.zeros_like(closed)):
            places, value = _settle(rungs, values, start, seen, [len(ladder) for ladder in ladders])
            if value > best:
                best, before = value, places
    chosen = np.array(sorted(seen))
    return np.stack([ladder[chosen[:, k]] for k, ladder in enumerate(ladders)], axis=1)


def _settle(
    rungs: Indices, values: NDArray[np.float64], start: Indices, seen: set[tuple[int, ...]], sizes: list[int]
) -> tuple[Indices, float]:
    """Sweep over the exits until no limit moves; note every stop in ``seen``; return the places and their value."""
    places = start.copy()
    total = -np.inf
    for _ in range(_SWEEPS):
        old = places.copy()
        going = [values[:, -1]]  # what an image is worth that goes on past exit k, from the last exit backwards
        for k in range(len(sizes) - 1, 0, -1):
            going.insert(0, np.where(rungs[:, k] > places[k], values[:, k], going[0]))
        here = np.arange(len(values))
        for k, size in enumerate(sizes):
            gain = values[here, k] - going[k][here]
            per_rung = np.bincount(rungs[here, k], weights=gain, minlength=size + 1)
            totals = per_rung[::-1].cumsum()[::-1][1:]
            places[k] = size - 1 - int(totals[::-1].argmax())  # among equals the most cautious
            here = here[rungs[here, k] <= places[k]]
        seen.add(tuple(places.tolist()))
        if (places == old).all():
            break
    leaving = np.concatenate([rungs > places, np.ones((len(rungs), 1), dtype=np.bool_)], axis=1)
    total = float(np.take_along_axis(values, leaving.argmax(axis=1)[:, None], axis=1).sum())
    return places, total
