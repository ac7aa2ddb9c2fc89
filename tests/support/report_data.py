"""Made-up results for the tests of the report. No figure in here was measured."""

import base64
import hashlib
import io
import random
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image
from support.report_manifest import CLASSES, POINTS, VARIANTS, manifest

from msd_edge.benchmarks.results import (
    CascadeBench,
    Device,
    Example,
    ExitBench,
    GoldenCheck,
    ReliabilityBin,
    Results,
    SegmentBench,
    Timing,
    VariantBench,
)
from msd_edge.bundle.manifest import Manifest

__all__ = ["manifest"]

SPEEDS = {
    ("tflite", "int8"): 1.0,
    ("tflite", "float32"): 3.8,
    ("onnx", "int8"): 1.12,
    ("onnx", "float32"): 3.5,
    ("tflite", "float16"): 3.7,
}
SHARES = {3: ((0.41, 0.33, 0.26), (0.61, 0.24, 0.15), (0.78, 0.17, 0.05), (0.93, 0.07, 0.0))}
ACCURACY = (0.862, 0.898, 0.911)


def timing(median: float, spread: float = 1.0) -> Timing:
    return Timing(
        count=2000,
        median=median,
        p90=median * (1 + 0.08 * spread),
        p99=median * (1 + 0.31 * spread),
        mean=median * (1 + 0.02 * spread),
        minimum=median * 0.96,
        maximum=median * (1 + 2.4 * spread),
        raw="times/x",
    )


@cache
def png(seed: int, side: int = 32) -> str:
    pick = random.Random(seed)
    image = Image.new("RGB", (side, side), tuple(pick.randrange(40, 200) for _ in range(3)))
    for _ in range(9):
        left, top = pick.randrange(side - 4), pick.randrange(side - 4)
        box = (left, top, left + pick.randrange(3, 14), top + pick.randrange(3, 14))
        image.paste(tuple(pick.randrange(256) for _ in range(3)), box)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def exit_bench(index: int, exits: int, speed: float, drop: float, images: int) -> ExitBench:
    accuracy = (ACCURACY[-1] - (exits - index) * 0.022 if exits != 3 else ACCURACY[index - 1]) - drop
    correct = round(accuracy * images)
    time = speed * (0.24 + 0.93 * index / exits - 0.02)
    bins = []
    for place in range(15):
        low, high = place / 15, (place + 1) / 15
        count = 0 if place < 3 else round(images * (0.004 * place if place < 14 else 0.55))
        middle = (low + high) / 2
        right = min(1.0, max(0.0, middle + 0.06 * ((place * 7) % 5 - 2) / 2))
        bins.append(ReliabilityBin(low=low, high=high, count=count, confidence=middle, accuracy=right))
    return ExitBench(
        index=index,
        correct=correct,
        images=images,
        accuracy=correct / images,
        macs=13_000_000 * index,
        chain_macs=13_500_000 * index,
        chain=timing(time * 1.03),
        alone=timing(time),
        alone_init=2.1 * index,
        alone_first=time * 2,
        alone_bytes=96_000 * index,
        chain_bytes=101_000 * index,
        total=timing(time * 1.03 + 0.02),
        alone_total=timing(time + 0.02),
        ece=0.011 + 0.004 * index,
        reliability=tuple(bins),
    )


def cascade_bench(point: str, place: int, exits: tuple[ExitBench, ...], images: int) -> CascadeBench:
    count = len(exits)
    shares = SHARES[3][place % 4] if count == 3 else tuple(1 / count for _ in range(count))
    counts = [int(share * images) for share in shares]
    counts[0] += images - sum(counts)
    accuracy = exits[-1].accuracy + (0.003, 0.001, -0.007, -0.03)[place % 4]
    correct = round(accuracy * images)
    inference = sum(share * exit_.chain.mean for share, exit_ in zip(shares, exits, strict=True))
    total = inference + 0.022
    return CascadeBench(
        point=point,
        rule="max-softmax",
        thresholds=tuple(0.95 - 0.1 * place for _ in range(count - 1)),
        correct=correct,
        images=images,
        accuracy=correct / images,
        exit_counts=tuple(counts),
        exit_accuracy=tuple(None if n == 0 else max(0.4, 0.97 - 0.16 * i) for i, n in enumerate(counts)),
        preprocess=timing(0.008),
        inference=timing(inference, 3),
        decision=timing(0.014),
        total=timing(total, 3),
        expected_ms=inference * 0.98,
        expected_accuracy=min(1.0, accuracy + 0.004),
        expected_shares=shares,
        mean_macs=21e6,
        simulation_agreement=1.0,
        speedup=(exits[-1].alone_total or exits[-1].chain).mean / timing(total, 3).mean,
    )


def examples(classes: tuple[str, ...], exits: int, points: tuple[str, ...]) -> tuple[Example, ...]:
    found = []
    for place, point in enumerate(points):
        for index in range(exits * 5):
            label = (index * 3) % len(classes)
            wrong = index % 4 == 3
            found.append(
                Example(
                    point=point,
                    index=index + 40 * place,
                    label=label,
                    predicted=(label + 1) % len(classes) if wrong else label,
                    probability=0.62 if wrong else 0.987,
                    exit=index // 5 + 1,
                    png=png(index),
                )
            )
    return tuple(found)


def variant_bench(
    target: Any,
    precision: Any,
    *,
    exits: int = 3,
    points: tuple[str, ...] = POINTS,
    classes: tuple[str, ...] = CLASSES,
    images: int = 2000,
    factor: float = 1.0,
    with_examples: bool = True,
) -> VariantBench:
    speed = SPEEDS[(target, precision)] * factor
    benches = tuple(
        exit_bench(index, exits, speed, 0.002 if precision == "int8" else 0.0, images) for index in range(1, exits + 1)
    )
    return VariantBench(
        target=target,
        precision=precision,
        runtime="litert" if target == "tflite" else "onnxruntime",
        runtime_version="2.3.0" if target == "tflite" else "1.28.0",
        threads=1,
        golden=GoldenCheck(
            images=64,
            max_difference=0 if precision == "int8" else 2.4e-6,
            top1_agreement=1,
            bit_equal=precision == "int8",
        ),
        load=41.0,
        peak_memory=6.4,
        runtime_threads=1,
        cpu_per_wall=0.99,
        segments=tuple(
            SegmentBench(index=i, init=1.9, first=0.7 * speed, warm=timing(speed * 0.33), bytes=96_000)
            for i in range(1, exits + 1)
        ),
        exits=benches,
        cascade=tuple(cascade_bench(point, place, benches, images) for place, point in enumerate(points)),
        examples=examples(classes, exits, points) if with_examples else (),
    )


def results(
    *,
    bundle: str = "resnet20-cifar10",
    manifest_sha256: str = "0" * 64,
    classes: tuple[str, ...] = CLASSES,
    variants: tuple[tuple[str, str], ...] = VARIANTS,
    device: str = "this machine",
    notes: tuple[str, ...] = (),
    **options: Any,
) -> Results:
    return Results(
        created="2026-01-02T03:04:05+00:00",
        bundle=bundle,
        manifest_sha256=manifest_sha256,
        classes=classes,
        data="cifar10 test",
        device=Device(
            kind="cpu",
            name=device,
            processor="AMD EPYC 9R14",
            features=("AVX2", "AVX512F", "AVX512-VNNI", "AVX512-BF16"),
            cores=2,
            memory_mib=7800,
            system="Linux 6.1",
        ),
        versions={"msd-edge": "0.1.0", "numpy": "2.3.1", "ai-edge-litert": "2.3.0", "onnxruntime": "1.28.0"},
        options={"device": "cpu", "threads": 1, "runtime": None, "seconds": 8.0},
        warmup=50,
        variants=tuple(variant_bench(t, p, classes=classes, **options) for t, p in variants),
        notes=notes,
        raw="resnet20-cifar10.raw.json",
    )


def save_results(path: Path, value: Results) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value.model_dump_json(indent=1), encoding="utf-8")
    return path


def save_bundle(folder: Path, value: Manifest) -> str:
    """Write a manifest and return its SHA-256; the files that it names are not there."""
    folder.mkdir(parents=True)
    data = value.model_dump_json(indent=1).encode()
    (folder / "manifest.json").write_bytes(data)
    return hashlib.sha256(data).hexdigest()
