"""Which number format training takes, by what its steps take."""

import pytest
import torch

from msd_edge.training import precision
from msd_edge.training.precision import choose_precision


def choose(monkeypatch: pytest.MonkeyPatch, *, fp32: float, bf16: float, replayed: bool) -> tuple[str, str]:
    """Choose where a step takes so many seconds by the clock."""
    now = 0.0

    def step(dtype: torch.dtype) -> None:
        nonlocal now
        now += bf16 if dtype == torch.bfloat16 else fp32

    monkeypatch.setattr(precision, "has_native_bf16", lambda device: True)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: now)
    return choose_precision("auto", torch.device("cpu"), step, replayed=replayed)


@pytest.mark.parametrize("replayed", [False, True])
def test_the_faster_one_is_taken(monkeypatch: pytest.MonkeyPatch, replayed: bool) -> None:
    found, reason = choose(monkeypatch, fp32=0.020, bf16=0.010, replayed=replayed)
    assert (found, reason) == ("bf16", "a step takes 20 ms in fp32, 10 in bf16")
    assert choose(monkeypatch, fp32=0.010, bf16=0.020, replayed=replayed)[0] == "fp32"


def test_alike_means_bf16_where_steps_are_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    found, reason = choose(monkeypatch, fp32=0.014, bf16=0.015, replayed=True)
    assert (found, reason) == ("bf16", "a step takes 14 ms in fp32, 15 in bf16; alike, and replayed in bf16")
    assert choose(monkeypatch, fp32=0.014, bf16=0.015, replayed=False)[0] == "fp32"
