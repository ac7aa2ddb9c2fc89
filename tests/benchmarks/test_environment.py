"""What the machine is, read from made-up /proc and /sys trees and from this machine."""

import os
from pathlib import Path

import pytest

from msd_edge.benchmarks import environment
from msd_edge.benchmarks.environment import Cores, installed_version, installed_versions, parse_cpuinfo, read_quota

XEON = """processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu sse4_2 avx fma avx2 avx512f avx512bw avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8 avx_vnni
processor\t: 1
model name\t: something else
"""
ARM = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 fphp asimdhp asimddp i8mm bf16
CPU implementer\t: 0x41
CPU part\t: 0xd05
processor\t: 1
CPU part\t: 0xd0b
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_x86_features_have_the_names_people_use() -> None:
    found = parse_cpuinfo(XEON)
    assert found.name == "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"
    assert {"AVX2", "AVX512F", "AVX512-VNNI", "AVX-VNNI", "AVX512-BF16", "AMX", "AMX-INT8"} <= set(found.features)


def test_arm_cores_are_named_by_their_parts() -> None:
    found = parse_cpuinfo(ARM)
    assert found.name == "Cortex-A55 + Cortex-A76"
    assert found.features == ("NEON", "FP16", "NEON-FP16", "NEON-dotprod", "I8MM", "BF16")


@pytest.mark.parametrize("text", ["", "nonsense", "CPU part\t: zzz\n", "flags:\n"])
def test_odd_cpuinfo_is_no_error(text: str) -> None:
    assert parse_cpuinfo(text).features == ()


def test_version_2_takes_the_smallest_limit_on_the_way_up(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/a/b\n")
    write(tmp_path / "sys/fs/cgroup/a/b/cpu.max", "max 100000\n")
    write(tmp_path / "sys/fs/cgroup/a/cpu.max", "150000 100000\n")
    assert read_quota(tmp_path) == 1.5


def test_version_1_by_joint_and_single_controller_names(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/job\n")
    write(tmp_path / "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "50000\n")
    write(tmp_path / "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n")
    assert read_quota(tmp_path) == 0.5


def test_a_path_of_the_host_falls_back_to_the_mount(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/docker/0123\n")
    write(tmp_path / "sys/fs/cgroup/cpu.max", "200000 100000\n")
    assert read_quota(tmp_path) == 2.0


@pytest.mark.parametrize("limit", ["max 100000", "", "broken", "100000 0"])
def test_no_limit_and_unreadable_limits_are_none(tmp_path: Path, limit: str) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/\nbroken line\n")
    write(tmp_path / "sys/fs/cgroup/cpu.max", limit)
    assert read_quota(tmp_path) is None


def test_no_control_groups_at_all(tmp_path: Path) -> None:
    assert read_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("affinity", "quota", "allowed"), [(8, None, 8), (8, 2.5, 2), (2, 4.0, 2), (4, 0.5, 1), (4, 1.0, 1)]
)
def test_threads_that_can_run_at_the_same_time(affinity: int, quota: float | None, allowed: int) -> None:
    assert Cores(8, affinity, quota).allowed == allowed


def test_a_memory_limit_of_the_group_counts(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/\n")
    write(tmp_path / "sys/fs/cgroup/memory.max", str(64 << 20))
    assert environment.read_memory(tmp_path) == 64
    write(tmp_path / "sys/fs/cgroup/memory.max", "max")
    assert environment.read_memory(tmp_path) > 64


def test_this_machine_answers() -> None:
    assert environment.read_processor().name
    assert 1 <= environment.read_cores().allowed <= (os.cpu_count() or 1)
    assert environment.describe_system()


def test_versions_come_from_metadata() -> None:
    assert installed_version("no-such-package-anywhere") is None
    assert set(installed_versions(["numpy", "no-such-package-anywhere"])) == {"numpy"}
