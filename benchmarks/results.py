"""Results of a bench: one schema for every device, so that calibrate and report read them all alike.

Times are milliseconds, sizes bytes, memory MiB.
"""

from typing import Annotated, Literal

from pydantic import Field

from msd_edge.bundle.manifest import Precision, RuleName, Sha256, Share, Target
from msd_edge.typed import Model

SCHEMA_VERSION = 1

Ms = Annotated[float, Field(ge=0)]


class Timing(Model):
    """A distribution of times in milliseconds; nothing is clipped. ``raw`` names the list in the raw-timings file."""

    count: Annotated[int, Field(ge=1)]
    median: Ms
    p90: Ms
    p99: Ms
    mean: Ms
    minimum: Ms
    maximum: Ms
    raw: str | None = None


class SegmentBench(Model):
    """A segment alone. ``init``: read, verify, load the file; ``first``: the first invocation; ``warm``: later ones."""

    index: int
    init: Ms
    first: Ms
    warm: Timing
    bytes: int


class ReliabilityBin(Model):
    """Images whose calibrated top probability fell into [low, high)."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class ExitBench(Model):
    """One exit when every image leaves there.

    ``chain``: inference time of segments 1..k as the cascade runs them; ``alone``: the stand-alone file, None if none.
    ``total`` and ``alone_total``: the same with pre-processing and decision, as the cascade's ``total`` has them.
    """

    index: int
    correct: int
    images: int
    accuracy: Share
    macs: int
    chain_macs: int
    chain: Timing
    alone: Timing | None = None
    alone_init: Ms | None = None
    alone_first: Ms | None = None
    alone_bytes: int | None = None
    chain_bytes: int
    total: Timing | None = None
    alone_total: Timing | None = None
    ece: float
    reliability: tuple[ReliabilityBin, ...]


class CascadeBench(Model):
    """The cascade at one operating point on real test images, really stopping early.

    Per image: ``preprocess`` (raw uint8 image to the input tensor), ``inference`` (the segments invoked), ``decision``
    (dequantize, softmax, compare), ``total`` (all of it). ``expected_*`` is what calibration expected, on
    ``expected_images`` images.
    ``simulation_agreement``: share of images that left where the full outputs say they should.
    ``speedup``: how many times as long the last exit takes by wall clock, median over blocks of images that both went
    through in turns; the last exit in its faster form (its stand-alone file, or the chain that never leaves early).
    """

    point: str
    rule: RuleName
    thresholds: tuple[float, ...]
    correct: int
    images: int
    accuracy: Share
    exit_counts: tuple[int, ...]
    exit_accuracy: tuple[Share | None, ...]
    preprocess: Timing
    inference: Timing
    decision: Timing
    total: Timing
    expected_ms: Ms
    expected_accuracy: Share
    expected_images: Annotated[int, Field(ge=1)] | None = None
    expected_shares: tuple[Share, ...]
    mean_macs: float
    simulation_agreement: Share
    speedup: Annotated[float, Field(gt=0)] | None = None


class GoldenCheck(Model):
    """Comparison with the golden samples before any figure is reported; in steps for integers, in logits for floats."""

    images: int
    max_difference: float
    top1_agreement: Share
    bit_equal: bool


class Example(Model):
    """A test image with the exit it took at ``point``. ``png``: base64."""

    point: str
    index: int
    label: int
    predicted: int
    probability: float
    exit: int
    png: str


class HostAgreement(Model):
    """A device's logits of every exit beside this machine's on the same test images.

    ``max_difference``: in steps for integers, in logits for floats. ``top1_agreement``: the share of images and exits
    with the same class on top. ``runtime``: the one here.
    """

    images: Annotated[int, Field(ge=1)]
    max_difference: Annotated[float, Field(ge=0)]
    top1_agreement: Share
    bit_equal: bool
    runtime: str


class PacedBench(Model):
    """Images at a given frame rate. ``missed``: frames that became due while the one before still ran."""

    contender: str
    fps: Annotated[float, Field(gt=0)]
    missed: Annotated[int, Field(ge=0)]
    total: Timing


class SustainedMinute(Model):
    """A minute of a sustained run. ``thermal``: Android's status at its end, 0 none … 6 shutdown; None if unknown."""

    minute: Annotated[int, Field(ge=1)]
    thermal: Annotated[int, Field(ge=0, le=6)] | None = None
    total: Timing


class SustainedBench(Model):
    """The same images again and again for minutes: what heat does to the times."""

    contender: str
    minutes: Annotated[tuple[SustainedMinute, ...], Field(min_length=1)]


class VariantBench(Model):
    """All measurements of one variant in one fresh process.

    ``load``: import of the runtime, then reading, verifying and loading all segments of the chain. ``peak_memory``: by
    how much the process's peak of resident memory grew from just before the chain was loaded to after images had run
    through all of it, MiB. ``runtime_threads``: threads of the operating system that one session has, the calling
    one included; ``cpu_per_wall``: processor seconds per second while inference ran. ``delegate``: what computes in an
    app, ``cpu`` or ``gpu``. ``agreement``, ``paced`` and ``sustained`` come from devices that were asked for them.
    """

    target: Target
    precision: Precision
    runtime: str
    runtime_version: str
    threads: int
    golden: GoldenCheck
    load: Ms
    peak_memory: float
    runtime_threads: Annotated[int, Field(ge=1)] | None = None
    cpu_per_wall: Annotated[float, Field(ge=0)] | None = None
    segments: tuple[SegmentBench, ...]
    exits: tuple[ExitBench, ...]
    cascade: tuple[CascadeBench, ...]
    examples: tuple[Example, ...] = ()
    delegate: str | None = None
    agreement: HostAgreement | None = None
    paced: tuple[PacedBench, ...] = ()
    sustained: SustainedBench | None = None

    @property
    def name(self) -> str:
        """The short name, ``tflite-int8``."""
        return f"{self.target}-{self.precision}"


class Device(Model):
    """What it ran on."""

    kind: Literal["cpu", "android", "ssh"]
    name: str
    processor: str
    features: tuple[str, ...]
    cores: int
    memory_mib: int
    system: str


class Condition(Model):
    """A battery device at one moment; None: it does not tell. ``thermal``: Android's status, 0 none … 6 shutdown."""

    battery_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    charging: bool | None = None
    battery_celsius: float | None = None
    thermal: Annotated[int, Field(ge=0, le=6)] | None = None


class Circumstances(Model):
    """How a device was driven. ``way``: by the app in the foreground, or a binary from the shell (they differ by up to
    twice on one phone). ``played_by``: set where a stand-in played the device. ``log``: the device's log, a file beside
    the results. ``burst``: a short run, before heat tells.
    """

    way: Literal["app", "shell"]
    burst: bool
    before: Condition
    after: Condition
    played_by: str | None = None
    log: str | None = None


class ShellBench(Model):
    """One file timed on a phone by the official ``benchmark_model`` from its shell.

    ``file``: ``segment-1`` or ``exit-1/alone``. Inference alone; the program tells no single times.
    """

    variant: str
    file: str
    sha256: Sha256
    threads: Annotated[int, Field(ge=1)]
    init: Ms
    first: Ms
    count: Annotated[int, Field(ge=1)]
    mean: Ms
    minimum: Ms
    maximum: Ms
    median: Ms | None = None
    p95: Ms | None = None

    @property
    def typical(self) -> float:
        """The median, where the program is new enough to tell it; else the mean."""
        return self.mean if self.median is None else self.median


class Results(Model):
    """A results file. ``circumstances``: for phones; ``shell``: files timed there without the app."""

    schema_version: Literal[1] = 1
    created: str
    bundle: str
    manifest_sha256: str
    classes: tuple[str, ...]
    data: str
    device: Device
    versions: dict[str, str]
    options: dict[str, int | float | str | bool | None]
    warmup: int
    variants: tuple[VariantBench, ...]
    notes: tuple[str, ...] = ()
    raw: str | None = None
    circumstances: Circumstances | None = None
    shell: tuple[ShellBench, ...] = ()
