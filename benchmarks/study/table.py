"""From the cells' files to tables: mean and spread over seeds, and a paired test against the baseline."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Row:
    """What a method came to on one network and data set.

    Attributes:
        method: its name.
        seeds: that were run.
        mean, deviation: test accuracy of every exit in percent, over seeds (sample deviation; 0 for one seed).
        gain: of every exit against the baseline's run of the same seed, in points, mean.
        p_value: of the paired t-test over seeds, two-sided, per exit; None with fewer than two pairs.
    """

    method: str
    seeds: tuple[int, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    gain: tuple[float, ...] | None
    p_value: tuple[float, ...] | None


def paired_test(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of a paired t-test: whether differences over seeds have a mean of zero.

    Args:
        differences: at least two.
    """
    from scipy import stats

    values = np.asarray(differences, float)
    spread = float(values.std(ddof=1))
    if spread == 0:
        return 1.0 if values.mean() == 0 else 0.0
    statistic = float(values.mean()) / (spread / math.sqrt(len(values)))
    return float(2 * stats.t.sf(abs(statistic), len(values) - 1))


def summarise_cells(results: Iterable[Mapping[str, Any]], baseline: str) -> dict[tuple[str, str], list[Row]]:
    """Return the rows of every (data, network), methods in the order in which their results come.

    Args:
        results: of cells with a test accuracy; trials are left out.
        baseline: the method that the others are held against.
    """
    found: dict[tuple[str, str], dict[str, dict[int, Sequence[float]]]] = defaultdict(lambda: defaultdict(dict))
    for result in results:
        if "test" in result:
            found[result["data"], result["network"]][result["method"]][result["seed"]] = result["test"]
    return {
        setting: [_summarise(name, seeds, methods.get(baseline, {})) for name, seeds in methods.items()]
        for setting, methods in found.items()
    }


def pool_gains(
    results: Iterable[Mapping[str, Any]], baseline: str
) -> dict[tuple[str, int], tuple[int, list[list[float]]]]:
    """Return the gains of every method against the baseline's run of the same network, data and seed, over all of them.

    Networks with as many exits are pooled: the second exit of two is not the second of three.

    Args:
        results: of cells with a test accuracy; trials are left out.
        baseline: what the others are held against.

    Returns:
        Of every method and number of exits how many settings (data, network) it was trained in, and the gain of every
        exit, in points, of each of its runs that has a counterpart.
    """
    tested = {(r["data"], r["network"], r["method"], r["seed"]): r["test"] for r in results if "test" in r}
    settings: dict[tuple[str, int], set[tuple[str, str]]] = defaultdict(set)
    gains: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    for (data, network, method, seed), accuracy in tested.items():
        base = tested.get((data, network, baseline, seed))
        if method != baseline and base is not None and len(base) == len(accuracy):
            settings[method, len(base)].add((data, network))
            gains[method, len(base)].append((100 * np.subtract(accuracy, base)).tolist())
    return {key: (len(settings[key]), found) for key, found in gains.items()}


def draw_pooled(pooled: Mapping[tuple[str, int], tuple[int, Sequence[Sequence[float]]]], least: int = 2) -> str:
    """Return the gains over all settings as a table in Markdown, of methods that were trained in ``least`` or more."""
    rows = {key: (count, gains) for key, (count, gains) in pooled.items() if count >= least}
    numbers = {number for _, number in rows}
    exits = range(1, 1 + max(numbers, default=0))
    lines = ["| method | settings | pairs |" + "".join(f" gain {k} (p) |" for k in exits)]
    lines.append("|---|---:|---:|" + "---:|" * len(exits))
    for (method, number), (count, gains) in rows.items():
        name = method if len(numbers) == 1 else f"{method}, {number} exits"
        cells = [f" {_draw_gain(column.mean(), paired_test(column))} |" for column in np.array(gains).T]
        lines.append(f"| {name} | {count} | {len(gains)} |" + "".join(cells) + " |" * (len(exits) - number))
    return "\n".join(lines)


def _summarise(method: str, seeds: dict[int, Sequence[float]], base: dict[int, Sequence[float]]) -> Row:
    values = 100 * np.array(list(seeds.values()), float)
    deviation = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
    gain = p_value = None
    common = [seed for seed in seeds if seed in base]
    if base is not seeds and common and len(base[common[0]]) == values.shape[1]:
        differences = 100 * np.array([np.subtract(seeds[seed], base[seed]) for seed in common])
        gain = tuple(differences.mean(axis=0).tolist())
        if len(common) > 1:
            p_value = tuple(paired_test(column) for column in differences.T)
    return Row(
        method, tuple(sorted(seeds)), tuple(values.mean(axis=0).tolist()), tuple(deviation.tolist()), gain, p_value
    )


def draw_tables(rows: Mapping[tuple[str, str], Sequence[Row]], baseline: str) -> str:
    """Return all tables as Markdown."""
    parts = []
    for (data, network), methods in rows.items():
        exits = range(1, 1 + max(len(row.mean) for row in methods))
        head = "".join(f" exit {k} |" for k in exits) + "".join(f" gain {k} (p) |" for k in exits)
        parts.append(f"### {data}, {network}\n")
        parts.append(f"| method | seeds |{head}")
        parts.append("|---|---:|" + "---:|" * (2 * len(exits)))
        for row in methods:
            parts.append(f"| {row.method} | {len(row.seeds)} |{_draw_values(row, exits)}{_draw_gains(row, exits)}")
        parts.append("")
    parts.append(
        f"Test accuracy in %, mean ± sample deviation over seeds; gain in points against {baseline} with the same "
        "seeds, p of a paired t-test, two-sided.\n"
    )
    return "\n".join(parts)


def _draw_values(row: Row, exits: range) -> str:
    cells = [f"{mean:.2f} ± {spread:.2f}" for mean, spread in zip(row.mean, row.deviation, strict=True)]
    if len(row.seeds) == 1:
        cells = [f"{mean:.2f}" for mean in row.mean]
    return "".join(f" {cells[k - 1] if k <= len(cells) else ''} |" for k in exits)


def _draw_gains(row: Row, exits: range) -> str:
    if row.gain is None:
        return " |" * len(exits)
    tests = row.p_value or (None,) * len(row.gain)
    cells = [_draw_gain(gain, p) for gain, p in zip(row.gain, tests, strict=True)]
    return "".join(f" {cells[k - 1]} |" for k in exits)


def _draw_gain(gain: float, p_value: float | None) -> str:
    return f"{round(gain, 2) + 0.0:+.2f}{_draw_p(p_value)}"


def _draw_p(value: float | None) -> str:
    if value is None:
        return ""
    return " (<0.01)" if value < 0.01 else f" ({value:.2f})"
