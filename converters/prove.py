"""Makes variants and proves them: types, parity, equality of all forms, accuracy; float layers where asked."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from msd_edge.bundle.manifest import AccuracyProof, Parity, Precision
from msd_edge.converters.accuracy import Drop, find_drops, measure_accuracy
from msd_edge.converters.base import ConvertedVariant, Prepared
from msd_edge.converters.proof import (
    ProofSet,
    check_equal,
    check_parity,
    check_types,
    compare,
    open_chain,
    run_chain,
    run_file,
    to_logits,
)
from msd_edge.converters.sensitivity import LayerGain, rank_layers
from msd_edge.data.dataset import Images
from msd_edge.errors import AccuracyDropError, ParityError
from msd_edge.processors import usable_processors
from msd_edge.runtime.open import open_session, open_signatures
from msd_edge.runtime.session import Array

# Stand-alone exits and signatures are equal to the chain by construction; so many images show it.
_EQUAL_IMAGES = 16
# The float chain is slow, and its differences are those of rounding: so many images are enough to see a wrong one.
_FLOAT_IMAGES = 64
_MOST_FLOAT_LAYERS = 16

Step = Callable[[str], None]


@dataclass(frozen=True)
class ProvenVariant:
    """A variant with its proof.

    Attributes:
        variant: its files.
        segment_parity, exit_parity: of every segment in the chain, of every stand-alone exit.
        accuracy: of every exit.
        raw: the chain's logits as the files give them, (images, exits, classes).
        classes: how many different classes each exit has on top of them.
    """

    variant: ConvertedVariant
    segment_parity: tuple[Parity, ...]
    exit_parity: tuple[Parity, ...]
    accuracy: AccuracyProof
    raw: Array
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Prover:
    """Gates that every variant must pass.

    Attributes:
        proof: images of the calibration split with the network's logits.
        split_sha256: names that split.
        max_drop: points that an int8 exit may lose.
        fallback: keep layers in float until it does not lose more.
    """

    proof: ProofSet
    split_sha256: str
    max_drop: float
    fallback: bool

    def prove(self, prepared: Prepared, precision: Precision, activations: Images, step: Step) -> ProvenVariant:
        """Make one variant and prove it.

        Raises:
            ParityError: a file does not compute what the network computes.
            AccuracyDropError: an exit lost more than allowed, and no fallback was asked for or none helped.
        """
        step("converting")
        proven = self._measure(prepared.variant(precision, activations, step=step), step)
        # What int8 breaks is told by the accuracy it costs and the layer that costs it; floats must simply be equal.
        drops = find_drops(proven.accuracy, self.max_drop) if precision == "int8" else ()
        if not drops:
            return _accept(proven)
        step("looking for the layers that cost most")
        ranking = rank_layers(prepared, activations, self.proof, [drop.exit for drop in drops], step)
        where = f"{prepared.target}-{precision}"
        if not self.fallback:
            raise AccuracyDropError(_describe_drop(where, drops, ranking, self.max_drop))
        count = 1
        while count <= min(_MOST_FLOAT_LAYERS, len(ranking)):
            kept = frozenset(gain.layer for gain in ranking[:count])
            step(f"{count} layers in float")
            proven = self._measure(prepared.variant(precision, activations, kept, step=step), step)
            drops = find_drops(proven.accuracy, self.max_drop)
            if not drops:
                return _accept(proven)
            count *= 2
        raise AccuracyDropError(_describe_drop(where, drops, ranking, self.max_drop, tried=count // 2, fallback=True))

    def _measure(self, variant: ConvertedVariant, step: Step) -> ProvenVariant:
        precision = variant.precision
        where = f"{variant.target}-{precision}"
        for k, file in enumerate(variant.segments, 1):
            check_types(file, precision, f"{where}: segment {k}")
        proof = self.proof if precision == "int8" else self.proof.head(_FLOAT_IMAGES)
        raw = self._run(variant, proof, step)
        found = to_logits(raw, [file.logits for file in variant.segments])
        segment_parity = tuple(compare(found[:, k], proof.reference[:, k]) for k in range(found.shape[1]))
        step("comparing stand-alone exits and signatures with the chain")
        exit_parity = self._check_exits(variant, raw, proof)
        _check_signatures(variant, raw, proof)
        accuracy = measure_accuracy(found, proof, self.split_sha256)
        classes = tuple(len(np.unique(found[:, k].argmax(-1))) for k in range(found.shape[1]))
        return ProvenVariant(variant, segment_parity, exit_parity, accuracy, raw, classes)

    def _run(self, variant: ConvertedVariant, proof: ProofSet, step: Step) -> Array:
        """Run the chain on all images: one thread a session, as the runner has it, a chain of them a processor."""
        done = itertools.count(1)

        def on_image() -> None:
            number = next(done)
            if number % 50 == 0:
                step(f"proving on image {number} of {len(proof.images)}")

        def run(images: Images) -> Array:
            sessions = open_chain(variant.segments, variant.target, 1)
            return run_chain(sessions, variant.segments, images, on_image)

        parts = [part for part in np.array_split(proof.images, usable_processors()) if len(part)]
        with ThreadPoolExecutor(len(parts)) as pool:
            return np.concatenate(list(pool.map(run, parts)))

    def _check_exits(self, variant: ConvertedVariant, raw: Array, proof: ProofSet) -> tuple[Parity, ...]:
        few = proof.head(_EQUAL_IMAGES)
        result = []
        for k, file in enumerate(variant.exits):
            session = open_session(file.data, variant.target, threads=1)
            alone = run_file(session, file, few.images)
            check_equal(alone, raw[: len(alone), k], f"{variant.target}-{variant.precision}: stand-alone exit {k + 1}")
            logits = to_logits(alone[:, None], [file.logits])[:, 0]
            result.append(compare(logits, few.reference[:, k]))
        return tuple(result)


def _accept(proven: ProvenVariant) -> ProvenVariant:
    variant = proven.variant
    where = f"{variant.target}-{variant.precision}"
    for k, parity in enumerate(proven.segment_parity, 1):
        check_parity(parity, variant.precision, f"{where}: segment {k}")
        if proven.classes[k - 1] == 1 and parity.top1_agreement < 1:
            raise ParityError(f"{where}: exit {k} gives the same class for every image, the network does not.")
    return proven


def _check_signatures(variant: ConvertedVariant, raw: Array, proof: ProofSet) -> None:
    """Run every signature of the multi-signature file: the segments as a chain, the exits alone."""
    data = variant.multi_signature
    if data is None:
        return
    few = proof.head(_EQUAL_IMAGES).images
    where = f"{variant.target}-{variant.precision}: multi-signature file"
    sessions = open_signatures(data, variant.signatures)
    chain, alone = sessions[: len(variant.segments)], sessions[len(variant.segments) :]
    check_equal(run_chain(chain, variant.segments, few, lambda: None), raw[: len(few)], f"{where}, segments")
    for k, (session, file) in enumerate(zip(alone, variant.exits, strict=True), 1):
        check_equal(run_file(session, file, few), raw[: len(few), k - 1], f"{where}, exit_{k}")


def _describe_drop(
    where: str,
    drops: tuple[Drop, ...],
    ranking: tuple[LayerGain, ...],
    limit: float,
    *,
    tried: int = 0,
    fallback: bool = False,
) -> str:
    lost = ", ".join(f"exit {drop.exit} drops {drop.points:.2f} points" for drop in drops)
    text = f"{where}: {lost} in int8 (limit {limit:g})"
    if ranking:
        first = ranking[0]
        text += f"; the costliest layer is {first.layer} ({100 * first.share:.0f} % of the error)"
    if tried:
        text += f"; keeping {tried} layers in float did not mend it"
    worst = max(drop.points for drop in drops)
    ways = ["msd-edge train --resume RUN --qat-epochs 3", f"--max-drop {worst + 0.05:.1f} to accept it"]
    if not fallback:
        ways.insert(0, "--fallback to keep the costliest layers in float")
    return f"{text}. Try {', '.join(ways[:-1])}, or {ways[-1]}."
