"""Tiny bundles with real files, made in milliseconds without torch: for tests of all that reads or runs one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support import tinynet
from support.onnx_files import onnx_piece
from support.tflite_files import Model, Quant, Ranges, add_piece
from support.tinynet import FEATURES, HEIGHT, MEAN, STD, WIDTH, Piece, Step

from msd_edge.bundle.golden import write_golden
from msd_edge.bundle.manifest import (
    AccuracyProof,
    Calibration,
    ExitAccuracy,
    ExitCalibration,
    ExitInfo,
    InputSpec,
    LatencySource,
    Manifest,
    MultiSignatureFile,
    OperatingPoint,
    Parity,
    SegmentFile,
    Source,
    TensorSpec,
    Variant,
)
from msd_edge.bundle.reader import read_bundle
from msd_edge.bundle.writer import add_file, replace_calibration, write_manifest
from msd_edge.data.config import DataConfig
from msd_edge.runtime.open import open_session
from msd_edge.runtime.preprocess import to_tensor

ALL = ("tflite-float32", "tflite-int8", "onnx-float32", "onnx-int8")
IMAGES = 16
NOTHING = "0" * 64
INPUT = Quant(1 / STD, int(MEAN) - 128)  # int8 input: the raw pixel minus 128, see the manifest


def make_bundle(
    folder: Path,
    *,
    variants: Sequence[str] = ("onnx-float32",),
    exits: int = 3,
    classes: int = 4,
    channels: int = 3,
    calibrated: bool = True,
    reverse: bool = False,
    name: str = "tiny",
    calibration_sha256: str = NOTHING,
    test_sha256: str = NOTHING,
) -> Path:
    """Write a bundle of ``variants`` (of ``ALL``) into ``folder`` and return it.

    The images are 8x12. Golden samples are 16 images with what the files give for them on this machine. Calibrated:
    points ``lossless`` (nobody leaves early) and ``fast`` (half of those still there leave at each exit). ``reverse``:
    files list their outputs in the other order. TFLite variants have a multi-signature file of their segments.
    The hashes name the splits it claims to come from.
    """
    pieces = tinynet.make_pieces(exits, classes, channels)
    images = tinynet.make_images(IMAGES, channels)
    steps = tinynet.run(pieces, tinynet.make_images(200, channels, seed=2))
    made = [_variant(folder, label, pieces, steps, reverse) for label in variants]
    outputs = {variant.name: _run(folder, variant, images) for variant in made}
    truth = tinynet.run(pieces, images)[-1].logits.argmax(axis=1)
    if calibrated:
        made = [v.model_copy(update={"calibration": _calibrate(v, outputs[v.name], truth)}) for v in made]
    manifest = Manifest(
        name=name,
        created="2026-01-01T00:00:00+00:00",
        versions={"numpy": np.__version__},
        source=Source(
            run="none",
            arch="tiny",
            method="joint",
            data=DataConfig(),
            train_sha256=NOTHING,
            calibration_sha256=calibration_sha256,
            test_sha256=test_sha256,
            weights_sha256=NOTHING,
            activation_images=200,
        ),
        classes=tuple(f"class {letter}" for letter in "abcdefghijklmnopqrstuvwxyz"[:classes]),
        input=InputSpec(height=HEIGHT, width=WIDTH, channels=channels, mean=(MEAN,), std=(STD,)),
        exits=tuple(
            ExitInfo(index=k, place=f"piece {k}", macs=1000 * k, chain_macs=1100 * k, parameters=50 * k)
            for k in range(1, exits + 1)
        ),
        variants=tuple(made),
        golden=write_golden(folder, images, truth.tolist(), outputs),
    )
    write_manifest(folder, manifest)
    return folder


def reference_logits(images: NDArray[np.uint8], exits: int = 3, classes: int = 4) -> NDArray[np.float32]:
    """Return what the network behind ``make_bundle`` gives in numpy, (images, exits, classes)."""
    pieces = tinynet.make_pieces(exits, classes, images.shape[3])
    return np.stack([step.logits for step in tinynet.run(pieces, images)], axis=1)


def golden_images(channels: int = 3) -> NDArray[np.uint8]:
    """Return the images of the golden samples, (16, 8, 12, channels)."""
    return tinynet.make_images(IMAGES, channels)


def ranges_of(index: int, steps: Sequence[Step]) -> Ranges:
    """Return min-max quantization of piece ``index`` (1-based), its input's equal to the features before it."""
    top = max(float(np.abs(steps[index - 1].logits).max()), 1e-3)
    taken = INPUT if index == 1 else _features(steps[index - 2])
    return Ranges(taken, _features(steps[index - 1]), Quant(2 * top / 255, 0))


def _features(step: Step) -> Quant:
    return Quant(float(step.features.max()) / 255, -128)


def _variant(folder: Path, label: str, pieces: tuple[Piece, ...], steps: Sequence[Step], reverse: bool) -> Variant:
    target, precision = label.split("-")
    segments = []
    for index, piece in enumerate(pieces, 1):
        ranges = ranges_of(index, steps) if precision == "int8" else None
        last = index == len(pieces)
        if target == "tflite":
            model = Model()
            add_piece(model, piece, index, ranges=ranges, last=last, reverse=reverse)
            data = model.data()
        else:
            data = onnx_piece(piece, index, ranges=ranges, last=last, reverse=reverse)
        path, sha256, size = add_file(folder, f"{label}/segment-{index}.{target}", data)
        specs = _specs(target, index, piece, ranges)
        segments.append(
            SegmentFile(
                path=path,
                sha256=sha256,
                bytes=size,
                operators={"CONV_2D": 1, "MEAN": 1, "FULLY_CONNECTED": 1},
                index=index,
                inputs=(specs[0],),
                logits=specs[1],
                features=() if last else (specs[2],),
                parity=_parity(),
            )
        )
    multi = None
    if target == "tflite":
        model = Model()
        for index, piece in enumerate(pieces, 1):
            ranges = ranges_of(index, steps) if precision == "int8" else None
            last = index == len(pieces)
            add_piece(model, piece, index, ranges=ranges, last=last, signature=f"segment_{index}")
        path, sha256, size = add_file(folder, f"{label}/all.tflite", model.data())
        multi = MultiSignatureFile(
            path=path,
            sha256=sha256,
            bytes=size,
            operators={},
            signatures=tuple(f"segment_{index}" for index in range(1, len(pieces) + 1)),
        )
    accuracies = tuple(
        ExitAccuracy(exit=k, reference=1, exported=1, lost=0, gained=0, p_value=1) for k in range(1, len(pieces) + 1)
    )
    return Variant.model_validate(
        {
            "target": target,
            "precision": precision,
            "segments": segments,
            "multi_signature": multi,
            "accuracy": AccuracyProof(images=1, split_sha256=NOTHING, exits=accuracies),
        }
    )


def _specs(target: str, index: int, piece: Piece, ranges: Ranges | None) -> tuple[TensorSpec, TensorSpec, TensorSpec]:
    move = 128 if target == "onnx" else 0
    dtype = "float32" if ranges is None else "uint8" if target == "onnx" else "int8"

    def spec(name: str, shape: tuple[int, ...], layout: str, quant: Quant | None) -> TensorSpec:
        values: dict[str, Any] = {"name": name, "shape": shape, "layout": layout, "dtype": dtype}
        if quant is not None:
            values |= {"scale": float(np.float32(quant.scale)), "zero_point": quant.zero_point + move}
        return TensorSpec.model_validate(values)

    def image(rows: int, columns: int, channels: int) -> tuple[tuple[int, ...], str]:
        if target == "onnx":
            return (1, channels, rows, columns), "NCHW"
        return (1, rows, columns, channels), "NHWC"

    taken, features, logits = (None, None, None) if ranges is None else (ranges.taken, ranges.features, ranges.logits)
    rows, columns = HEIGHT - index + 1, WIDTH - index + 1
    given = "features" if target == "tflite" or index == 1 else "handed"
    return (
        spec("image" if index == 1 else "features", *image(rows, columns, piece.kernel.shape[3]), taken),
        spec("logits", (1, len(piece.head)), "NC", logits),
        spec(given, *image(rows - 1, columns - 1, FEATURES), features),
    )


def _run(folder: Path, variant: Variant, images: NDArray[np.uint8]) -> NDArray[Any]:
    sessions = [open_session((folder / s.path).read_bytes(), variant.target) for s in variant.segments]
    found = []
    for image in images:
        value, row = to_tensor(image, variant.segments[0].inputs[0]), []
        for segment, session in zip(variant.segments, sessions, strict=True):
            outputs = session.run({segment.inputs[0].name: value})
            row.append(outputs[segment.logits.name][0].copy())
            if segment.features:
                value = outputs[segment.features[0].name]
        found.append(row)
    return np.array(found)


def _calibrate(variant: Variant, outputs: NDArray[Any], truth: NDArray[np.int64]) -> Calibration:
    logits = np.stack(
        [
            outputs[:, k].astype(np.float32)
            if segment.logits.scale is None
            else (outputs[:, k].astype(np.float32) - np.float32(segment.logits.zero_point or 0))
            * np.float32(segment.logits.scale)
            for k, segment in enumerate(variant.segments)
        ],
        axis=1,
    )
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    confidence = (weights / weights.sum(axis=2, keepdims=True)).max(axis=2)
    exits = logits.shape[1]
    accuracy = [float((logits[:, k].argmax(axis=1) == truth).mean()) for k in range(exits)]

    def point(name: str, thresholds: Sequence[float], shares: Sequence[float]) -> OperatingPoint:
        return OperatingPoint(
            name=name,
            thresholds=tuple(float(t) for t in thresholds),
            accuracy=accuracy[-1],
            expected_ms=0.1,
            expected_macs=1000,
            exit_shares=tuple(shares),
        )

    half, shares, left = [], [], np.arange(len(outputs))
    for k in range(exits - 1):
        half.append(float(np.median(confidence[left, k])))
        leaving = confidence[left, k] >= np.float32(half[-1])
        shares.append(float(leaving.sum()) / len(outputs))
        left = left[~leaving]
    return Calibration(
        rule="max-softmax",
        images=len(outputs),
        split_sha256=NOTHING,
        exits=tuple(
            ExitCalibration(
                exit=k + 1, temperature=1, nll_before=1, nll_after=1, ece_before=0, ece_after=0, accuracy=accuracy[k]
            )
            for k in range(exits)
        ),
        latency=LatencySource(device="here", threads=1, runtime="none", segment_ms=(0.01,) * exits),
        points=(
            point("lossless", [2.0] * (exits - 1), [0.0] * (exits - 1) + [1.0]),
            point("fast", half, [*shares, len(left) / len(outputs)]),
        ),
    )


def average_exits(folder: Path) -> Path:
    """Let the exits of a calibrated bundle answer by the mean of all so far, and return it."""
    bundle = read_bundle(folder)
    changed = {}
    for variant in bundle.manifest.variants:
        assert variant.calibration is not None
        exits = [
            part.model_copy(update={"weights": (1 / part.exit,) * part.exit}) for part in variant.calibration.exits
        ]
        changed[variant.name] = variant.calibration.model_copy(update={"rule": "averaged", "exits": tuple(exits)})
    replace_calibration(bundle, changed)
    return folder


def _parity() -> Parity:
    return Parity(images=1, max_abs=0, mean_abs=0, logit_range=1, top1_agreement=1)
