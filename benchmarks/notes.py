"""What a reader of the figures has to be told in a sentence."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from msd_edge.benchmarks.results import ExitBench, VariantBench

_CHAIN = 1 / 1.05
_SLOWER = 1.2
_BUSY = 0.2  # cores' worth, beyond or below what was asked, that is no mere rounding


def write_notes(variants: Sequence[VariantBench]) -> tuple[str, ...]:
    """Return sentences on what may surprise: int8 slower than float, a cascade that does not pay, threads in vain."""
    found = [*_slower_integers(variants)]
    for variant in variants:
        found += _cascade_notes(variant)
        found += _thread_notes(variant)
        found += _device_notes(variant)
    return tuple(found)


def _slower_integers(variants: Sequence[VariantBench]) -> Iterable[str]:
    for quantized in variants:
        if quantized.precision != "int8":
            continue
        for floats in variants:
            if floats.target != quantized.target or floats.precision != "float32":
                continue
            for mine, other in zip(quantized.exits, floats.exits, strict=True):
                yield from _slower_exit(quantized.name, floats.name, mine, other)


def _slower_exit(name: str, beside: str, mine: ExitBench, other: ExitBench) -> Iterable[str]:
    pairs = [("as a chain", mine.chain, other.chain)]
    if mine.alone is not None and other.alone is not None:
        pairs.append(("as a file of its own", mine.alone, other.alone))
    for form, here, there in pairs:
        if here.median > there.median:
            yield (
                f"{name} is slower than {beside} at exit {mine.index} {form}: "
                f"median {here.median:.3f} ms against {there.median:.3f} ms."
            )


def _cascade_notes(variant: VariantBench) -> Iterable[str]:
    losing = []
    for point in variant.cascade:
        # Where nobody leaves early the cascade is the chain, and the chain may cost a little more than one piece.
        limit = 1 if sum(point.exit_counts[:-1]) else _CHAIN
        if point.speedup is not None and point.speedup < limit:
            losing.append(f"{point.point} ({point.speedup:.2f} ×)")
        if point.simulation_agreement < 1:
            yield (
                f"{variant.name}: at {point.point} {1 - point.simulation_agreement:.2%} of the images left at another "
                "exit than their full outputs say."
            )
    if losing and len(variant.exits) > 1:
        yield f"{variant.name}: the cascade does not pay against its last exit alone at {', '.join(losing)}."


def _thread_notes(variant: VariantBench) -> Iterable[str]:
    started, busy = variant.runtime_threads, variant.cpu_per_wall
    if started is not None and started > variant.threads:
        yield f"{variant.name}: {variant.runtime} started {started} threads where {variant.threads} were asked for."
    if busy is not None and busy > variant.threads + _BUSY:
        yield f"{variant.name}: inference kept {busy:.1f} cores busy where {variant.threads} threads were asked for."
    if busy is not None and busy < 1 - _BUSY:
        yield (
            f"{variant.name}: the process had a core for only {busy:.0%} of the time, the machine is busy with "
            "something else: times contain waiting; ratios within this run hold better than the times."
        )
    elif busy is not None and variant.threads > 1 and busy < 1 + _BUSY:
        yield (
            f"{variant.name}: {variant.threads} threads were asked for, and inference kept only {busy:.1f} cores busy: "
            "the network is too small to be shared, or the other cores are taken."
        )


def _device_notes(variant: VariantBench) -> Iterable[str]:
    agreement, sustained = variant.agreement, variant.sustained
    if agreement is not None and agreement.top1_agreement < 1:
        yield (
            f"{variant.name}: the device names another class than this machine ({agreement.runtime}) for "
            f"{1 - agreement.top1_agreement:.2%} of images and exits."
        )
    for paced in variant.paced:
        if paced.missed:
            yield (
                f"{variant.name}: {paced.contender} missed {paced.missed} of "
                f"{paced.missed + paced.total.count} frames at {paced.fps:g} frames a second."
            )
    if sustained is not None and len(sustained.minutes) > 1:
        first, last = sustained.minutes[0], sustained.minutes[-1]
        slow = [b.minute for a, b in pairwise(sustained.minutes) if b.total.median > _SLOWER * a.total.median]
        yield (
            f"{variant.name}: {sustained.contender} took {first.total.median:.3f} ms (median) in minute {first.minute}"
            f", {last.total.median:.3f} ms in minute {last.minute}"
            f"{f'; it slowed down in minute {slow[0]}' if slow else ''}."
        )
