"""The manifest: all that a runner needs to know of a bundle, typed and checked.

A bundle holds *variants*: one per target and precision (``tflite-int8``). A variant is a chain of segments;
segment 1 takes the image, segment k takes the features that segment k-1 gives, every segment gives its exit's logits.

An image goes in as raw pixels, with the normalization inside the file: a ``uint8`` or ``float32`` input takes the pixel
value 0..255 itself, an ``int8`` input takes the pixel value minus 128.

A quantized value q stands for ``scale * (q - zero_point)``.
"""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from msd_edge.data.config import DataConfig
from msd_edge.typed import Model

SCHEMA_VERSION = 1

Target = Literal["tflite", "onnx"]
Precision = Literal["int8", "float16", "float32"]
Layout = Literal["NHWC", "NCHW", "NC"]
DType = Literal["float32", "int8", "uint8"]
RuleName = Literal["max-softmax", "entropy", "patience", "averaged"]
Share = Annotated[float, Field(ge=0, le=1)]
# The operating point at which every image goes to the last exit.
FULL_POINT = "full"
# A string, not a compiled pattern: Python's `$` would let a line break at the end pass.
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ":" in path or ".." in parts or "\0" in path:
        raise ValueError(f"{path!r} is no relative path inside the bundle")
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]


class TensorSpec(Model):
    """A named tensor of a file. ``shape`` starts with the batch, which is 1."""

    name: str
    shape: tuple[Annotated[int, Field(ge=1, le=1 << 24)], ...]
    layout: Layout
    dtype: DType
    # The smallest and largest normal float32: runtimes hold scales in that type.
    scale: Annotated[float, Field(ge=2.0**-126, le=3.4e38)] | None = None
    zero_point: int | None = None

    @model_validator(mode="after")
    def _quantized_or_not(self) -> Self:
        quantized = self.dtype != "float32"
        if quantized != (self.scale is not None) or quantized != (self.zero_point is not None):
            raise ValueError(
                f"tensor {self.name!r}: {self.dtype} {'needs' if quantized else 'has no'} scale and zero point"
            )
        if len(self.shape) != len(self.layout):
            raise ValueError(f"tensor {self.name!r}: shape {list(self.shape)} does not fit the layout {self.layout}")
        if self.shape[0] != 1:
            raise ValueError(f"tensor {self.name!r}: the batch is {self.shape[0]}, files of a bundle take 1")
        lowest, highest = (0, 255) if self.dtype == "uint8" else (-128, 127)
        if self.zero_point is not None and not lowest <= self.zero_point <= highest:
            raise ValueError(f"tensor {self.name!r}: the zero point {self.zero_point} is no {self.dtype}")
        return self


class Parity(Model):
    """How near a file's outputs are to the network's on real images (float32 network in torch, the reference).

    ``max_abs`` and ``mean_abs`` are in units of the logits; ``logit_range`` is the reference's largest minus smallest.
    """

    images: Annotated[int, Field(ge=1)]
    max_abs: Annotated[float, Field(ge=0)]
    mean_abs: Annotated[float, Field(ge=0)]
    logit_range: Annotated[float, Field(ge=0)]
    top1_agreement: Share


class FileEntry(Model):
    """A file of the bundle. ``operators`` counts the operators in it by type."""

    path: RelativePath
    sha256: Sha256
    bytes: Annotated[int, Field(ge=1)]
    operators: dict[str, int]


class SegmentFile(FileEntry):
    """Segment ``index`` (1-based) of the chain; the last one hands no features on."""

    index: Annotated[int, Field(ge=1)]
    inputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    logits: TensorSpec
    features: tuple[TensorSpec, ...] = ()
    parity: Parity


class ExitFile(FileEntry):
    """Exit ``index`` alone: image in, its logits out, nothing computed for the exits before it."""

    index: Annotated[int, Field(ge=1)]
    image: TensorSpec
    logits: TensorSpec
    parity: Parity


class MultiSignatureFile(FileEntry):
    """One TFLite file with signatures ``segment_1``.. and ``exit_1``.. that share weights."""

    signatures: Annotated[tuple[str, ...], Field(min_length=1)]


class ExitAccuracy(Model):
    """Accuracy of one exit: the float network's and the file's on the same images.

    ``lost`` images were right and are wrong now, ``gained`` the other way round. ``p_value`` is McNemar's exact test,
    one-sided: how likely so many more errors are if the file were as good.
    """

    exit: Annotated[int, Field(ge=1)]
    reference: Share
    exported: Share
    lost: Annotated[int, Field(ge=0)]
    gained: Annotated[int, Field(ge=0)]
    p_value: Share


class AccuracyProof(Model):
    """Accuracies measured at export on the calibration split; ``split_sha256`` identifies the split."""

    images: Annotated[int, Field(ge=1)]
    split_sha256: Sha256
    exits: tuple[ExitAccuracy, ...]


class ExitCalibration(Model):
    """The temperature of one exit, with negative log-likelihood and expected calibration error before and after.

    ``weights``, where the rule is ``averaged``: of the logits of exits 1 to this one, by whose sum it answers.
    """

    exit: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(ge=1e-6, le=1e6)]
    weights: tuple[Annotated[float, Field(ge=0, le=1e6)], ...] | None = None
    nll_before: float
    nll_after: float
    ece_before: Share
    ece_after: Share
    accuracy: Share

    @model_serializer(mode="wrap")
    def _leave_out(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what only one rule has, so that others' bundles are those of releases that do not know it."""
        values: dict[str, Any] = serialize(self)
        return {name: value for name, value in values.items() if name != "weights" or value is not None}


class OperatingPoint(Model):
    """A setting of the exit rule, with what the calibration split promises for it.

    ``thresholds`` holds one value per exit but the last. max-softmax: leave when the top probability of the
    temperature-scaled logits is at least the threshold (above 1: never). entropy: leave when the entropy divided by
    log(classes) is at most the threshold (below 0: never). patience: every value is the same count t, leave when
    t + 1 exits in a row agree. averaged: as max-softmax, of the sum of the logits of all exits so far, weighed by
    ``weights``.
    """

    name: str
    thresholds: tuple[float, ...]
    accuracy: Share
    expected_ms: Annotated[float, Field(ge=0)]
    expected_macs: Annotated[float, Field(ge=0)]
    exit_shares: tuple[Share, ...]


class LatencySource(Model):
    """Where the expected milliseconds come from. ``segment_ms``: median per segment, decision included."""

    device: str
    threads: Annotated[int, Field(ge=1)]
    runtime: str
    segment_ms: tuple[Annotated[float, Field(ge=0)], ...]


class Calibration(Model):
    """What ``msd-edge calibrate`` fitted on the outputs of this variant's files."""

    rule: RuleName
    images: Annotated[int, Field(ge=1)]
    split_sha256: Sha256
    exits: tuple[ExitCalibration, ...]
    latency: LatencySource
    points: Annotated[tuple[OperatingPoint, ...], Field(min_length=1)]
    front: tuple[OperatingPoint, ...] = ()
    budgeted: tuple[OperatingPoint, ...] = ()


class Variant(Model):
    """All files of one target and precision."""

    target: Target
    precision: Precision
    segments: Annotated[tuple[SegmentFile, ...], Field(min_length=1)]
    exits: tuple[ExitFile, ...] = ()
    multi_signature: MultiSignatureFile | None = None
    accuracy: AccuracyProof
    float_layers: tuple[str, ...] = ()
    calibration: Calibration | None = None

    @property
    def name(self) -> str:
        """The short name, ``tflite-int8``."""
        return f"{self.target}-{self.precision}"

    @model_validator(mode="after")
    def _chain_fits(self) -> Self:
        count = len(self.segments)
        for place, segment in enumerate(self.segments, 1):
            if segment.index != place:
                raise ValueError(f"{self.name}: segment {segment.index} stands at place {place}")
            if (not segment.features) != (place == count):
                raise ValueError(
                    f"{self.name}: segment {place} of {count} {'has' if segment.features else 'lacks'} features"
                )
            if place < count:
                self._seam_fits(place)
        if self.exits and [e.index for e in self.exits] != list(range(1, count + 1)):
            raise ValueError(f"{self.name}: stand-alone exits are not 1..{count}")
        if self.calibration is not None:
            points = (*self.calibration.points, *self.calibration.front, *self.calibration.budgeted)
            for point in points:
                if len(point.thresholds) != count - 1 or len(point.exit_shares) != count:
                    raise ValueError(f"{self.name}: operating point {point.name!r} does not fit {count} exits")
            if len(self.calibration.exits) != count or len(self.calibration.latency.segment_ms) != count:
                raise ValueError(f"{self.name}: the calibration does not fit {count} exits")
            rule, weights = self.calibration.rule, [entry.weights for entry in self.calibration.exits]
            wanted = [*range(1, count + 1)] if rule == "averaged" else [None] * count
            if [own if own is None else len(own) for own in weights] != wanted:
                raise ValueError(f"{self.name}: the weights do not fit {count} exits and the {rule} rule")
        return self

    def _seam_fits(self, index: int) -> None:
        given, taken = self.segments[index - 1].features, self.segments[index].inputs
        if len(given) != len(taken):
            raise ValueError(f"{self.name}: segment {index} gives {len(given)} tensors, the next takes {len(taken)}")
        for a, b in zip(given, taken, strict=True):
            for field in ("shape", "layout", "dtype", "scale", "zero_point"):
                if getattr(a, field) != getattr(b, field):
                    both = f"{getattr(a, field)} given, {getattr(b, field)} taken"
                    raise ValueError(f"{self.name}: seam {index}→{index + 1}: {field} {both}")


class Resize(Model):
    """How any image becomes the network's input: shorter side to size by Pillow's ``filter``, centre crop."""

    filter: Literal["bilinear"] = "bilinear"
    fit: Literal["cover"] = "cover"


class InputSpec(Model):
    """The image a bundle takes: ``channels`` 1 (grey) or 3 (RGB); mean and std are those in the files, in pixels."""

    height: Annotated[int, Field(ge=1, le=8192)]
    width: Annotated[int, Field(ge=1, le=8192)]
    channels: Literal[1, 3]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    resize: Resize = Resize()


class ExitInfo(Model):
    """An exit of the network. ``macs``: stand-alone, no branch before it; ``chain_macs``: with the branches passed."""

    index: Annotated[int, Field(ge=1)]
    place: str
    macs: Annotated[int, Field(ge=0)]
    chain_macs: Annotated[int, Field(ge=0)]
    parameters: Annotated[int, Field(ge=0)]


class GoldenOutputs(Model):
    """Expected outputs of one variant: raw little-endian values of ``dtype``, shape (images, exits, classes)."""

    variant: str
    path: RelativePath
    sha256: Sha256
    dtype: DType


class Golden(Model):
    """Real images with the logits that the files gave for them at export; raw uint8, shape (images, H, W, C)."""

    images: Annotated[int, Field(ge=1)]
    path: RelativePath
    sha256: Sha256
    labels: tuple[int, ...]
    outputs: tuple[GoldenOutputs, ...]


class Source(Model):
    """What the bundle was made from: the run, its data and splits (by hash), its weights, the options of the export."""

    run: str
    arch: str
    method: str
    data: DataConfig
    train_sha256: Sha256
    calibration_sha256: Sha256
    test_sha256: Sha256
    weights_sha256: Sha256
    activation_images: int
    activation_sha256: Sha256 | None = None
    options: dict[str, int | float | str | bool] = Field(default_factory=dict)


class Manifest(Model):
    """``manifest.json``."""

    schema_version: Literal[1] = 1
    name: str
    created: str
    versions: dict[str, str]
    source: Source
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    input: InputSpec
    exits: Annotated[tuple[ExitInfo, ...], Field(min_length=1)]
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    golden: Golden

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError("a variant stands there twice")
        for variant in self.variants:
            if len(variant.segments) != len(self.exits):
                raise ValueError(
                    f"{variant.name} has {len(variant.segments)} segments, the network {len(self.exits)} exits"
                )
            for segment in variant.segments:
                if segment.logits.shape != (1, len(self.classes)):
                    both = f"{segment.logits.shape}, not (1, {len(self.classes)})"
                    raise ValueError(f"{variant.name}: exit {segment.index} gives {both}")
            image = variant.segments[0].inputs[0]
            size = (self.input.height, self.input.width, self.input.channels)
            found = image.shape[1:] if image.layout == "NHWC" else (*image.shape[2:], image.shape[1])
            if found != size:
                raise ValueError(f"{variant.name}: segment 1 takes an image {found}, the manifest says {size}")
        if (
            sorted(o.variant for o in self.golden.outputs) != sorted(names)
            or len(self.golden.labels) != self.golden.images
        ):
            raise ValueError("the golden samples do not cover every variant and image")
        return self
