"""Makes the variants of one target, proves them and writes their files into a bundle's folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msd_edge.bundle.manifest import ExitFile, FileEntry, MultiSignatureFile, Precision, SegmentFile, Target, Variant
from msd_edge.bundle.writer import add_file
from msd_edge.converters.base import ConvertedVariant, Converter, Prepared
from msd_edge.converters.prove import ProvenVariant, Prover
from msd_edge.data.dataset import Images
from msd_edge.runtime.session import Array

GOLDEN_IMAGES = 32

Step = Callable[[str], None]


@dataclass(frozen=True)
class MadeVariant:
    """A variant whose files are written.

    Attributes:
        variant: what the manifest says of it.
        golden: what the chain gave for the first ``GOLDEN_IMAGES`` proof images, (images, exits, classes).
    """

    variant: Variant
    golden: Array


def open_converter(target: Target) -> Converter:
    """Return the converter of a target; its libraries are imported here."""
    if target == "tflite":
        from msd_edge.converters.tflite import TfliteConverter

        return TfliteConverter()
    from msd_edge.converters.onnx import OnnxConverter

    return OnnxConverter()


def make_variants(
    prepared: Prepared, precisions: Sequence[Precision], prover: Prover, activations: Images, folder: Path, step: Step
) -> tuple[MadeVariant, ...]:
    """Make, prove and write one target's variants, one after the other.

    Args:
        prepared: the network, converted to the target's float graph.
        precisions: the variants wanted.
        prover: the gates.
        activations: training images that activation ranges come from.
        folder: of the bundle; a variant's files lie below its name.
        step: told one line before each piece of work.

    Raises:
        ExportError, ParityError, AccuracyDropError: a conversion or a gate failed.
    """
    made = []
    for precision in precisions:
        say = prefix(step, f"{prepared.target} {precision}")
        proven = prover.prove(prepared, precision, activations, say)
        made.append(MadeVariant(_write(folder, proven), proven.raw[:GOLDEN_IMAGES]))
    return tuple(made)


def prefix(step: Step, text: str) -> Step:
    """Return a step that says what its lines are about."""
    return lambda more: step(f"{text}: {more}")


def _write(folder: Path, proven: ProvenVariant) -> Variant:
    made = proven.variant
    base = f"{made.target}-{made.precision}"

    def entry(relative: str, data: bytes, operators: dict[str, int]) -> dict[str, Any]:
        path, sha256, size = add_file(folder, f"{base}/{relative}.{made.target}", data)
        return FileEntry(path=path, sha256=sha256, bytes=size, operators=operators).model_dump()

    segments = tuple(
        SegmentFile(
            **entry(f"segment-{k}", file.data, file.operators),
            index=k,
            inputs=file.inputs,
            logits=file.logits,
            features=file.features,
            parity=proven.segment_parity[k - 1],
        )
        for k, file in enumerate(made.segments, 1)
    )
    exits = tuple(
        ExitFile(
            **entry(f"exit-{k}", file.data, file.operators),
            index=k,
            image=file.inputs[0],
            logits=file.logits,
            parity=proven.exit_parity[k - 1],
        )
        for k, file in enumerate(made.exits, 1)
    )
    return Variant(
        target=made.target,
        precision=made.precision,
        segments=segments,
        exits=exits,
        multi_signature=_write_multi(entry, made),
        accuracy=proven.accuracy,
        float_layers=made.float_layers,
    )


def _write_multi(
    entry: Callable[[str, bytes, dict[str, int]], dict[str, Any]], made: ConvertedVariant
) -> MultiSignatureFile | None:
    if made.multi_signature is None:
        return None
    return MultiSignatureFile(
        **entry("multi-signature", made.multi_signature, made.multi_operators), signatures=made.signatures
    )
