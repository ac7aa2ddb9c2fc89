"""What a reader of the figures has to be told: one sentence for each kind of surprise, with the names it holds for."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from msd_edge.benchmarks.results import ExitBench, VariantBench
from msd_edge.bundle.manifest import FULL_POINT

_CHAIN = 1 / 1.05
_SLOWER = 1.2
_BUSY = 0.2  # cores' worth, beyond or below what was asked, that is no mere rounding

# Sentences end in a list of variants, a part each; report/findings.py reads them by that.
SEPARATOR = "; "


def write_notes(variants: Sequence[VariantBench]) -> tuple[str, ...]:
    """Return sentences on what may surprise: int8 slower than float, a cascade that does not pay, threads in vain."""
    kinds = (
        ("int8 is slower than float32: ", _slower_integers(variants)),
        ("Some images left at another exit than their full outputs say: ", _each(variants, _strays)),
        ("The cascade does not pay against its last exit alone: ", _each(variants, _losses)),
        ("More threads were started than asked for: ", _each(variants, _threads)),
        ("Inference kept more cores busy than threads were asked for: ", _each(variants, _greed)),
        (
            "The machine was busy with something else, so times contain waiting and ratios within this run hold better "
            "than the times (share of the time in which the process had a core): ",
            _each(variants, _waiting),
        ),
        (
            "Inference kept fewer cores busy than threads were asked for (the network is too small to share, or the "
            "other cores are taken): ",
            _each(variants, _vain),
        ),
        ("The device names another class than this machine for some images and exits: ", _each(variants, _others)),
        ("Frames were missed: ", _each(variants, _misses)),
        ("Median while working without rest: ", _each(variants, _heat)),
    )
    return tuple(f"{start}{SEPARATOR.join(parts)}." for start, found in kinds if (parts := list(found)))


def _each(variants: Sequence[VariantBench], tell: Callable[[VariantBench], Iterable[str]]) -> Iterable[str]:
    for variant in variants:
        words = ", ".join(tell(variant))
        if words:
            yield f"{variant.name} {words}"


def _slower_integers(variants: Sequence[VariantBench]) -> Iterable[str]:
    floats = {_way(variant): variant for variant in reversed(variants) if variant.precision == "float32"}
    for quantized in variants:
        twin = floats.get(_way(quantized))
        if quantized.precision != "int8" or twin is None:
            continue
        pairs = list(zip(quantized.exits, twin.exits, strict=True))
        forms = [("as a chain", _ratios(pairs, "chain")), ("as a file of its own", _ratios(pairs, "alone"))]
        words = [f"{_at(slow)} {form} ({_span(slow)} times the median)" for form, slow in forms if slow]
        if words:
            yield f"{quantized.name} {', '.join(words)}"


def _way(variant: VariantBench) -> tuple[object, ...]:
    """Return how and where a variant ran, but for its precision: only what is equal in that is held against another."""
    exits = tuple(each.index for each in variant.exits)
    return variant.target, variant.runtime, variant.threads, variant.delegate, exits


def _ratios(pairs: Sequence[tuple[ExitBench, ExitBench]], form: str) -> dict[int, float]:
    """Return how many times as long the exits take that are slower, by their numbers."""
    found = {}
    for mine, other in pairs:
        here, there = getattr(mine, form), getattr(other, form)
        if here is not None and there is not None and here.median > there.median:
            found[mine.index] = here.median / max(there.median, 1e-9)
    return found


def _at(slow: dict[int, float]) -> str:
    names = [str(index) for index in slow]
    return f"at exit {names[0]}" if len(names) == 1 else f"at exits {', '.join(names[:-1])} and {names[-1]}"


def _span(slow: dict[int, float]) -> str:
    low, high = f"{min(slow.values()):.2f}", f"{max(slow.values()):.2f}"
    return low if low == high else f"{low} to {high}"


def _strays(variant: VariantBench) -> Iterable[str]:
    for point in variant.cascade:
        if point.simulation_agreement < 1:
            yield f"at {point.point} {1 - point.simulation_agreement:.2%}"


def _losses(variant: VariantBench) -> Iterable[str]:
    if len(variant.exits) == 1:
        return
    for point in variant.cascade:
        if point.point == FULL_POINT:  # never leaves early: what it costs is the chain, not a cascade
            continue
        # Where nobody leaves early the cascade is the chain, and the chain may cost a little more than one piece.
        limit = 1 if sum(point.exit_counts[:-1]) else _CHAIN
        if point.speedup is not None and point.speedup < limit:
            yield f"at {point.point} ({point.speedup:.2f} ×)"


def _threads(variant: VariantBench) -> Iterable[str]:
    started = variant.runtime_threads
    if started is not None and started > variant.threads:
        yield f"{started} instead of {variant.threads} ({variant.runtime})"


def _greed(variant: VariantBench) -> Iterable[str]:
    busy = variant.cpu_per_wall
    if busy is not None and busy > variant.threads + _BUSY:
        yield f"{busy:.1f} with {_count(variant.threads)}"


def _waiting(variant: VariantBench) -> Iterable[str]:
    busy = variant.cpu_per_wall
    if busy is not None and busy < 1 - _BUSY:
        yield f"{busy:.0%}"


def _vain(variant: VariantBench) -> Iterable[str]:
    busy = variant.cpu_per_wall
    if busy is not None and variant.threads > 1 and 1 - _BUSY <= busy < 1 + _BUSY:
        yield f"{busy:.1f} with {_count(variant.threads)}"


def _count(threads: int) -> str:
    return f"{threads} {'thread' if threads == 1 else 'threads'}"


def _others(variant: VariantBench) -> Iterable[str]:
    agreement = variant.agreement
    if agreement is not None and agreement.top1_agreement < 1:
        yield f"{1 - agreement.top1_agreement:.2%} beside {agreement.runtime}"


def _misses(variant: VariantBench) -> Iterable[str]:
    for paced in variant.paced:
        if paced.missed:
            yield f"{paced.contender} {paced.missed} of {paced.missed + paced.total.count} at {paced.fps:g} a second"


def _heat(variant: VariantBench) -> Iterable[str]:
    sustained = variant.sustained
    if sustained is None or len(sustained.minutes) < 2:
        return
    first, last = sustained.minutes[0], sustained.minutes[-1]
    slow = [b.minute for a, b in pairwise(sustained.minutes) if b.total.median > _SLOWER * a.total.median]
    yield (
        f"{sustained.contender} {first.total.median:.3f} ms in minute {first.minute} and {last.total.median:.3f} ms in "
        f"minute {last.minute}{f' (it slowed down in minute {slow[0]})' if slow else ''}"
    )
