"""What host and app say to each other: ``docs/device-protocol.md`` as types, and a reader of the app's progress."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msd_edge.benchmarks.job import Answers, Step
from msd_edge.benchmarks.results import Ms
from msd_edge.bundle.manifest import DType, Sha256, Share
from msd_edge.typed import Model

VERSION = 1
PACKAGE = "org.msdedge.demo"
INSTRUMENTATION = f"{PACKAGE}/.BenchInstrumentation"
END = "msd-edge-complete"

# Plain digits: other scripts have digits too, and int() is slow with thousands of them.
_CODE = re.compile("-?[0-9]{1,9}")

Delegate = Literal["cpu", "gpu"]


class ImageFile(Model):
    """Raw test images: uint8 (images, H, W, C)."""

    path: str
    sha256: Sha256
    count: Annotated[int, Field(ge=1)]


class GoldenLimits(Model):
    """How far logits may be from the golden ones: steps for integers, a share of the range for floats."""

    steps: int
    range_share: float


class Paced(Model):
    """Images at a frame rate, ``seconds`` for each contender."""

    fps: Annotated[float, Field(gt=0)]
    seconds: Annotated[float, Field(gt=0)]
    contenders: tuple[str, ...]


class Sustain(Model):
    """One contender for minutes."""

    minutes: Annotated[float, Field(gt=0)]
    contender: str


class Configuration(Model):
    """``config.json``: one measurement; paths are relative to the app's ``files/``."""

    protocol: Literal[1] = 1
    nonce: str
    bundle: str
    manifest_sha256: Sha256
    variant: str
    runtime: str | None
    delegate: Delegate
    threads: Annotated[int, Field(ge=1)]
    images: Annotated[tuple[ImageFile, ...], Field(min_length=1)]
    points: tuple[str, ...]
    golden: GoldenLimits
    warmup: Annotated[int, Field(ge=1)]
    block: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(ge=0)]
    paced: Paced | None
    sustain: Sustain | None
    result: str


class _Answer(BaseModel):
    """The base of what comes from the app: a newer app may say more than this release knows."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class AppFacts(_Answer):
    """Which app it was."""

    package: str
    version_name: str
    version_code: int


class RuntimeFacts(_Answer):
    """What ran the files."""

    name: str
    version: str
    delegate: Delegate
    xnnpack: bool | None = None


class Loaded(_Answer):
    """Milliseconds of reading, verifying and loading a file, and of its first invocation."""

    init: Ms
    first: Ms


class GoldenVerdict(_Answer):
    """What the app found of the golden samples; ``sha256`` of ``golden.bin``."""

    images: int
    max_difference: float
    top1_agreement: Share
    bit_equal: bool
    sha256: Sha256


class LogitsFile(_Answer):
    """``logits.bin``."""

    images: int
    dtype: DType
    sha256: Sha256


class PacedTimes(_Answer):
    """Whole times of frames."""

    contender: str
    fps: float
    times: tuple[Ms, ...]
    missed: Annotated[int, Field(ge=0)]


class MinuteTimes(_Answer):
    """Whole times of one minute, and the thermal status at its end."""

    times: tuple[Ms, ...]
    thermal: int | None = None


class SustainedTimes(_Answer):
    """Minutes of one contender."""

    contender: str
    minutes: tuple[MinuteTimes, ...]


class PhoneResult(_Answer):
    """``result.json``: what the app measured, raw."""

    protocol: Literal[1]
    nonce: str
    manifest_sha256: Sha256
    variant: str
    played_by: str | None
    app: AppFacts
    runtime: RuntimeFacts
    threads: int
    runtime_threads: Annotated[int, Field(ge=1)] | None
    load: Ms
    peak_memory_mib: Annotated[float, Field(ge=0)]
    segments: tuple[Loaded, ...]
    alone: tuple[Loaded, ...]
    golden: GoldenVerdict
    logits: LogitsFile
    answers: dict[str, Answers]
    times: dict[str, tuple[Ms, ...]]
    turns: tuple[tuple[str, int, int, float, float, float | None], ...]
    paced: tuple[PacedTimes, ...] = ()
    sustain: SustainedTimes | None = None
    complete: Literal[True]


@dataclass
class Progress:
    """Reads what ``am instrument -w -r`` prints, line by line.

    Attributes:
        values: what stands in the app's result: nonce, sha256, end, error, message, shortMsg, …
        code: the instrumentation's, None as long as it has not ended.
        failure: what ``am`` itself said went wrong; empty if nothing.
    """

    values: dict[str, str] = field(default_factory=dict)
    code: int | None = None
    failure: str = ""
    _last: str = ""

    def feed(self, line: str) -> Step | None:
        """Take a line; return the step it tells of, if it does."""
        kind, _, rest = line.partition(": ")
        if kind == "INSTRUMENTATION_STATUS" and rest.startswith("step="):
            self._last = ""
            try:
                return Step.model_validate_json(rest.removeprefix("step="))
            except ValidationError:
                return None
        if kind == "INSTRUMENTATION_RESULT" and "=" in rest:
            self._last, value = rest.split("=", 1)
            self.values[self._last] = value
        elif kind == "INSTRUMENTATION_CODE" and _CODE.fullmatch(rest.strip()):
            self.code = int(rest)
        elif kind in ("INSTRUMENTATION_FAILED", "INSTRUMENTATION_ABORTED") or "Unable to find instrumentation" in line:
            self.failure = self.failure or line.strip()
        elif line.startswith("INSTRUMENTATION_"):
            self._last = ""
        elif self._last:  # values may have several lines
            self.values[self._last] += f" {line.strip()}"
        return None
