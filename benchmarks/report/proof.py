"""What the manifest proves of a bundle, as rows: parity and operators of every file, seams, accuracy at export."""

from collections.abc import Iterator
from dataclasses import dataclass

from msd_edge.benchmarks.report import text
from msd_edge.bundle.manifest import FileEntry, Manifest, Parity, Variant

# Operators that turn numbers into other numbers of the same meaning: in an int8 file they are worth a look.
_CASTS = ("QUANTIZE", "DEQUANTIZE", "CAST", "TRANSPOSE", "QuantizeLinear", "DequantizeLinear", "Cast", "Transpose")


@dataclass(frozen=True)
class FileProof:
    """A file of the bundle. ``what``: the part it plays; ``parity``: None for the file that joins all signatures."""

    variant: str
    what: str
    entry: FileEntry
    parity: Parity | None

    @property
    def operators(self) -> int:
        """How many operators it has."""
        return sum(self.entry.operators.values())

    @property
    def census(self) -> str:
        """Its operators by type, the commonest first: ``CONV_2D 7 · ADD 3``."""
        ordered = sorted(self.entry.operators.items(), key=lambda pair: (-pair[1], pair[0]))
        return " · ".join(f"{name} {number}" for name, number in ordered)

    @property
    def casts(self) -> str:
        """The operators among them that only convert or move numbers, as text; empty when there are none."""
        return text.listed([f"{number} {name}" for name, number in self.entry.operators.items() if name in _CASTS])

    @property
    def relative(self) -> float | None:
        """The largest difference as a share of the reference's range of logits."""
        if self.parity is None or self.parity.logit_range <= 0:
            return None
        return self.parity.max_abs / self.parity.logit_range


@dataclass(frozen=True)
class Seam:
    """A tensor handed from one segment to the next; the manifest is refused unless both sides say the same."""

    variant: str
    between: str
    shape: str
    dtype: str
    scale: float | None
    zero_point: int | None


def files(manifest: Manifest) -> list[FileProof]:
    """Return every file of every variant."""
    return [proof for variant in manifest.variants for proof in _files_of(variant)]


def seams(manifest: Manifest) -> list[Seam]:
    """Return every tensor that one segment hands to the next."""
    return [
        Seam(
            variant.name,
            f"{segment.index} → {segment.index + 1}",
            "×".join(str(side) for side in tensor.shape[1:]) + f" {tensor.layout}",
            tensor.dtype,
            tensor.scale,
            tensor.zero_point,
        )
        for variant in manifest.variants
        for segment in variant.segments
        for tensor in segment.features
    ]


def _files_of(variant: Variant) -> Iterator[FileProof]:
    for segment in variant.segments:
        yield FileProof(variant.name, f"segment {segment.index}", segment, segment.parity)
    for exit_ in variant.exits:
        yield FileProof(variant.name, f"exit {exit_.index} alone", exit_, exit_.parity)
    if variant.multi_signature is not None:
        number = text.plural(len(variant.multi_signature.signatures), "signature")
        yield FileProof(variant.name, f"all in one, {number}", variant.multi_signature, None)
