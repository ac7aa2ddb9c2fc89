"""Training's speed is held against the plain loop's: every way is measured, and bad input told in a sentence."""

import subprocess
import sys

import pytest

from msd_edge.benchmarks.training_speed import main
from msd_edge.errors import ConfigError


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "msd_edge.benchmarks.training_speed", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_way_of_training_is_measured() -> None:
    small = ("--arch", "resnet8", "--width", "4", "--images", "256", "--rounds", "3")
    done = run(*small, "--initial-scale", "0.5", "--freeze-early", "0.4")
    assert done.returncode == 0, done.stderr
    rows = {line[:38].strip(): line.split()[-3:] for line in done.stdout.splitlines() if line[38:].split()}
    ours = ("msd-edge", "msd-edge, --initial-scale 0.5", "msd-edge, --freeze-early 0.4", "msd-edge, both")
    for way in (*ours, "plain loop, images in memory", "plain loop, data loader"):
        speed, lowest, ratio = next(map(float, found) for name, found in rows.items() if name == way[:38].strip())
        assert speed >= lowest > 0
        assert ratio > 0
    assert rows["plain loop, data loader"][-1] == "1.00"


def test_too_few_rounds_are_refused_first() -> None:
    with pytest.raises(ConfigError, match=r"--initial-scale 0.5: images grow over three rounds or more, not 2\."):
        main(data="nothing.npz", rounds=2, initial_scale=0.5)
    with pytest.raises(ConfigError, match=r"--freeze-early 0.5: in 1 rounds nothing would be frozen; take more\."):
        main(data="nothing.npz", rounds=1, freeze_early=0.5)


def test_data_that_is_not_there_is_told_in_a_sentence() -> None:
    done = run("--data", "nothing.npz")
    assert done.returncode == 2
    assert "nothing.npz" in done.stderr
    assert "Traceback" not in done.stderr
