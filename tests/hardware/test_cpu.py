"""Cores we may use: recorded texts in, a number and its reason out."""

from pathlib import PurePosixPath

import pytest

from gemma_edge.hardware.cgroups import divide_quota, parse_cgroups
from gemma_edge.hardware.cpu import (
    Cpu,
    decide_linux,
    decide_unknown,
    parse_cpu,
    parse_cpuinfo,
)
from gemma_edge.hardware.text import Answers, parse_number, parse_ranges, render_ranges


def cpuinfo(*rows):
    """(package, core) of each processor, as x86 Linux prints them."""
    return "\n\n".join(
        f"processor\t: {number}\nmodel name\t: Some CPU: 3.0 GHz\nphysical id\t: {package}\n"
        f"core id\t\t: {core}"
        for number, (package, core) in enumerate(rows)
    )


LAPTOP = cpuinfo((0, 0), (0, 0), (0, 1), (0, 1))  # 2 cores, 4 hardware threads
SERVER = cpuinfo(*[(package, core) for package in (0, 1) for core in range(8)])
HYBRID = cpuinfo((0, 0), (0, 0), (0, 4), (0, 4), (0, 8), (0, 9))  # 2 fast cores, 2 small ones
ARM = "processor\t: 0\nBogoMIPS\t: 48.00\n\nprocessor\t: 1\nBogoMIPS\t: 48.00\n"


@pytest.mark.parametrize(
    ("text", "allowed", "quota", "fast", "expected"),
    [
        (LAPTOP, range(4), None, (), (2, 0, "2 physical cores, 4 hardware threads")),
        (SERVER, range(16), None, (), (16, 0, "16 physical cores")),
        (ARM, range(2), None, (), (2, 0, "2 physical cores")),
        (
            SERVER, (0, 1, 8), None, (),
            (3, 0, "3 physical cores, affinity allows 3 of 16 processors"),
        ),
        (SERVER, range(16), 2.5, (), (2, 0, "16 physical cores, the cgroup grants 2.5")),
        (SERVER, range(16), 0.5, (), (1, 0, "16 physical cores, the cgroup grants 0.5")),
        (LAPTOP, range(4), 8.0, (), (2, 0, "2 physical cores, 4 hardware threads")),
        (
            HYBRID, range(6), None, range(4),
            (4, 2, "4 physical cores, 2 of them fast, 6 hardware threads"),
        ),
        (  # only small cores are allowed: all that we have are alike
            HYBRID, (4, 5), None, range(4),
            (2, 0, "2 physical cores, affinity allows 2 of 6 processors"),
        ),
        (ARM, range(2), None, range(2), (2, 0, "2 physical cores")),
    ],
)  # fmt: skip
def test_linux(text, allowed, quota, fast, expected):
    decided = decide_linux(parse_cpuinfo(text), allowed, quota, fast)
    assert (decided.cores, decided.fast_cores, decided.reason) == expected


def test_hyper_threads_share_a_core():
    assert parse_cpuinfo(LAPTOP) == {0: (0, 0), 1: (0, 0), 2: (0, 1), 3: (0, 1)}
    assert parse_cpuinfo(ARM) == {}
    assert parse_cpuinfo("") == {}


@pytest.mark.parametrize(
    ("quota", "period", "processors"),
    [
        ("max", "100000", None),
        ("-1", "100000", None),
        ("", "", None),
        ("200000", "0", None),
        ("200000", "100000", 2.0),
        ("150000\n", "100000\n", 1.5),
    ],
)
def test_quotas(quota, period, processors):
    assert divide_quota(quota, period) == processors


def test_cgroup_paths_of_both_versions():
    text = "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/user.slice\n"
    assert parse_cgroups(text) == {
        "memory": PurePosixPath("/docker/abc"),
        "cpu": PurePosixPath("/docker/abc"),
        "cpuacct": PurePosixPath("/docker/abc"),
        "": PurePosixPath("/user.slice"),
    }


@pytest.mark.parametrize(
    ("files", "granted", "cores"),
    [
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000"}, ", the cgroup grants 1", 1),
        ({"cpu.max": "300000 100000"}, ", the cgroup grants 3", 3),
        (
            {"cpu/a/b/cpu.cfs_quota_us": "250000\n", "cpu/a/b/cpu.cfs_period_us": "100000\n"},
            ", the cgroup grants 2.5", 2,
        ),
        ({}, "", 16),
    ],
)  # fmt: skip
def test_the_smallest_quota_above_us_counts(files, granted, cores):
    recorded = {f"/sys/fs/cgroup/{name}": text for name, text in files.items()}
    recorded |= {"/proc/cpuinfo": SERVER, "/proc/self/cgroup": "1:cpu:/a/b\n0::/a/b\n"}
    found = parse_cpu(Answers({"system": "linux", "affinity": "0-15", "files": recorded}))
    assert (found.cores, found.reason) == (cores, f"16 physical cores{granted}")


def test_unknown_systems():
    assert decide_unknown(4) == Cpu(4, "4 hardware threads, taken as 4 cores")
    assert decide_unknown(16) == Cpu(8, "16 hardware threads, taken as 8 cores")
    assert parse_cpu(Answers({"system": "plan9", "processors": 16})).cores == 8
    assert parse_cpu(Answers({})).cores == 1


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0-3,8\n", (0, 1, 2, 3, 8)),
        ("5", (5,)),
        ("", ()),
        ("3-1", ()),
        ("0-99999999999999", ()),  # no machine: a list of so many would fill the memory
        ("a-b,2", (2,)),
    ],
)
def test_lists_of_processors(text, numbers):
    assert parse_ranges(text) == numbers
    assert parse_ranges(render_ranges(set(numbers))) == numbers


@pytest.mark.parametrize("text", ["", "²", "1²", "٣", "9" * 5000, "-1", "1.5", "1_0", "0x1"])
def test_what_only_looks_like_a_number(text):
    """``int`` takes some of these, and raises for others that ``isdigit`` takes."""
    assert parse_number(text) is None
