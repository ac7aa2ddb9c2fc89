"""A phone without the app: the official ``benchmark_model`` binary, given by the user, run from the shell.

It times single files: stand-alone exits and segments. Nothing leaves early there and no image is classified, so that
these results have no accuracy and no cascade; they are marked *shell*. On one phone, shell and app differ by up to 2×.
"""

import contextlib
import re
import secrets
import shlex
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from msd_edge.benchmarks.devices.adb import LONG, AdbDevice, explain_failure
from msd_edge.benchmarks.devices.processes import hold_interrupts
from msd_edge.benchmarks.devices.transfer import STORE, Item, Store, item_of, write_item
from msd_edge.benchmarks.proof import RANGE_SHARE, STEPS, prove
from msd_edge.benchmarks.results import ShellBench
from msd_edge.bundle.golden import read_golden
from msd_edge.bundle.manifest import ExitFile, SegmentFile, TensorSpec, Variant
from msd_edge.bundle.reader import Bundle, explain
from msd_edge.errors import ConfigError, DeviceError, DeviceRunError, ParityError
from msd_edge.locks import scratch_folder
from msd_edge.runtime.chain import Chain, hand_over
from msd_edge.runtime.open import open_session
from msd_edge.runtime.preprocess import to_tensor
from msd_edge.runtime.session import Array

_PROOFS = 2  # golden images that every file is proven with
_RUNS = 50
_WHAT = "running benchmark_model"

# The ELF header's machine, by Android's name of the ABI.
_MACHINES = {"arm64-v8a": 183, "armeabi-v7a": 40, "x86_64": 62, "x86": 3}
_NUMBER = r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,3})?)"
_FAST_CORES = (
    "for c in /sys/devices/system/cpu/cpu[0-9]*; do f=$c/cpufreq/cpuinfo_max_freq; "
    "[ -r $f ] && echo ${c##*/cpu} $(cat $f); done; true"
)


@dataclass(frozen=True)
class Case:
    """A file to time: its name in the results, what it takes, and what it has to give for some golden images."""

    name: str
    entry: SegmentFile | ExitFile
    specs: tuple[TensorSpec, ...]
    inputs: tuple[tuple[Array, ...], ...]
    outputs: tuple[tuple[Array, ...], ...]


def check_binary(path: Path, abi: str) -> None:
    """Check that a program is for the device's processor.

    Raises:
        ConfigError: there is no such file.
        DeviceError: it is for another processor.
    """
    try:
        head = path.read_bytes()[:20]
    except OSError as problem:
        raise ConfigError(f"--benchmark-model {path}: cannot read this file: {problem.strerror}.") from None
    if head[:4] != b"\x7fELF" or len(head) < 20:
        return
    (machine,) = struct.unpack("<H", head[18:20])
    if abi in _MACHINES and machine != _MACHINES[abi]:
        found = next((name for name, number in _MACHINES.items() if number == machine), f"machine {machine}")
        raise DeviceError(
            f"--benchmark-model {path}: this binary is for {found}, and the device is {abi}; take that one."
        )


class ShellModel:
    """Runs ``benchmark_model`` on a device.

    Attributes:
        log: all that it printed.
    """

    def __init__(self, adb: AdbDevice, binary: Path) -> None:
        self.log: list[str] = []
        self._adb = adb
        self._store = Store(adb)
        self._binary = item_of(binary)
        self._folder = f"/data/local/tmp/msd-edge/shell-{secrets.token_hex(8)}"
        self._mask = ""

    @property
    def sha256(self) -> str:
        """The binary's: figures of different builds differ."""
        return self._binary.sha256

    def measure(
        self, bundle: Bundle, variant: Variant, threads: int, seconds: float, on_step: Callable[[str], None]
    ) -> tuple[ShellBench, ...]:
        """Prove every file of a variant on the device, then time each.

        Args:
            bundle: the opened bundle.
            variant: a TFLite variant of it.
            threads: of the runtime.
            seconds: for each file.
            on_step: called with what is going on.

        Raises:
            DeviceError: the device went away, or the program does not do what it should.
            ParityError: a file gives something else there than here; nothing is timed then.
        """
        cases = prepare_cases(bundle, variant)
        files = {case.name: Item(bundle.path / case.entry.path, case.entry.sha256, case.entry.bytes) for case in cases}
        on_step("sending files")
        self._store.push([self._binary, *files.values()])
        program = f"{STORE}/{self._binary.sha256}"
        self._adb.must(("chmod", "755", program), what="preparing benchmark_model")
        self._adb.must(("mkdir", "-p", self._folder), what="making a folder")
        self._mask = self._fast_cores()
        for case in cases:
            on_step(f"proving {case.name}")
            self._prove(program, variant, case, threads)
        found = []
        for case in cases:
            on_step(f"timing {case.name}")
            # Its own limit is 150 s, whatever is asked for.
            words = (
                f"--min_secs={seconds:g}",
                f"--max_secs={seconds + 60:g}",
                f"--num_runs={_RUNS}",
                "--warmup_runs=10",
            )
            said = self._run(program, case, threads, words, timeout=LONG + seconds)
            found.append(parse_timings(said, variant.name, case.name, case.entry.sha256, threads))
        return tuple(found)

    def close(self) -> None:
        """Remove everything from the device."""
        with hold_interrupts(), contextlib.suppress(DeviceError):
            # Interrupted, the program may still run; the number may also be another process's by now.
            ours = f"p=$(cat {self._folder}/pid 2>/dev/null) && grep -q {self._binary.sha256} /proc/$p/cmdline"
            self._adb.shell(f"{ours} && kill -9 $p; rm -rf {self._folder}", what="tidying up")
            self._store.clear()

    def _prove(self, program: str, variant: Variant, case: Case, threads: int) -> None:
        for values, expected in zip(case.inputs, case.outputs, strict=True):
            with scratch_folder("msd-edge-shell-") as scratch:
                items = [
                    write_item(scratch / f"in{k}", np.ascontiguousarray(v).tobytes()) for k, v in enumerate(values)
                ]
                self._store.push(items)
                given = [f"in{k}:{STORE}/{item.sha256}" for k, item in enumerate(items)]
                shapes = ":".join(",".join(str(n) for n in spec.shape) for spec in case.specs)
                out = f"{self._folder}/out"
                self._run(
                    program,
                    case,
                    threads,
                    (
                        f"--input_layer={','.join(f'in{k}' for k in range(len(items)))}",
                        f"--input_layer_shape={shapes}",
                        f"--input_layer_value_files={','.join(given)}",
                        f"--output_filepath={out}",
                        *("--num_runs=1", "--warmup_runs=0", "--min_secs=0", "--warmup_min_secs=0"),
                    ),
                )
                self._adb.must(f"ls {out}", what="looking for the outputs that benchmark_model should have written")
                self._adb.pull(out, scratch / "out", what="fetching the outputs")
                self._adb.must(("rm", out), what="tidying up")
                if not fits((scratch / "out").read_bytes(), expected):
                    raise ParityError(
                        f"{self._adb.serial}: {case.name} of {variant.name} does not give there what it gives here; "
                        "nothing was measured; take another build of benchmark_model."
                    )

    def _run(self, program: str, case: Case, threads: int, words: Sequence[str], *, timeout: float = LONG) -> str:
        graph = f"--graph={STORE}/{case.entry.sha256}"
        line = shlex.join((program, graph, f"--num_threads={threads}", "--use_xnnpack=true", *words))
        # The shell becomes the program: the number written down is the program's, for whoever has to stop it.
        start = shlex.join(("sh", "-c", f"echo $$ > {self._folder}/pid; exec {self._mask}{line}"))
        answer = self._adb.shell(f"{start}; code=$?; rm -f {self._folder}/pid; exit $code", what=_WHAT, timeout=timeout)
        said = f"{answer.out}\n{answer.err}"
        self.log.append(f"$ {line}\n{said}\n")
        if answer.code:
            raise explain_failure(self._adb.serial, _WHAT, answer.words)
        if "Unconsumed cmdline flags" in said:
            raise DeviceRunError(
                f"{self._adb.serial}: this benchmark_model is too old to take inputs and give outputs, so it cannot be "
                "proven; take a newer one."
            )
        return said

    def _fast_cores(self) -> str:
        """Return the start of a line that keeps a program on the fastest cores; empty if they cannot be told."""
        speeds = parse_cores(self._adb.must(_FAST_CORES, what="looking at the cores"))
        if len(set(speeds.values())) < 2:
            return ""
        mask = sum(1 << core for core, speed in speeds.items() if speed == max(speeds.values()))
        return f"taskset {mask:x} "


def parse_cores(said: str) -> dict[int, int]:
    """Return the highest frequency of each core, from lines of two numbers; other lines are none."""
    pairs = re.findall(r"^\s*([0-9]{1,3})\s+([0-9]{1,12})\s*$", said, re.MULTILINE)
    return {int(core): int(speed) for core, speed in pairs}


def prepare_cases(bundle: Bundle, variant: Variant) -> tuple[Case, ...]:
    """Return every file of a variant with inputs and outputs that real images give here, proven by the golden samples.

    Raises:
        ParityError: this machine does not compute what the exporting machine computed.
        RuntimeUnavailable: this machine has no runtime for the files.
    """
    images = read_golden(bundle, variant.name).images[:_PROOFS]
    inputs: list[list[tuple[Array, ...]]] = [[] for _ in variant.segments]
    outputs: list[list[tuple[Array, ...]]] = [[] for _ in variant.segments]
    with Chain(bundle, variant=variant.name) as chain:
        prove(chain)
        for image in images:
            values = chain.enter(image)
            for place, (step, segment) in enumerate(zip(chain.steps, variant.segments, strict=True)):
                inputs[place].append(tuple(np.array(values[spec.name]) for spec in segment.inputs))
                given = step.session.run(values)
                outputs[place].append(tuple(np.array(given[s.name]) for s in (segment.logits, *segment.features)))
                if place + 1 < len(chain.steps):
                    values = hand_over(step, chain.steps[place + 1], given)
    cases = [
        Case(f"segment-{s.index}", s, s.inputs, tuple(inputs[place]), tuple(outputs[place]))
        for place, s in enumerate(variant.segments)
    ]
    for entry in variant.exits:
        session = open_session(bundle.read(entry), variant.target)
        tensors = [np.array(to_tensor(image, entry.image)) for image in images]
        logits = [(np.array(session.run({entry.image.name: tensor})[entry.logits.name]),) for tensor in tensors]
        case = Case(f"exit-{entry.index}/alone", entry, (entry.image,), tuple((t,) for t in tensors), tuple(logits))
        cases.append(case)
    return tuple(cases)


def fits(data: bytes, expected: Sequence[Array]) -> bool:
    """Whether bytes are these tensors one after the other, in any order, near enough.

    A file lists its outputs in an order of its own, which ``benchmark_model`` keeps.
    """
    if len(data) != sum(array.nbytes for array in expected):
        return False
    return any(_near(data, order) for order in permutations(expected))


def parse_timings(said: str, variant: str, file: str, sha256: str, threads: int) -> ShellBench:
    """Read the figures that ``benchmark_model`` prints at its end.

    Raises:
        DeviceRunError: they are not there, or are no times.
    """
    init = re.search(rf"Init: {_NUMBER}, First inference: {_NUMBER}.*Inference \(avg\): {_NUMBER}", said)
    last = None
    for last in re.finditer(r"count=([0-9]{1,12})\b[^\n]*", said):  # noqa: B007  the last one is of the measured runs
        pass
    if init is None or last is None:
        raise DeviceRunError(f"{file} of {variant}: benchmark_model ended without its line of times; the log was kept.")
    line = last[0]

    def value(name: str) -> float | None:
        match = re.search(rf"\b{name}={_NUMBER}", line)
        return None if match is None else float(match[1]) / 1e3

    mean = float(init[3]) / 1e3
    fastest, slowest = value("min"), value("max")
    try:
        return ShellBench(
            variant=variant,
            file=file,
            sha256=sha256,
            threads=threads,
            init=float(init[1]) / 1e3,
            first=float(init[2]) / 1e3,
            count=int(last[1]),
            mean=mean,
            minimum=mean if fastest is None else fastest,
            maximum=mean if slowest is None else slowest,
            median=value("median"),
            p95=value("p95"),
        )
    except ValidationError as problem:
        raise DeviceRunError(
            f"{file} of {variant}: benchmark_model's times are none ({explain(problem)}); the log was kept."
        ) from None


def _near(data: bytes, order: Sequence[Array]) -> bool:
    start = 0
    for array in order:
        part = np.frombuffer(data[start : start + array.nbytes], array.dtype).reshape(array.shape)
        start += array.nbytes
        difference = np.abs(part.astype(np.float64) - array.astype(np.float64))
        whole = array.dtype != np.float32
        limit = STEPS if whole else RANGE_SHARE * max(float(np.ptp(array)), 1e-6)
        if not np.isfinite(part).all() or difference.max() > limit:
            return False
    return True
