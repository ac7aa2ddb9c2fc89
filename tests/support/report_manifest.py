"""Made-up manifests for the tests of the report. No figure in here was measured."""

import hashlib
from typing import Any

from msd_edge.bundle import manifest as m
from msd_edge.data.config import DataConfig

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
VARIANTS = (("tflite", "int8"), ("tflite", "float32"), ("onnx", "int8"), ("onnx", "float32"))
POINTS = ("accurate", "lossless", "balanced", "fast")


def tensor(name: str, shape: tuple[int, ...], quantized: bool, layout: Any = "NHWC") -> m.TensorSpec:
    if not quantized:
        return m.TensorSpec(name=name, shape=shape, layout=layout, dtype="float32")
    return m.TensorSpec(name=name, shape=shape, layout=layout, dtype="int8", scale=0.0235294, zero_point=-128)


def _entry(path: str, extra: int = 0) -> dict[str, Any]:
    census = {"CONV_2D": 7 + extra, "ADD": 3, "PAD": 1, "MEAN": 1, "FULLY_CONNECTED": 1}
    return {"path": path, "sha256": hashlib.sha256(path.encode()).hexdigest(), "bytes": 96_000, "operators": census}


def _variant(target: Any, precision: Any, exits: int, classes: int, points: tuple[str, ...]) -> m.Variant:
    quantized, name = precision == "int8", f"{target}-{precision}"
    parity = m.Parity(
        images=512,
        max_abs=0.41 if quantized else 3.1e-5,
        mean_abs=0.052 if quantized else 2.2e-6,
        logit_range=31.4,
        top1_agreement=0.992 if quantized else 1.0,
    )
    segments = tuple(
        m.SegmentFile(
            **_entry(f"{name}/segment-{i}.bin", i),
            index=i,
            inputs=(
                tensor("image" if i == 1 else "features", (1, 32, 32, 3) if i == 1 else (1, 16, 16, 16), quantized),
            ),
            logits=tensor("logits", (1, classes), quantized, "NC"),
            features=() if i == exits else (tensor("features", (1, 16, 16, 16), quantized),),
            parity=parity,
        )
        for i in range(1, exits + 1)
    )
    alone = tuple(
        m.ExitFile(
            **_entry(f"{name}/exit-{i}.bin", 3 * i),
            index=i,
            image=tensor("image", (1, 32, 32, 3), quantized),
            logits=tensor("logits", (1, classes), quantized, "NC"),
            parity=parity,
        )
        for i in range(1, exits + 1)
    )
    signatures = tuple(f"segment_{i}" for i in range(1, exits + 1))
    multi = m.MultiSignatureFile(**_entry(f"{name}/all.bin"), signatures=signatures) if target == "tflite" else None
    proof = tuple(
        m.ExitAccuracy(exit=i, reference=0.9, exported=0.898, lost=5, gained=3, p_value=0.36)
        for i in range(1, exits + 1)
    )
    accuracy = m.AccuracyProof(images=5000, split_sha256="1" * 64, exits=proof)
    calibration = m.Calibration(
        rule="max-softmax",
        images=5000,
        split_sha256="1" * 64,
        exits=tuple(
            m.ExitCalibration(
                exit=i,
                temperature=1.31,
                nll_before=0.42,
                nll_after=0.36,
                ece_before=0.051,
                ece_after=0.012,
                accuracy=0.9,
            )
            for i in range(1, exits + 1)
        ),
        latency=m.LatencySource(device="this machine", threads=1, runtime="litert", segment_ms=(0.3,) * exits),
        points=tuple(
            m.OperatingPoint(
                name=point,
                thresholds=(0.9,) * (exits - 1),
                accuracy=0.91,
                expected_ms=0.6,
                expected_macs=2e7,
                exit_shares=(1 / exits,) * exits,
            )
            for point in points
        ),
    )
    return m.Variant(
        target=target,
        precision=precision,
        segments=segments,
        exits=alone,
        multi_signature=multi,
        accuracy=accuracy,
        float_layers=("stage3.0.conv2",) if quantized else (),
        calibration=calibration,
    )


def manifest(
    *,
    name: str = "resnet20-cifar10",
    classes: tuple[str, ...] = CLASSES,
    variants: tuple[tuple[str, str], ...] = VARIANTS,
    exits: int = 3,
    points: tuple[str, ...] = POINTS,
) -> m.Manifest:
    parts = tuple(_variant(t, p, exits, len(classes), points) for t, p in variants)
    outputs = tuple(
        m.GoldenOutputs(variant=part.name, path=f"golden/{part.name}.bin", sha256="2" * 64, dtype="float32")
        for part in parts
    )
    return m.Manifest(
        name=name,
        created="2026-01-02T02:00:00+00:00",
        versions={"torch": "2.14.1"},
        source=m.Source(
            run="resnet20-cifar10",
            arch="resnet20",
            method="msd",
            data=DataConfig(source="cifar10"),
            train_sha256="5" * 64,
            calibration_sha256="6" * 64,
            test_sha256="7" * 64,
            weights_sha256="3" * 64,
            activation_images=512,
            activation_sha256="4" * 64,
        ),
        classes=classes,
        input=m.InputSpec(height=32, width=32, channels=3, mean=(121.0,), std=(64.0,)),
        exits=tuple(
            m.ExitInfo(
                index=i, place=f"stage {i}", macs=13_000_000 * i, chain_macs=13_500_000 * i, parameters=90_000 * i
            )
            for i in range(1, exits + 1)
        ),
        variants=parts,
        golden=m.Golden(images=4, path="golden/images.bin", sha256="5" * 64, labels=(0, 1, 2, 3), outputs=outputs),
    )
