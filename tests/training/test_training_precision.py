"""Which number format training takes, by what its steps take."""

import pytest
import torch

from msd_edge.training import precision
from msd_edge.training.precision import choose_precision


def run_on(monkeypatch: pytest.MonkeyPatch, device: str, *, fp32: float, bf16: float) -> str:
    """Choose where a step takes so many seconds by the clock."""
    now = 0.0

    def step(dtype: torch.dtype) -> None:
        nonlocal now
        now += bf16 if dtype == torch.bfloat16 else fp32

    monkeypatch.setattr(precision, "has_native_bf16", lambda device: True)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: now)
    chosen, reason = choose_precision("auto", torch.device(device), step)
    assert f"{fp32 * 1e3:.0f} ms in fp32, {bf16 * 1e3:.0f} in bf16" in reason
    return chosen


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_faster_one_is_taken(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    assert run_on(monkeypatch, device, fp32=0.020, bf16=0.010) == "bf16"
    assert run_on(monkeypatch, device, fp32=0.010, bf16=0.020) == "fp32"


def test_alike_means_bf16_on_a_gpu_and_fp32_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_on(monkeypatch, "cuda", fp32=0.014, bf16=0.015) == "bf16"
    assert run_on(monkeypatch, "cpu", fp32=0.014, bf16=0.015) == "fp32"
