"""The fuzzers' own targets for some seconds, and every input that once went wrong."""

import random
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from fuzz.mutation import mutate  # noqa: E402
from fuzz.targets import Run, Target, all_targets  # noqa: E402

TARGETS = all_targets()
KEPT = Path(__file__).parent / "regressions"
# Those that need a trained run or a measured bundle take seconds to set up: they are fuzzed by fuzz/run.py.
LIGHT = [name for name in TARGETS if name not in ("checkpoint", "phone-result", "raw-timings")]
CASES = {
    "run": 100,
    "manifest": 150,
    "results": 30,
    "settings": 60,
    "option-words": 80,
    "npy": 100,
    "onnx": 150,
    "tflite": 100,
}


@pytest.fixture(autouse=True)
def _app_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target of --config files builds the app once and keeps it."""
    from msd_edge.cli import app

    monkeypatch.setattr(app, "app", app.app)


def take(run: Run, data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        run(data)


@pytest.mark.parametrize("name", LIGHT)
def test_a_hundred_changed_inputs(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = TARGETS[name]
    seeds, rng = target.seeds(), random.Random(0)
    run = target.make(tmp_path)
    for data in seeds:
        take(run, data)
    for _ in range(CASES.get(name, 200)):
        take(run, mutate(rng.choice(seeds), rng, seeds))


@pytest.mark.parametrize(
    ("target", "path"),
    [(TARGETS[path.parent.name], path) for path in sorted(KEPT.glob("*/*"))],
    ids=[f"{path.parent.name}/{path.name}" for path in sorted(KEPT.glob("*/*"))],
)
def test_what_once_went_wrong(target: Target, path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    take(target.make(tmp_path), path.read_bytes())


def test_every_target_has_whole_inputs_to_start_from() -> None:
    assert len(TARGETS) >= 20
    assert all(target.seeds() for target in TARGETS.values())
