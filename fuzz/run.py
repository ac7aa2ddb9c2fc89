"""Fuzz everything that parses.

    python fuzz/run.py --cases 20000                    all targets, so many cases in all
    python fuzz/run.py --cases 5000 --target manifest   one of them; repeatable

With atheris installed inputs are guided by coverage, without it they are mutations of the seeds alone. Each target has
a process of its own. What went wrong is written under fuzz/findings/, one input a target, and makes the exit code 1.
"""

import argparse
import contextlib
import importlib
import importlib.util
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.update(OMP_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3", ORT_DISABLE_TELEMETRY="1")

from fuzz.mutation import mutate  # noqa: E402
from fuzz.targets import CORPUS, Run, Target, all_targets  # noqa: E402

_BIGGEST = 1 << 16
_LONGEST = 1800  # seconds for one input, wide since a busy machine may halt the process
_MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())

# What the targets import: all at once and before the first fork, so that it is instrumented once.
_PARSERS = (
    "msd_edge.benchmarks.devices.android", "msd_edge.benchmarks.devices.board", "msd_edge.benchmarks.devices.ssh",
    "msd_edge.benchmarks.devices.shell_model", "msd_edge.benchmarks.report.page", "msd_edge.benchmarks.report.paste",
    "msd_edge.benchmarks.study.settings",
    "msd_edge.bundle.files", "msd_edge.bundle.golden", "msd_edge.cli.app", "msd_edge.data.load", "msd_edge.data.npz",
    "msd_edge.converters.onnx.check", "msd_edge.converters.tflite.census", "msd_edge.models.pretrained",
    "msd_edge.runtime.litert", "msd_edge.runtime.onnx", "msd_edge.runtime.cascade", "msd_edge.runtime.preprocess",
    "msd_edge.segments", "msd_edge.training.setup",
)  # fmt: skip


def main(words: list[str]) -> int:
    """Run the targets one after the other and print a line for each."""
    targets = all_targets()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000, help="in all, divided by what each target costs")
    parser.add_argument("--target", action="append", choices=sorted(targets), help="only this one; repeatable")
    parser.add_argument("--engine", choices=("auto", "atheris", "random"), default="auto")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--findings", type=Path, default=ROOT / "fuzz/findings", help="folder for what went wrong")
    given = parser.parse_args(words)
    engine = given.engine
    if engine == "auto":
        engine = "random" if importlib.util.find_spec("atheris") is None else "atheris"
    _import(engine)
    chosen = [targets[name] for name in given.target or targets]
    whole = sum(target.share for target in chosen)
    _print(f"{'target':<16} {'cases':>9} {'seconds':>8}  findings   (engine: {engine})")
    total = bad = 0
    for target in chosen:
        runs = max(1, round(given.cases * target.share / whole))
        began = time.monotonic()
        place = given.findings.resolve() / target.name
        done, code = _in_process(target, runs, engine, given.seed, place)
        fine = code == 0 and done >= runs
        total, bad = total + done, bad + (not fine)
        word = "none" if fine else f"exit code {code}: see {place}"
        _print(f"{target.name:<16} {done:>9,} {time.monotonic() - began:>8.0f}  {word}")
    _print(f"{'all':<16} {total:>9,} {'':>8}  {bad or 'none'}")
    return 1 if bad else 0


def _import(engine: str) -> None:
    if engine == "random":
        for name in _PARSERS:
            importlib.import_module(name)
        return
    import atheris

    with atheris.instrument_imports(include=["msd_edge"]):
        for name in _PARSERS:
            importlib.import_module(name)


def _in_process(target: Target, runs: int, engine: str, seed: int, place: Path) -> tuple[int, int]:
    """Run a target in a process of its own; return how many cases it took, and how it ended."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "cases").write_text("0")
    process = os.fork()
    if process == 0:
        log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            (_guided if engine == "atheris" else _blind)(target, runs, seed, place)
        except BaseException:  # noqa: BLE001  it must not return into the parent's work
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(process, 0)
    return int((place / "cases").read_text()), os.waitstatus_to_exitcode(status)


def _blind(target: Target, runs: int, seed: int, place: Path) -> None:
    seeds = target.seeds()
    rng = random.Random(seed)
    with _workplace() as folder:
        take = target.make(folder)
        for count in range(runs):
            data = seeds[count] if count < len(seeds) else mutate(rng.choice(seeds), rng, seeds)[:_BIGGEST]
            _take(target, take, data, place)
        (place / "cases").write_text(str(runs))


def _guided(target: Target, runs: int, seed: int, place: Path) -> None:
    import atheris

    seeds = target.seeds()
    count = 0
    (place / "corpus").mkdir(exist_ok=True)
    with _workplace() as folder:
        take = target.make(folder)

        def one(data: bytes) -> None:
            nonlocal count
            count += 1
            _take(target, take, data, place)
            if count >= runs:
                (place / "cases").write_text(str(count))
                os._exit(0)  # libFuzzer would end the process as hard

        def change(data: bytes, most: int, number: int) -> bytes:
            rng = random.Random(number)
            changed = mutate(data, rng, seeds) if rng.random() < 0.5 else bytes(atheris.Mutate(data, most))
            return changed[:most]

        options = (
            f"-seed={seed}",
            f"-max_len={_BIGGEST}",
            "-rss_limit_mb=8000",
            f"-timeout={_LONGEST}",
            "-verbosity=0",
        )
        folders = (str(place / "corpus"), str(CORPUS / target.name))
        atheris.Setup(["fuzz", *options, f"-artifact_prefix={place}/", *folders], one, custom_mutator=change)
        atheris.Fuzz()


def _take(target: Target, take: Run, data: bytes, place: Path) -> None:
    """Hand an input over; one that is answered badly is kept, and so is one that kills the process."""
    last = _MEMORY / f"msd-edge-fuzz-last-{os.getpid()}"
    if target.native:
        last.write_bytes(data)
    try:
        take(data)
    except BaseException:  # noqa: BLE001  whatever it is, it is the finding
        (place / "finding").write_bytes(data)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    if target.native:
        last.unlink()


@contextlib.contextmanager
def _workplace() -> Iterator[Path]:
    """Give a folder in memory where there is one: a million files need no disk. Warnings are errors."""
    with tempfile.TemporaryDirectory(prefix="msd-edge-fuzz-", dir=_MEMORY) as name:
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield Path(name)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
