"""How much memory is left: the machine's answer, and the cgroups that cut it."""

import pytest

from gemma_edge.hardware.machine import (
    Answers,
    Memory,
    decide_linux,
    parse_left,
    parse_meminfo,
    parse_memory,
    parse_vm_stat,
)

GIB = 1 << 30
MEMINFO = "MemTotal:       16777216 kB\nMemFree:  1000 kB\nMemAvailable:   12582912 kB\n"
MEMINFO += "HugePages_Total:     512\n"
VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            400000.
Pages inactive:                          300000.
Pages speculative:                          500.
"""


def test_meminfo():
    assert parse_meminfo(MEMINFO) == 12 * GIB
    assert parse_meminfo(MEMINFO, "HugePages_Total") == 512
    assert parse_meminfo("MemTotal: 1 kB\n") is None


def test_vm_stat():
    assert parse_vm_stat(VM_STAT) == 310_500 * 16384
    assert parse_vm_stat("") is None


@pytest.mark.parametrize(
    ("limit", "used", "stat", "left"),
    [
        ("max", "5", "", None),
        ("9223372036854771712", "5", "", None),
        ("100", "40", "", 60),
        ("100", "40", "inactive_file 30\nactive_file 5", 90),
        ("100", "40", "cache 1\ntotal_inactive_file 10", 70),
        ("", "", "", None),
    ],
)
def test_what_a_cgroup_has_left(limit, used, stat, left):
    assert parse_left(limit, used, stat) == left


def test_the_tightest_limit_counts():
    assert decide_linux(12 * GIB, 16 * GIB) == Memory(12 * GIB, "12.0 GiB are available", 16 * GIB)
    cut = decide_linux(12 * GIB, 16 * GIB, 6 * GIB, 8 * GIB)
    assert cut == Memory(6 * GIB, "the cgroup leaves 6.0 GiB of 12.0 GiB", 8 * GIB)
    limited = decide_linux(12 * GIB, 16 * GIB, 6 * GIB, 8 * GIB, 2 * GIB)
    assert limited == Memory(2 * GIB, "`ulimit -v` allows 2.0 GiB of 12.0 GiB", 8 * GIB)
    assert decide_linux(None, None).available_bytes is None


@pytest.mark.parametrize(
    ("limits", "available", "total"),
    [
        ({"job/memory.max": 6 * GIB, "job/memory.current": GIB}, 5, 6),  # not ours, but above us
        ({"job/step/memory.high": 3 * GIB, "job/step/memory.current": GIB}, 2, 3),
        ({"job/memory.max": 30 * GIB, "job/memory.current": GIB}, 12, 16),  # more than there is
        (  # the tighter of two, although its limit is the larger one
            {
                "job/memory.max": 6 * GIB, "job/memory.current": 5 * GIB,
                "job/step/memory.max": 4 * GIB, "job/step/memory.current": GIB,
            },
            1, 4,
        ),
        ({"job/step/memory.max": GIB, "job/step/memory.current": 2 * GIB}, 0, 1),
    ],
)  # fmt: skip
def test_a_group_above_us(limits, available, total):
    files = {f"/sys/fs/cgroup/{name}": f"{number}\n" for name, number in limits.items()}
    files |= {"/proc/meminfo": MEMINFO, "/proc/self/cgroup": "0::/job/step\n"}
    found = parse_memory(Answers({"system": "linux", "files": files}))
    assert (found.available_bytes, found.total_bytes) == (available * GIB, total * GIB)


def test_a_machine_that_does_not_say():
    for system in ("linux", "darwin", "win32", ""):
        assert parse_memory(Answers({"system": system})).available_bytes is None
