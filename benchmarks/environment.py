"""What this machine is: processor, features, cores allowed, memory, system, package versions. Imports nothing heavy."""

import contextlib
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MIB = 1 << 20

# The kernel's flag, and the name that people use; in the order they are shown.
_X86 = {
    "sse4_2": "SSE4.2",
    "avx": "AVX",
    "f16c": "F16C",
    "fma": "FMA",
    "avx2": "AVX2",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX512F",
    "avx512bw": "AVX512BW",
    "avx512_vnni": "AVX512-VNNI",
    "avx512_bf16": "AVX512-BF16",
    "avx512_fp16": "AVX512-FP16",
    "amx_tile": "AMX",
    "amx_int8": "AMX-INT8",
    "amx_bf16": "AMX-BF16",
}
_ARM = {
    "neon": "NEON",
    "asimd": "NEON",
    "fphp": "FP16",
    "asimdhp": "NEON-FP16",
    "asimddp": "NEON-dotprod",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
    "sve2": "SVE2",
    "sme": "SME",
}
_APPLE = {
    "hw.optional.AdvSIMD": "NEON",
    "hw.optional.arm.FEAT_FP16": "NEON-FP16",
    "hw.optional.arm.FEAT_DotProd": "NEON-dotprod",
    "hw.optional.arm.FEAT_I8MM": "I8MM",
    "hw.optional.arm.FEAT_BF16": "BF16",
    "hw.optional.arm.FEAT_SME": "SME",
    "hw.optional.avx2_0": "AVX2",
    "hw.optional.avx512f": "AVX512F",
}
# Arm's "CPU part" numbers, for kernels that give no model name (implementer 0x41 is Arm itself).
_ARM_PARTS = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD49: "Neoverse-N2",
    0xD4F: "Neoverse-V2",
}


@dataclass(frozen=True)
class Processor:
    """A processor: its name, and the instruction sets that inference speed hangs on, by the names people use."""

    name: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class Cores:
    """How many cores this process may use.

    Attributes:
        installed: cores of the machine.
        affinity: cores that the scheduler may put this process on.
        quota: cores' worth of time that the control group grants, None if unlimited.
    """

    installed: int
    affinity: int
    quota: float | None

    @property
    def allowed(self) -> int:
        """Threads that can run at the same time without being throttled; at least 1."""
        return self.affinity if self.quota is None else max(1, min(self.affinity, math.floor(self.quota)))


def read_processor(proc: Path = Path("/proc")) -> Processor:
    """Return this machine's processor; ``proc``: where Linux keeps its facts."""
    if sys.platform == "darwin":
        return _apple_processor()
    try:
        return parse_cpuinfo((proc / "cpuinfo").read_text(errors="replace"))
    except OSError:
        return Processor(platform.processor() or platform.machine() or "unknown", ())


def parse_cpuinfo(text: str) -> Processor:
    """Read the first processor of a Linux ``cpuinfo`` (x86, 32-bit or 64-bit ARM)."""
    facts: dict[str, str] = {}
    parts: dict[str, None] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            continue
        facts.setdefault(key.strip().lower(), value.strip())
        if key.strip() == "CPU part":
            parts[value.strip()] = None
    flags = set((facts.get("flags") or facts.get("features") or "").split())
    known = _X86 if "flags" in facts else _ARM
    features = tuple(dict.fromkeys(name for flag, name in known.items() if flag in flags))
    return Processor(facts.get("model name") or _arm_name(parts) or facts.get("hardware") or "unknown", features)


def _arm_name(parts: Iterable[str]) -> str:
    names = []
    for part in parts:
        try:
            names.append(_ARM_PARTS.get(int(part, 16), f"ARM part {part}"))
        except ValueError:
            continue
    return " + ".join(names)


def _apple_processor() -> Processor:
    def ask(key: str) -> str:
        try:
            answer = subprocess.run(
                ["/usr/sbin/sysctl", "-n", key], capture_output=True, text=True, timeout=5, check=False
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return answer.stdout.strip()

    return Processor(
        ask("machdep.cpu.brand_string") or platform.machine(),
        tuple(name for key, name in _APPLE.items() if ask(key) == "1"),
    )


def read_cores(root: Path = Path("/")) -> Cores:
    """Return how many cores this process may use; ``root``: where ``proc`` and ``sys`` are."""
    installed = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else installed
    return Cores(installed, affinity, read_quota(root))


def read_quota(root: Path = Path("/")) -> float | None:
    """Return the cores' worth of processor time that the control groups (version 1 or 2) grant, None if unlimited.

    A group is limited by all groups above it: the smallest limit counts.
    """
    limits: list[float] = []
    for folder in _groups(root, "cpu"):
        try:
            if (folder / "cpu.max").is_file():
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text()
                period = (folder / "cpu.cfs_period_us").read_text()
            if quota != "max" and int(quota) > 0:  # version 1 says -1 for no limit
                limits.append(int(quota) / int(period))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return min(limits, default=None)


def read_memory(root: Path = Path("/")) -> int:
    """Return the memory that this process may use, MiB: the machine's, or the control group's limit if smaller."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                limits.append(int((folder / name).read_text()))
            except (OSError, ValueError):  # "max" is no number, and no limit
                continue
    return min(limits) // _MIB


def _groups(root: Path, controller: str) -> list[Path]:
    """Return this process's control group folders for a controller, and all above them up to the mount."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders: list[Path] = []
    for line in lines:
        if line.count(":") < 2:
            continue
        number, names, path = line.split(":", 2)
        if number == "0" and not names:
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif controller in names.split(","):
            mounts = [root / "sys/fs/cgroup" / names, root / "sys/fs/cgroup" / controller]
        else:
            continue
        mount = next((mount for mount in mounts if mount.is_dir()), None)
        if mount is None:
            continue
        # Inside a container the path is often the host's and does not exist here: then the mount itself is the group.
        group = mount / path.strip("/")
        group = group if group.is_dir() and ".." not in group.parts else mount
        while True:
            folders.append(group)
            if group == mount:
                break
            group = group.parent
    return folders


def describe_machine(device: "torch.device") -> str:
    """Return the GPU that a device is, if any, the processor, its cores and the system, as a table names them."""
    card = ""
    if device.type == "cuda":
        import torch

        card = f"{torch.cuda.get_device_name(device)}, "
    return f"{card}{read_processor().name}, {read_cores().allowed:g} cores, {describe_system()}"


def describe_system() -> str:
    """Return the operating system in words: distribution, kernel, machine."""
    name = platform.system()
    if name == "Linux":
        with contextlib.suppress(OSError):
            name = platform.freedesktop_os_release().get("PRETTY_NAME", name)
        version = platform.release().split("-")[0]  # what follows names who built it, not what it does
        return f"{name} · Linux {version} · {platform.machine()}"
    if name == "Darwin":
        return f"macOS {platform.mac_ver()[0]} · {platform.machine()}"
    return f"{name} {platform.release()} · {platform.machine()}"


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed, without importing them."""
    found = {}
    for package in packages:
        version = installed_version(package)
        if version is not None:
            found[package] = version
    return found


def installed_version(package: str) -> str | None:
    """Return a package's version, None if it is not installed; the package is not imported."""
    try:
        version: str | None = metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
    return version
