"""Cores we may use: recorded texts in, a number and its reason out."""

from pathlib import PurePosixPath

import pytest

from gemma_edge.hardware import cpu
from gemma_edge.hardware.cgroups import parse_cgroups


def cpuinfo(*rows):
    """(package, core) of each processor, as x86 Linux prints them."""
    return "\n\n".join(
        f"processor\t: {number}\nmodel name\t: Some CPU: 3.0 GHz\nphysical id\t: {package}\n"
        f"core id\t\t: {core}"
        for number, (package, core) in enumerate(rows)
    )


LAPTOP = cpuinfo((0, 0), (0, 0), (0, 1), (0, 1))  # 2 cores, 4 hardware threads
SERVER = cpuinfo(*[(package, core) for package in (0, 1) for core in range(8)])
ARM = "processor\t: 0\nBogoMIPS\t: 48.00\n\nprocessor\t: 1\nBogoMIPS\t: 48.00\n"


@pytest.mark.parametrize(
    ("text", "allowed", "quota", "cores", "reason"),
    [
        (LAPTOP, range(4), None, 2, "2 physical cores, 4 hardware threads"),
        (SERVER, range(16), None, 16, "16 physical cores"),
        (ARM, range(2), None, 2, "2 physical cores"),
        (
            SERVER, (0, 1, 8), None, 3,
            "3 physical cores, affinity allows 3 of 16 processors",
        ),
        (SERVER, range(16), 2.5, 2, "16 physical cores, the cgroup grants 2.5"),
        (SERVER, range(16), 0.5, 1, "16 physical cores, the cgroup grants 0.5"),
        (LAPTOP, range(4), 8.0, 2, "2 physical cores, 4 hardware threads"),
    ],
)  # fmt: skip
def test_linux(text, allowed, quota, cores, reason):
    decided = cpu.decide_linux(cpu.parse_cpuinfo(text), allowed, quota)
    assert (decided.cores, decided.reason) == (cores, reason)


def test_hyper_threads_share_a_core():
    assert cpu.parse_cpuinfo(LAPTOP) == {0: (0, 0), 1: (0, 0), 2: (0, 1), 3: (0, 1)}
    assert cpu.parse_cpuinfo(ARM) == {}
    assert cpu.parse_cpuinfo("") == {}


@pytest.mark.parametrize(
    ("quota", "period", "processors"),
    [
        ("max", "100000", None),
        ("-1", "100000", None),
        ("", "", None),
        ("200000", "0", None),
        ("200000", "100000", 2.0),
        ("150000", "100000", 1.5),
    ],
)
def test_quotas(quota, period, processors):
    assert cpu.parse_quota(quota, period) == processors


def test_cgroup_paths_of_both_versions():
    text = "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/user.slice\n"
    assert parse_cgroups(text) == {
        "memory": PurePosixPath("/docker/abc"),
        "cpu": PurePosixPath("/docker/abc"),
        "cpuacct": PurePosixPath("/docker/abc"),
        "": PurePosixPath("/user.slice"),
    }


@pytest.mark.skipif(not hasattr(cpu.os, "sched_getaffinity"), reason="reads Linux's own files")
@pytest.mark.parametrize(
    ("files", "quota"),
    [
        (
            {"sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "100000 100000"},
            1,
        ),
        ({"sys/fs/cgroup/cpu.max": "300000 100000"}, 3),
        (
            {
                "sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        ({}, None),
    ],
)
def test_the_smallest_quota_above_us_counts(tmp_path, files, quota):
    files = {"proc/cpuinfo": SERVER, "proc/self/cgroup": "1:cpu:/a/b\n0::/a/b\n"} | files
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = cpu.detect_cpu(tmp_path)
    assert found.cores >= 1
    granted = f"the cgroup grants {quota:g}" if quota else "the cgroup"
    physical = int(found.reason.split()[0])
    assert (granted in found.reason) == (quota is not None and quota < physical)


def test_macos_and_unknown_systems():
    text = "hw.perflevel0.physicalcpu: 4\nhw.physicalcpu: 8\nkern.version: Darwin: 24\n"
    assert cpu.parse_sysctl(text) == {"hw.perflevel0.physicalcpu": 4, "hw.physicalcpu": 8}
    assert cpu.decide_unknown(4) == cpu.Cpu(4, "4 hardware threads, taken as 4 cores")
    assert cpu.decide_unknown(16) == cpu.Cpu(8, "16 hardware threads, taken as 8 cores")


def test_this_machine_has_a_core_and_a_reason():
    found = cpu.detect_cpu()
    assert found.cores >= 1
    assert found.reason
