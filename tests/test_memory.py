"""How much memory is left: the machine's answer, and the cgroups that cut it."""

from pathlib import Path

import pytest

from gemma_edge.hardware import memory
from gemma_edge.hardware.memory import (
    Memory,
    decide_linux,
    parse_left,
    parse_meminfo,
    parse_vm_stat,
)

GIB = 1 << 30
MEMINFO = "MemTotal:       16384000 kB\nMemFree:  1000 kB\nMemAvailable:   12582912 kB\n"
VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            400000.
Pages inactive:                          300000.
Pages speculative:                          500.
"""


def test_meminfo():
    assert parse_meminfo(MEMINFO) == 12 * GIB
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
    assert decide_linux(12 * GIB, []) == Memory(12 * GIB, "12.0 GiB are available")
    cut = decide_linux(12 * GIB, [6 * GIB, 20 * GIB])
    assert cut == Memory(6 * GIB, "the cgroup leaves 6.0 GiB of 12.0 GiB")
    assert decide_linux(12 * GIB, [-5]).available_bytes == 0
    assert decide_linux(None, []).available_bytes is None


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux reads /proc")
def test_a_container_with_six_gigabytes(tmp_path):
    group = tmp_path / "sys/fs/cgroup/job/step"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(MEMINFO)
    (tmp_path / "proc/self/cgroup").write_text("0::/job/step\n")
    (group / "memory.max").write_text("max\n")
    (group.parent / "memory.max").write_text(f"{6 * GIB}\n")
    (group.parent / "memory.current").write_text(f"{GIB}\n")
    assert memory.detect_memory(tmp_path).available_bytes == 5 * GIB


def test_this_machine_answers():
    found = memory.detect_memory()
    assert found.available_bytes is None or found.available_bytes > 0
    assert found.reason
