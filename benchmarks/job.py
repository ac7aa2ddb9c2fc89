"""What a device is asked to measure, and what it answers: both travel as JSON between processes."""

from typing import Annotated

from pydantic import Field

from msd_edge.benchmarks.results import VariantBench
from msd_edge.typed import Model


class Job(Model):
    """One variant to be measured in one fresh process.

    Attributes:
        bundle: the bundle's folder.
        manifest_sha256: the manifest the caller read; another one is refused.
        variant: ``tflite-int8``.
        runtime: its name, None for the one that the runner would take.
        threads: of the runtime.
        images: a ``.npy`` file, (images, H, W, C) uint8.
        labels: (images,).
        seconds: time for measurements that serve latency only; accuracy and the cascade always see all images once.
        warmup: images run through everything before times are kept.
        block: images before the next contender has its turn.
        report: the file to write the answer to.
    """

    bundle: str
    manifest_sha256: str
    variant: str
    runtime: str | None
    threads: Annotated[int, Field(ge=1)]
    images: str
    labels: Annotated[tuple[int, ...], Field(min_length=1)]
    seconds: Annotated[float, Field(ge=0)]
    warmup: Annotated[int, Field(ge=1)]
    block: Annotated[int, Field(ge=1)]
    report: str


class Answers(Model):
    """What the cascade said at one operating point, image by image: exit (1-based), class, its probability."""

    exits: tuple[int, ...]
    predicted: tuple[int, ...]
    probabilities: tuple[float, ...]


class Report(Model):
    """The answer to a job.

    Attributes:
        variant: the figures.
        raw: every time in milliseconds by the name that the figures give it, in the order taken.
        answers: by operating point, for each image the first time it went through.
    """

    variant: VariantBench
    raw: dict[str, tuple[float, ...]]
    answers: dict[str, Answers]


class Step(Model):
    """A line of progress. ``error`` and ``message``: the run has failed on purpose, with an error of that class."""

    done: int = 0
    total: int = 1
    text: str = ""
    error: str | None = None
    message: str = ""
