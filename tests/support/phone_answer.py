"""A whole answer of the demo app, by the stand-in that plays it, for tests and fuzzers."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from support.bundles import make_bundle
from support.stand_in_app import measure

from msd_edge.benchmarks.devices.protocol import Configuration, GoldenLimits, ImageFile
from msd_edge.benchmarks.job import Job
from msd_edge.bundle.manifest import Calibration, Variant
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.data.dataset import Dataset


@dataclass(frozen=True)
class PhoneAnswer:
    """What was asked, of which bundle, and what came: ``value`` is result.json."""

    bundle: Bundle
    job: Job
    value: dict[str, Any]
    golden: bytes
    logits: bytes

    @property
    def variant(self) -> Variant:
        """The variant that was measured."""
        return self.bundle.variant(self.job.variant)

    @property
    def calibration(self) -> Calibration:
        """Its calibration."""
        assert self.variant.calibration is not None
        return self.variant.calibration


def make_answer(folder: Path, data: Dataset) -> PhoneAnswer:
    """Measure a tiny bundle on all test images, in the app's place."""
    count = len(data.test)
    images = data.test.read(np.arange(count))
    bundle = read_bundle(make_bundle(folder / "b", variants=("tflite-int8",)))
    (folder / "bench").mkdir()
    (folder / "bench/images.u8").write_bytes(images.tobytes())
    asked = Configuration(
        nonce="n",
        bundle="b",
        manifest_sha256=bundle.manifest_sha256,
        variant="tflite-int8",
        runtime=None,
        delegate="cpu",
        threads=1,
        images=(ImageFile(path="bench/images.u8", sha256=hashlib.sha256(images.tobytes()).hexdigest(), count=count),),
        points=("lossless", "fast"),
        golden=GoldenLimits(steps=4, range_share=0.001),
        warmup=1,
        block=8,
        seconds=0,
        paced=None,
        sustain=None,
        result="bench/result.json",
    )
    value = measure(folder, asked, lambda: None, "")
    job = Job(
        bundle=str(bundle.path),
        manifest_sha256=bundle.manifest_sha256,
        variant="tflite-int8",
        runtime=None,
        threads=1,
        images="none",
        labels=tuple(int(label) for label in data.test.labels),
        seconds=0,
        warmup=1,
        block=8,
        report="none",
    )
    golden, logits = ((folder / f"bench/{name}.bin").read_bytes() for name in ("golden", "logits"))
    return PhoneAnswer(bundle, job, value, golden, logits)
