"""Proof that files compute what the network computes: on real images, with the sessions that the runner uses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msd_edge.bundle.manifest import Parity, Precision, Target, TensorSpec
from msd_edge.converters.base import ConvertedFile
from msd_edge.data.dataset import Images, Labels
from msd_edge.errors import ParityError
from msd_edge.runtime.open import open_session
from msd_edge.runtime.preprocess import to_tensor
from msd_edge.runtime.session import Array, Session, dequantize

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class ProofSet:
    """Real images with what the float network in torch says of them.

    Attributes:
        images: (images, H, W, C) uint8.
        labels: (images,) int64.
        reference: logits (images, exits, classes) of the network.
    """

    images: Images
    labels: Labels
    reference: Logits

    def head(self, count: int) -> "ProofSet":
        """Return the first ``count`` images."""
        return ProofSet(self.images[:count], self.labels[:count], self.reference[:count])


@dataclass(frozen=True)
class ParityLimit:
    """How far a precision may be off: shares of the range of the reference logits, and of images classed otherwise."""

    max_abs: float
    mean_abs: float
    disagreement: float


# float32 differs by the order of additions, float16 by the rounding of weights. int8 is judged by its accuracy: here
# only what would be no rounding error at all is refused.
PARITY_LIMITS: dict[Precision, ParityLimit] = {
    "float32": ParityLimit(1e-3, 1e-4, 0.005),
    "float16": ParityLimit(5e-2, 5e-3, 0.02),
    "int8": ParityLimit(1.0, 0.10, 1.0),
}


def open_chain(files: Sequence[ConvertedFile], target: Target, threads: int) -> list[Session]:
    """Open a session for each file of a chain."""
    return [open_session(file.data, target, threads=threads) for file in files]


def run_chain(
    sessions: Sequence[Session], files: Sequence[ConvertedFile], images: Images, on_image: Callable[[], None]
) -> Array:
    """Run a whole chain on images, hand-over untouched.

    Returns:
        Logits as the files give them, (images, exits, classes), not dequantized.
    """
    rows = []
    for image in images:
        given: tuple[Array, ...] = (to_tensor(image, files[0].inputs[0]),)
        row = []
        for session, file in zip(sessions, files, strict=True):
            taken = {spec.name: value for spec, value in zip(file.inputs, given, strict=True)}
            outputs = session.run(taken)
            row.append(outputs[file.logits.name][0].copy())
            given = tuple(outputs[spec.name].copy() for spec in file.features)
        rows.append(np.stack(row))
        on_image()
    return np.stack(rows)


def run_file(session: Session, file: ConvertedFile, images: Images) -> Array:
    """Run a stand-alone exit on images; logits (images, classes) as the file gives them."""
    rows = []
    for image in images:
        outputs = session.run({file.inputs[0].name: to_tensor(image, file.inputs[0])})
        rows.append(outputs[file.logits.name][0].copy())
    return np.stack(rows)


def to_logits(raw: Array, specs: Sequence[TensorSpec]) -> Logits:
    """Dequantize the logits (images, exits, classes) of a chain, each exit by its own scale and zero point."""
    columns = [dequantize(raw[:, k], spec.scale, spec.zero_point) for k, spec in enumerate(specs)]
    return np.stack(columns, axis=1)


def compare(found: Logits, reference: Logits) -> Parity:
    """Compare logits (images, classes) with the network's."""
    difference = np.abs(found - reference)
    return Parity(
        images=len(found),
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        logit_range=float(reference.max() - reference.min()),
        top1_agreement=float((found.argmax(-1) == reference.argmax(-1)).mean()),
    )


def check_parity(parity: Parity, precision: Precision, where: str) -> None:
    """Refuse a file that does not compute what the network computes.

    Raises:
        ParityError: it is further off than its precision explains.
    """
    limit = PARITY_LIMITS[precision]
    scale = max(parity.logit_range, 1e-6)
    largest, mean = parity.max_abs / scale, parity.mean_abs / scale
    if largest > limit.max_abs or mean > limit.mean_abs or 1 - parity.top1_agreement > limit.disagreement:
        raise ParityError(
            f"{where}: its logits are off by {parity.max_abs:.4g} at most and {parity.mean_abs:.4g} on average, of a "
            f"range of {parity.logit_range:.4g}, same class on {100 * parity.top1_agreement:.1f} % of {parity.images} "
            f"images; {precision} does not explain that. Nothing was written; `msd-edge doctor` shows the versions."
        )


def check_types(file: ConvertedFile, precision: Precision, where: str) -> None:
    """Refuse a file whose inputs and outputs are not of the types that were asked for.

    Raises:
        ParityError: a tensor has another type.
    """
    wanted = ("int8", "uint8") if precision == "int8" else ("float32",)
    for spec in (*file.inputs, file.logits, *file.features):
        if spec.dtype not in wanted:
            raise ParityError(
                f"{where}: tensor {spec.name} is {spec.dtype}, {precision} was asked for. Nothing was written."
            )


def check_equal(found: Array, expected: Array, where: str) -> None:
    """Refuse a file that does not give bit for bit what the chain of segments gives (floats: up to rounding).

    Raises:
        ParityError: it differs.
    """
    if found.dtype.kind == "f":
        scale = max(float(np.abs(expected).max()), 1e-6)
        off = float(np.abs(found - expected).max()) / scale
        same = off < 1e-4
    else:
        off = float(np.abs(found.astype(np.int32) - expected.astype(np.int32)).max())
        same = off == 0
    if not same:
        unit = "of the largest logit" if found.dtype.kind == "f" else "steps"
        raise ParityError(
            f"{where}: its logits differ from the chain of segments by {off:.3g} {unit}. Nothing was written."
        )
