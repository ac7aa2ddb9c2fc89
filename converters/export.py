"""From a run to a bundle: cut, convert, quantize, prove, write."""

import contextlib
import copy
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from msd_edge.bundle.golden import write_golden
from msd_edge.bundle.manifest import ExitInfo, InputSpec, Manifest, Precision, Source, Target
from msd_edge.bundle.reader import MANIFEST
from msd_edge.bundle.writer import write_manifest
from msd_edge.converters.beside import Task, start_beside
from msd_edge.converters.capability import check_capability
from msd_edge.converters.proof import ProofSet
from msd_edge.converters.prove import Prover
from msd_edge.converters.variants import GOLDEN_IMAGES, MadeVariant, make_variants, open_converter, prefix
from msd_edge.data.batches import Feeder
from msd_edge.data.dataset import Dataset, Images, ImageSet, MemorySet
from msd_edge.data.select import select_images
from msd_edge.errors import BundleError, DataError
from msd_edge.files import new_folder, refuse_existing, sha256_bytes, sha256_file
from msd_edge.models.build import ExitCost, measure_costs
from msd_edge.models.network import MultiExitNetwork
from msd_edge.processors import usable_processors
from msd_edge.segments import keep_exits
from msd_edge.training.config import RunInfo
from msd_edge.training.evaluate import collect_logits
from msd_edge.training.run import RunFolder, load_network
from msd_edge.training.setup import load_run_data

_FEWEST_ACTIVATIONS = 16
# A process of its own costs 4 s of imports; so many multiply-accumulates over all images take some 10 s.
_MACS_FOR_A_PROCESS = 200e9
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
    weights = sha256_file(RunFolder(run).weights_path)
    wanted = {target: tuple(p for t, p in pairs if t == target) for target, _ in pairs}
    first, *others = wanted
    costs = measure_costs(network)
    with contextlib.ExitStack() as stack:
        tasks = [
            Task(
                run=str(run.resolve()),
                weights_sha256=weights,
                keep_exits=options.keep_exits,
                target=target,
                precisions=wanted[target],
                folder=str(folder.resolve()),
                split_sha256=info.calibration_sha256,
                max_drop=options.max_drop,
                fallback=options.fallback,
            )
            for target in others
            if _is_worth_a_process(costs, options)
        ]
        helpers = [stack.enter_context(start_beside(task)) for task in tasks]
        step("running the network on the proof images")
        proof = choose_proof(network, dataset.calibration, options.proof_images)
        for helper in helpers:
            helper.give_images(proof, activations)
        prover = Prover(proof, info.calibration_sha256, options.max_drop, fallback=options.fallback)
        made: list[MadeVariant] = []
        for target in (first,) if helpers else wanted:
            prepared = open_converter(target).prepare(network, prefix(step, target))
            made += make_variants(prepared, wanted[target], prover, activations, folder, step)
        for helper in helpers:
            made += helper.finish(step)
    step("writing the bundle")
    return _write(folder, run, info, options, network, costs, made, proof, activations, weights)


def _is_worth_a_process(costs: Sequence[ExitCost], options: ExportOptions) -> bool:
    images = options.calibration_images + options.proof_images
    return usable_processors() > 1 and costs[-1].chain_macs * images >= _MACS_FOR_A_PROCESS


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
    # In the images' own layout: a tenth less time on AVX2.
    same = copy.deepcopy(network).to(memory_format=torch.channels_last)
    logits = collect_logits(same, Feeder(held, torch.device("cpu")), len(held))
    return ProofSet(images, labels, logits)


def _write(
    folder: Path,
    run: Path,
    info: RunInfo,
    options: ExportOptions,
    network: MultiExitNetwork,
    costs: Sequence[ExitCost],
    made: Sequence[MadeVariant],
    proof: ProofSet,
    activations: Images,
    weights_sha256: str,
) -> Manifest:
    golden = write_golden(
        folder,
        proof.images[:GOLDEN_IMAGES],
        proof.labels[:GOLDEN_IMAGES].tolist(),
        {one.variant.name: one.golden for one in made},
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
            weights_sha256=weights_sha256,
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
            for k, c in enumerate(costs, 1)
        ),
        variants=tuple(one.variant for one in made),
        golden=golden,
    )
    write_manifest(folder, manifest)
    return manifest


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
