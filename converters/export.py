"""From a run to a bundle: cut, convert, quantize, prove, write."""

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from msd_edge.bundle.golden import write_golden
from msd_edge.bundle.manifest import (
    ExitFile,
    ExitInfo,
    FileEntry,
    InputSpec,
    Manifest,
    MultiSignatureFile,
    Precision,
    SegmentFile,
    Source,
    Target,
    Variant,
)
from msd_edge.bundle.reader import MANIFEST
from msd_edge.bundle.writer import add_file, write_manifest
from msd_edge.converters.base import ConvertedVariant, Converter
from msd_edge.converters.capability import check_capability
from msd_edge.converters.proof import ProofSet
from msd_edge.converters.prove import ProvenVariant, Prover
from msd_edge.data.batches import Feeder
from msd_edge.data.dataset import Dataset, Images, ImageSet, MemorySet
from msd_edge.data.select import select_images
from msd_edge.errors import BundleError, DataError
from msd_edge.files import new_folder, refuse_existing, sha256_bytes, sha256_file
from msd_edge.models.build import measure_costs
from msd_edge.models.network import MultiExitNetwork
from msd_edge.segments import keep_exits
from msd_edge.training.config import RunInfo
from msd_edge.training.evaluate import collect_logits
from msd_edge.training.run import RunFolder, load_network
from msd_edge.training.setup import load_run_data

_GOLDEN_IMAGES = 32
_FEWEST_ACTIVATIONS = 16
_PACKAGES = ("msd-edge", "torch", "numpy", "ai-edge-litert", "litert-torch", "ai-edge-quantizer", "onnx", "onnxruntime")


@dataclass(frozen=True)
class ExportOptions:
    """What to export.

    Attributes:
        targets, precisions: every pair that the capability table knows becomes a variant.
        out: the bundle's folder.
        overwrite: replace what is there.
        max_drop: points of accuracy that an int8 exit may lose.
        fallback: keep the costliest layers in float instead of failing.
        calibration_images: training images that activation ranges come from.
        proof_images: calibration images that parity and accuracy are measured on.
        data: where the run's data is now, if it has moved.
        keep_exits: the exits to keep (1-based); empty: all.
    """

    targets: tuple[Target, ...]
    precisions: tuple[Precision, ...]
    out: Path
    overwrite: bool = False
    max_drop: float = 0.5
    fallback: bool = False
    calibration_images: int = 512
    proof_images: int = 512
    data: str | None = None
    keep_exits: tuple[int, ...] = ()


@dataclass(frozen=True)
class Exported:
    """A bundle just written."""

    path: Path
    manifest: Manifest


Step = Callable[[str], None]


def plan_variants(options: ExportOptions) -> tuple[tuple[Target, Precision], ...]:
    """Return the variants to make; those that a target does not offer are left out if another target does.

    Raises:
        UnsupportedTarget: a target or a precision cannot be made at all here.
    """
    from msd_edge.converters.capability import offered_precisions

    pairs = [(t, p) for t in options.targets for p in options.precisions if p in offered_precisions(t)]
    for target in options.targets:
        for precision in options.precisions:
            if not any(p == precision for _, p in pairs) or not any(t == target for t, _ in pairs):
                check_capability(target, precision)
    for target, precision in pairs:
        check_capability(target, precision)
    return tuple(pairs)


def export_run(run: Path, options: ExportOptions, step: Step) -> Exported:
    """Export a run; the bundle appears whole, or not at all.

    Args:
        run: the run folder.
        options: what to export.
        step: called with a few words before each piece of work.

    Raises:
        UnsupportedTarget, CheckpointError, DataError, ConfigError: before any long work.
        ExportError, ParityError, AccuracyDropError: a conversion or a gate failed.
    """
    pairs = plan_variants(options)
    refuse_existing(options.out, overwrite=options.overwrite, marker=MANIFEST)
    network = load_network(run)
    if options.keep_exits:
        network = keep_exits(network, options.keep_exits)
    info = RunFolder(run).read_info()
    step("loading the data")
    dataset = load_run_data(info, run, options.data)
    # The folder is made before the long work, so that a place that cannot be written to is known at once.
    with new_folder(
        options.out,
        overwrite=options.overwrite,
        marker=MANIFEST,
        work="is exporting to this bundle",
        error=BundleError,
    ) as folder:
        manifest = _fill(folder, run, info, dataset, network, options, pairs, step)
    return Exported(options.out, manifest)


def _fill(
    folder: Path,
    run: Path,
    info: RunInfo,
    dataset: Dataset,
    network: MultiExitNetwork,
    options: ExportOptions,
    pairs: Sequence[tuple[Target, Precision]],
    step: Step,
) -> Manifest:
    activations = choose_activations(dataset.train, options.calibration_images, info.config.data.source)
    step("running the network on the proof images")
    proof = choose_proof(network, dataset.calibration, options.proof_images)
    prover = Prover(proof, info.calibration_sha256, options.max_drop, fallback=options.fallback)
    proven = []
    for target in dict.fromkeys(t for t, _ in pairs):
        prepared = open_converter(target).prepare(network, _prefix(step, target))
        for precision in (p for t, p in pairs if t == target):
            say = _prefix(step, f"{target} {precision}")
            proven.append(prover.prove(prepared, precision, activations, say))
    step("writing the bundle")
    return _write(folder, run, info, options, network, proven, proof, activations)


def open_converter(target: Target) -> Converter:
    """Return the converter of a target; its libraries are imported here."""
    if target == "tflite":
        from msd_edge.converters.tflite import TfliteConverter

        return TfliteConverter()
    from msd_edge.converters.onnx import OnnxConverter

    return OnnxConverter()


def choose_activations(train: ImageSet, count: int, source: str) -> Images:
    """Choose different training images for activation ranges, with the classes' shares kept.

    Raises:
        DataError: the training split holds too few different images.
    """
    _, distinct = np.unique(np.array(train.hashes), return_index=True)
    distinct.sort()
    if len(distinct) < _FEWEST_ACTIVATIONS:
        raise DataError(
            f"{source}: {len(distinct)} different training images are too few for activation ranges "
            f"(at least {_FEWEST_ACTIVATIONS})."
        )
    chosen = distinct[select_images(train.labels[distinct], count)]
    return train.read(chosen)


def choose_proof(network: MultiExitNetwork, calibration: ImageSet, count: int) -> ProofSet:
    """Choose images of the calibration split, classes' shares kept, and run the float network on them."""
    places = select_images(calibration.labels, count)
    images, labels = calibration.read(places), calibration.labels[places]
    held = MemorySet(images, labels, tuple(calibration.hashes[i] for i in places))
    logits = collect_logits(network, Feeder(held, torch.device("cpu")), len(held))
    return ProofSet(images, labels, logits)


def _prefix(step: Step, text: str) -> Step:
    return lambda more: step(f"{text}: {more}")


def _write(
    folder: Path,
    run: Path,
    info: RunInfo,
    options: ExportOptions,
    network: MultiExitNetwork,
    proven: Sequence[ProvenVariant],
    proof: ProofSet,
    activations: Images,
) -> Manifest:
    variants = tuple(_write_variant(folder, one) for one in proven)
    golden = write_golden(
        folder,
        proof.images[:_GOLDEN_IMAGES],
        proof.labels[:_GOLDEN_IMAGES].tolist(),
        {variant.name: one.raw[:_GOLDEN_IMAGES] for variant, one in zip(variants, proven, strict=True)},
    )
    channels, height, width = network.image_shape
    data = info.config.data if options.data is None else info.config.data.model_copy(update={"source": options.data})
    manifest = Manifest(
        name=options.out.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
        source=Source(
            run=run.resolve().name,
            arch=info.config.network.arch,
            method=info.config.loss.method,
            data=data,
            train_sha256=info.train_sha256,
            calibration_sha256=info.calibration_sha256,
            test_sha256=info.test_sha256,
            weights_sha256=sha256_file(RunFolder(run).weights_path),
            activation_images=len(activations),
            activation_sha256=sha256_bytes(np.ascontiguousarray(activations).tobytes()),
            options={
                "max_drop": options.max_drop,
                "fallback": options.fallback,
                "calibration_images": options.calibration_images,
                "proof_images": options.proof_images,
                "keep_exits": ",".join(map(str, options.keep_exits)) or "all",
            },
        ),
        classes=info.classes,
        input=InputSpec(
            height=height,
            width=width,
            channels=1 if channels == 1 else 3,
            mean=info.config.network.mean,
            std=info.config.network.std,
        ),
        exits=tuple(
            ExitInfo(index=k, place=c.place, macs=c.macs, chain_macs=c.chain_macs, parameters=c.parameters)
            for k, c in enumerate(measure_costs(network), 1)
        ),
        variants=variants,
        golden=golden,
    )
    write_manifest(folder, manifest)
    return manifest


def _write_variant(folder: Path, proven: ProvenVariant) -> Variant:
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


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
