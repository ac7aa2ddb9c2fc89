"""Which number format training computes in: measured, not guessed."""

import time
from collections.abc import Callable
from statistics import median

import torch

from msd_edge.errors import ConfigError
from msd_edge.training.choices import Precision
from msd_edge.training.distributed import ALONE, World

# On a GPU a small network's step, timed as it is, is its launches: alike in both formats. Replayed from a recording it
# is what the GPU computes, which takes no longer in bf16.
_ALIKE = 1.1


def has_native_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 in hardware; slower emulation does not count."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return False
    return any(name in flags.split() for name in ("avx512_bf16", "amx_bf16", "bf16"))


def choose_precision(
    wanted: Precision,
    device: torch.device,
    step: Callable[[torch.dtype], None],
    world: World = ALONE,
    *,
    replayed: bool = False,
) -> tuple[Precision, str]:
    """Choose fp32 or bf16.

    Args:
        wanted: what was asked for; ``auto`` times a step both ways where the device has bf16.
        device: where it runs.
        step: runs one training step in a number format, leaving nothing behind.
        world: the processes that train together; all take what the first one finds.
        replayed: steps will be replayed from a recording (``RecordedStep``); bf16 is then taken where both are alike.

    Returns:
        The precision, and a few words on why.

    Raises:
        ConfigError: bf16 was asked for on a GPU that has none.
    """
    native = all(world.gather(has_native_bf16(device)))
    if wanted == "bf16" and device.type == "cuda" and not native:
        raise ConfigError("--precision bf16: this GPU does not compute it; use --precision fp32.")
    if wanted != "auto":
        return wanted, "as asked"
    if not native:
        return "fp32", "this processor has no bf16"
    slow, fast = (_time(step, dtype) for dtype in (torch.float32, torch.bfloat16))
    found: Precision = "bf16" if fast < slow * (_ALIKE if replayed else 1) else "fp32"
    better = world.share(lambda: found)
    alike = "; alike, and replayed in bf16" if replayed and slow <= fast < slow * _ALIKE else ""
    return better, f"a step takes {slow * 1e3:.0f} ms in fp32, {fast * 1e3:.0f} in bf16{alike}"


def _time(step: Callable[[torch.dtype], None], dtype: torch.dtype) -> float:
    step(dtype)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        step(dtype)
        times.append(time.perf_counter() - start)
    return median(times)
