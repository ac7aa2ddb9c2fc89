"""From a run to a bundle: cut, convert, quantize, prove, write."""

import contextlib
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from msd_edge.bundle.golden import write_golden
from msd_edge.bundle.manifest import ExitInfo, InputSpec, Manifest, Precision, Source, Target
from msd_edge.bundle.reader import MANIFEST
from msd_edge.bundle.writer import write_manifest
from msd_edge.converters.beside import Beside, Task, start_beside
from msd_edge.converters.capability import check_capability
from msd_edge.converters.images import choose_activations, choose_proof
from msd_edge.converters.proof import ProofSet
from msd_edge.converters.prove import Prover
from msd_edge.converters.reference import run_network
from msd_edge.converters.variants import GOLDEN_IMAGES, MadeVariant, make_variants, open_converter, prefix
from msd_edge.data.dataset import Images, Labels
from msd_edge.errors import BundleError
from msd_edge.files import new_folder, refuse_existing, sha256_bytes, sha256_file
from msd_edge.models.build import ExitCost, measure_costs
from msd_edge.models.network import MultiExitNetwork
from msd_edge.processors import usable_processors
from msd_edge.segments import keep_exits
from msd_edge.training.config import RunInfo
from msd_edge.training.run import RunFolder, load_network
from msd_edge.training.setup import load_run_data

# A process of its own costs 5 s of imports, on a processor that has nothing to do meanwhile. Where all images take so
# many multiply-accumulates, as those of a ResNet-20 do, the export takes a quarter less time.
_MACS_FOR_A_PROCESS = 20e9
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
    calibration_images: int = 256
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
    weights = sha256_file(RunFolder(run).weights_path)
    work = _Work(run, info, network, measure_costs(network), options, pairs, weights)
    # The other process loads its libraries and the network while this one reads the images.
    with start_beside(work.task("onnx")) if work.takes_two_processes else contextlib.nullcontext() as beside:
        read = _read_images(work, step)
        # The folder is made before the long work, so that a place that cannot be written to is known at once.
        with new_folder(
            options.out,
            overwrite=options.overwrite,
            marker=MANIFEST,
            work="is exporting to this bundle",
            error=BundleError,
        ) as folder:
            made = (
                _make_in_turn(work, read, folder, step)
                if beside is None
                else _make_in_two_processes(work, read, folder, beside, step)
            )
            made.variants.sort(key=lambda one: pairs.index((one.variant.target, one.variant.precision)))
            step("writing the bundle")
            manifest = _write(work, read, folder, made)
    return Exported(options.out, manifest)


@dataclass(frozen=True)
class _Work:
    """What is to be made, and from what."""

    run: Path
    info: RunInfo
    network: MultiExitNetwork
    costs: Sequence[ExitCost]
    options: ExportOptions
    pairs: Sequence[tuple[Target, Precision]]
    weights_sha256: str

    @property
    def takes_two_processes(self) -> bool:
        """Whether it is worth it for as many images as are asked for: how many there are is not known in time."""
        images = self.options.calibration_images + self.options.proof_images
        long = self.costs[-1].chain_macs * images >= _MACS_FOR_A_PROCESS
        return len(self.targets) > 1 and long and usable_processors() > 1

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(dict.fromkeys(target for target, _ in self.pairs))

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        return tuple(precision for other, precision in self.pairs if other == target)

    def prover(self, proof: ProofSet) -> Prover:
        options = self.options
        return Prover(proof, self.info.calibration_sha256, options.max_drop, fallback=options.fallback)

    def task(self, target: Target) -> Task:
        return Task(
            run=str(self.run.resolve()),
            weights_sha256=self.weights_sha256,
            keep_exits=self.options.keep_exits,
            target=target,
            precisions=self.precisions(target),
            split_sha256=self.info.calibration_sha256,
            max_drop=self.options.max_drop,
            fallback=self.options.fallback,
        )


@dataclass(frozen=True)
class _Read:
    """Proof images, their labels, and images for activation ranges."""

    proof: Images
    labels: Labels
    activations: Images


@dataclass(frozen=True)
class _Made:
    """Variants, whose files are written, and what they were proven with."""

    variants: list[MadeVariant]
    proof: ProofSet


def _make_in_turn(work: _Work, read: _Read, folder: Path, step: Step) -> _Made:
    step("running the network on the proof images")
    proof = ProofSet(read.proof, read.labels, run_network(work.network, read.proof))
    made: list[MadeVariant] = []
    for target in work.targets:
        prepared = open_converter(target).prepare(work.network, prefix(step, target))
        made += make_variants(prepared, work.precisions(target), work.prover(proof), read.activations, folder, step)
    return _Made(made, proof)


def _make_in_two_processes(work: _Work, read: _Read, folder: Path, beside: Beside, step: Step) -> _Made:
    """Make TFLite files here, which takes longer, and ONNX files beside, with the reference for both."""
    with beside.work_in(folder, read.proof, read.labels, read.activations) as other, _one_torch_thread():
        here = beside.watched(step)
        prepared = open_converter("tflite").prepare(work.network, prefix(here, "tflite"))
        proof = ProofSet(read.proof, read.labels, other.take_reference(step))
        made = make_variants(prepared, work.precisions("tflite"), work.prover(proof), read.activations, folder, here)
        return _Made([*made, *other.finish(step)], proof)


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Keep torch to one thread: where processors are busy, threads that wait for each other take ten times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _read_images(work: _Work, step: Step) -> _Read:
    step("loading the data")
    dataset = load_run_data(work.info, work.run, work.options.data)
    activations = choose_activations(dataset.train, work.options.calibration_images, work.info.config.data.source)
    return _Read(*choose_proof(dataset.calibration, work.options.proof_images), activations)


def _write(work: _Work, read: _Read, folder: Path, made: _Made) -> Manifest:
    info, options = work.info, work.options
    golden = write_golden(
        folder,
        made.proof.images[:GOLDEN_IMAGES],
        made.proof.labels[:GOLDEN_IMAGES].tolist(),
        {one.variant.name: one.golden for one in made.variants},
    )
    channels, height, width = work.network.image_shape
    data = info.config.data if options.data is None else info.config.data.model_copy(update={"source": options.data})
    manifest = Manifest(
        name=options.out.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
        source=Source(
            run=work.run.resolve().name,
            arch=info.config.network.arch,
            method=info.config.loss.method,
            data=data,
            train_sha256=info.train_sha256,
            calibration_sha256=info.calibration_sha256,
            test_sha256=info.test_sha256,
            weights_sha256=work.weights_sha256,
            activation_images=len(read.activations),
            activation_sha256=sha256_bytes(np.ascontiguousarray(read.activations).tobytes()),
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
            for k, c in enumerate(work.costs, 1)
        ),
        variants=tuple(one.variant for one in made.variants),
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
