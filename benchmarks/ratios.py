"""Prints ratios that this project promises: ``python -m msd_edge.benchmarks.ratios BUNDLE``.

Both sides of a ratio run in turns within one run (A, B, A, B, …), so that a busy machine hits both; a round gives one
ratio, and their median and 90th percentile are printed beside the goal.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import numpy as np
import typer

from msd_edge.benchmarks.devices.cpu import worker_environment
from msd_edge.benchmarks.side_by_side import random_inputs
from msd_edge.benchmarks.stats import summarise
from msd_edge.bundle.manifest import FileEntry, Target
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.cli import common
from msd_edge.errors import ConfigError
from msd_edge.runtime.chain import Chain, hand_over
from msd_edge.runtime.open import open_session

_WARMUP = 20


@dataclass(frozen=True)
class Setting:
    """What the rows are measured on: ``runs`` invocations a round, ``rounds`` rounds, ``threads`` of the runtime."""

    bundle: Bundle
    threads: int
    rounds: int
    runs: int


@dataclass(frozen=True)
class Comparison:
    """One row.

    Attributes:
        name: what is compared with what.
        ours: one value a round.
        theirs: the value beside it.
        unit: of both.
        kind: ``ratio`` ours / theirs, or ``difference`` ours - theirs.
        goal: the limit of the median; with ``both_ways`` of its distance from 1.
        both_ways: faster counts as wrong as well: two clocks for the same thing must agree.
    """

    name: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    unit: str
    kind: Literal["ratio", "difference"]
    goal: float
    both_ways: bool = False

    @property
    def values(self) -> tuple[float, ...]:
        """One ratio or difference a round."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return tuple(a / b if self.kind == "ratio" else a - b for a, b in pairs)

    @property
    def holds(self) -> bool:
        """Whether the median meets the goal."""
        middle = median(self.values)
        return abs(middle - 1) <= self.goal if self.both_ways else middle <= self.goal

    def cells(self) -> list[str]:
        """Return the row as it is printed."""
        found = summarise([abs(value - 1) for value in self.values]) if self.both_ways else None
        ordered = sorted(self.values)
        p90 = float(np.percentile(ordered, 90))
        sign = "" if self.kind == "ratio" else " s"
        goal = f"1 ± {self.goal:g}" if self.both_ways else f"≤ {self.goal:g}{sign}"
        worst = f"1 ± {found.p90:.3f}" if found is not None else f"{p90:.3f}{sign}"
        return [
            self.name,
            f"{median(self.ours):.3f} {self.unit}",
            f"{median(self.theirs):.3f} {self.unit}",
            f"{median(self.values):.3f}{sign}",
            worst,
            goal,
            "yes" if self.holds else "NO",
        ]


Row = Callable[[Setting], Iterator[Comparison]]


def compare_litert_benchmark(setting: Setting) -> Iterator[Comparison]:
    """Our median of a TFLite file against the one that ai-edge-litert's ``litert-benchmark`` gives for it."""
    with tempfile.TemporaryDirectory() as name:
        for label, entry, target in _single_files(setting.bundle, "tflite"):
            path, answer = Path(name) / "model.tflite", Path(name) / "answer.json"
            path.write_bytes(setting.bundle.read(entry))
            command = [
                *(str(_tool("litert-benchmark")), "--model", str(path), "--result_json", str(answer)),
                *("--num_threads", str(setting.threads), "--num_runs", str(setting.runs)),
                *("--warmup_runs", str(_WARMUP)),
            ]

            def theirs(command: Sequence[str] = command, answer: Path = answer) -> float:
                _run(command, setting.threads)
                # It rounds to hundredths: 0.0 is less than half of one.
                return float(json.loads(answer.read_text())["latency"]["median_ms"]) or 0.005

            def ours(path: Path = path, target: Target = target) -> float:
                return _time_in_process(path, target, setting)["median"]

            yield _alternate(f"{label}: bench / litert-benchmark, median", ours, theirs, setting, "ms", 0.03)


def compare_onnxruntime_test(setting: Setting) -> Iterator[Comparison]:
    """Our mean of an ONNX file against the average that onnxruntime's ``onnxruntime_test`` gives for it.

    That tool takes no number of threads: a copy of the file carries it in its metadata, where ONNX Runtime reads it if
    ``ORT_LOAD_CONFIG_FROM_MODEL`` is set.
    """
    with tempfile.TemporaryDirectory() as name:
        for label, entry, target in _single_files(setting.bundle, "onnx"):
            path, copy = Path(name) / "model.onnx", Path(name) / "threads.onnx"
            path.write_bytes(setting.bundle.read(entry))
            copy.write_bytes(_with_threads(path.read_bytes(), setting.threads))
            command = [str(_tool("onnxruntime_test")), str(copy), str(setting.runs + _WARMUP)]

            def theirs(command: Sequence[str] = command) -> float:
                said = _run(command, setting.threads, ORT_LOAD_CONFIG_FROM_MODEL="1")
                line = next(line for line in said.splitlines() if line.startswith("avg latency:"))
                return float(line.split()[2])

            def ours(path: Path = path, target: Target = target) -> float:
                return _time_in_process(path, target, setting)["mean"]

            yield _alternate(f"{label}: bench / onnxruntime_test, mean", ours, theirs, setting, "ms", 0.03)


def compare_chain(setting: Setting) -> Iterator[Comparison]:
    """The whole chain of segments against one file that computes the same exits, invocations one by one in turns.

    Each round is a process of its own: where its memory lies moves the ratio by some percent for as long as it lives.
    """
    for variant in setting.bundle.manifest.variants:
        if len(variant.segments) > 1:
            rounds = [_time_chain_in_process(variant.name, setting) for _ in range(setting.rounds)]
            name = f"{variant.name}: {len(variant.segments)} segments / the same exits in one file"
            ours, theirs = (tuple(each) for each in zip(*rounds, strict=True))
            yield Comparison(name, ours, theirs, "ms", "ratio", 1.05)


def time_chain(path: str, name: str, threads: int, runs: int) -> tuple[float, float]:
    """Return the median milliseconds of a variant's segments, all run, and of one file that computes the same exits.

    Args:
        path: the bundle.
        name: the variant.
        threads: of the runtime.
        runs: pairs of invocations.
    """
    bundle = read_bundle(Path(path))
    with Chain(bundle, variant=name, threads=threads) as chain:
        variant = chain.variant
        whole = _one_piece(variant.target, [bundle.read(segment) for segment in variant.segments])
        session = open_session(whole, variant.target, threads=threads)
        alone, entering = random_inputs(session), random_inputs(chain.steps[0].session)

        def run_alone() -> float:
            start = time.perf_counter_ns()
            session.run(alone)
            return (time.perf_counter_ns() - start) / 1e6

        def run_chain() -> float:
            values, total = entering, 0
            for place, step in enumerate(chain.steps):
                start = time.perf_counter_ns()
                outputs = step.session.run(values)
                total += time.perf_counter_ns() - start
                if place + 1 < len(chain.steps):
                    values = hand_over(step, chain.steps[place + 1], outputs)
            return total / 1e6

        for _ in range(_WARMUP):
            run_alone()
            run_chain()
        pairs = [(run_chain(), run_alone()) for _ in range(runs)]
    return median(a for a, _ in pairs), median(b for _, b in pairs)


def _one_piece(target: Target, segments: Sequence[bytes]) -> bytes:
    """Return one file that gives the logits of every exit, made of the segments' own operators."""
    if target == "onnx":
        import onnx

        from msd_edge.converters.onnx.graph import chain

        joined = chain([onnx.load_model_from_string(data) for data in segments], "whole", every_exit=True)
        return bytes(joined.SerializeToString())
    from msd_edge.converters.tflite.compose import join
    from msd_edge.converters.tflite.flatbuffer import read, write

    return write(join([read(data) for data in segments], every_exit=True))


def compare_start(setting: Setting) -> Iterator[Comparison]:
    """``msd-edge --help`` against the same of an app that has typer and nothing else."""
    bare = "import typer\napp = typer.Typer()\n@app.command()\ndef main(name: str) -> None: ...\napp(['--help'])"

    def start(command: Sequence[str]) -> float:
        begin = time.perf_counter()
        _run(command, setting.threads)
        return time.perf_counter() - begin

    def ours() -> float:
        return start([sys.executable, "-P", "-m", "msd_edge", "--help"])

    def theirs() -> float:
        return start([sys.executable, "-P", "-c", bare])

    ours(), theirs()  # byte code and files in memory for both
    yield _alternate("msd-edge --help - bare typer --help", ours, theirs, setting, "s", 0.3, kind="difference")


def compare_training_step(setting: Setting) -> Iterator[Comparison]:
    """A step of multi-self-distillation against one of joint training, on the same network and batch."""
    from msd_edge.benchmarks.training_step import time_steps

    pairs = list(time_steps("msd", "joint", 3 * setting.rounds))
    ours, theirs = (tuple(each) for each in zip(*pairs, strict=True))
    yield Comparison("training step, msd / joint", ours, theirs, "ms", "ratio", 1.03)


ROWS: dict[str, Row] = {
    "litert-benchmark": compare_litert_benchmark,
    "onnxruntime_test": compare_onnxruntime_test,
    "chain": compare_chain,
    "start": compare_start,
    "training-step": compare_training_step,
}


def time_file(path: str, target: Target, threads: int, runs: int) -> dict[str, float]:
    """Time a file as the bench does: ``open_session``, one invocation after the other; milliseconds."""
    session = open_session(Path(path).read_bytes(), target, threads=threads)
    inputs = random_inputs(session)
    for _ in range(_WARMUP):
        session.run(inputs)
    times = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        session.run(inputs)
        times.append((time.perf_counter_ns() - start) / 1e6)
    found = summarise(times)
    return {"median": found.median, "mean": found.mean}


def _alternate(
    name: str,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    setting: Setting,
    unit: str,
    goal: float,
    *,
    kind: Literal["ratio", "difference"] = "ratio",
) -> Comparison:
    pairs = [(ours(), theirs()) for _ in range(setting.rounds)]
    first, second = (tuple(each) for each in zip(*pairs, strict=True))
    return Comparison(name, first, second, unit, kind, goal, both_ways=kind == "ratio")


def _single_files(bundle: Bundle, target: Target) -> Iterator[tuple[str, FileEntry, Target]]:
    """Yield, for each variant of a target, its largest single file: the last exit alone, else the first segment."""
    for variant in bundle.manifest.variants:
        if variant.target == target:
            entry: FileEntry = variant.exits[-1] if variant.exits else variant.segments[0]
            yield f"{variant.name} {Path(entry.path).stem}", entry, target


def _time_in_process(path: Path, target: Target, setting: Setting) -> dict[str, float]:
    threads = setting.threads
    found: dict[str, float] = _call_in_process(time_file, threads, str(path), target, threads, setting.runs)
    return found


def _time_chain_in_process(name: str, setting: Setting) -> tuple[float, float]:
    threads = setting.threads
    ours, theirs = _call_in_process(time_chain, threads, str(setting.bundle.path), name, threads, setting.runs)
    return ours, theirs


def _call_in_process(function: Callable[..., Any], threads: int, *values: str | int) -> Any:
    """Call a function of this module in a fresh process for so many threads; return its answer, by way of JSON."""
    program = (
        f"import json, sys; from msd_edge.benchmarks.ratios import {function.__name__} as function; "
        f"values = json.loads({json.dumps(json.dumps(values))}); "
        "sys.stdout.write('\\n' + json.dumps(function(*values)))"
    )
    return json.loads(_run([sys.executable, "-P", "-c", program], threads).splitlines()[-1])


def _run(command: Sequence[str], threads: int, **variables: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**worker_environment(threads), **variables}
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise ConfigError(f"{Path(command[0]).name} failed with exit code {done.returncode}: {last}")
    return done.stdout


def _tool(name: str) -> Path:
    path = Path(sys.executable).with_name(name)
    if not path.is_file():
        raise ConfigError(f"{path}: this tool is not installed; pip install 'msd-edge[export]' brings it.")
    return path


def _with_threads(model: bytes, threads: int) -> bytes:
    import onnx

    proto = onnx.load_model_from_string(model)
    entry = proto.metadata_props.add()
    entry.key = "ort_config"
    options = {"intra_op_num_threads": threads, "inter_op_num_threads": 1, "graph_optimization_level": 99}
    entry.value = json.dumps({"session_options": options})
    data: bytes = proto.SerializeToString()
    return data


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime, on both sides.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each giving one ratio.")] = 7,
    runs: Annotated[int, typer.Option(min=10, help="Invocations in a round.")] = 300,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help=f"Of {', '.join(ROWS)}; repeatable. Default all.")
    ] = None,
) -> None:
    """Print the ratios beside their goals; the exit code is 1 where one does not hold.

    All of them take some minutes, longer with more --rounds, --runs and variants; a terminal shows how far it is, and
    the table comes at the end.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    if unknown := [name for name in only or () if name not in ROWS]:
        raise ConfigError(f"--only {unknown[0]}: there is no such comparison; take one of {', '.join(ROWS)}.")
    setting = Setting(read_bundle(bundle), threads, rounds, runs)
    names = only or list(ROWS)
    found: list[Comparison] = []
    with common.progress(0, f"measuring: {names[0]}") as bar:
        for place, name in enumerate(names, 1):
            for comparison in ROWS[name](setting):
                found.append(comparison)
                bar.note(f"measuring: {name} ({place} of {len(names)}); {comparison.name}: {comparison.cells()[3]}")
            if place < len(names):
                bar.note(f"measuring: {names[place]} ({place + 1} of {len(names)})")
    header = ["what", "ours", "beside", "median", "p90", "goal", "holds"]
    common.table(header, [comparison.cells() for comparison in found])
    if not all(comparison.holds for comparison in found):
        raise typer.Exit(1)


if __name__ == "__main__":
    common.run_script(main)
