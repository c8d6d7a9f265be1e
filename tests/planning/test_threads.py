"""How many threads, and why."""

import pytest

from gemma_edge.hardware.machine import Cpu
from gemma_edge.planning.speed import choose_threads

BIG = 4 << 30


@pytest.mark.parametrize(
    ("cpu", "more", "expected"),
    [
        (Cpu(6, "six"), {}, (6, 6)),
        (Cpu(6, "six"), {"asked": 9}, (9, 9)),
        (Cpu(6, "six"), {"asked": 9999}, (12, 12)),
        (Cpu(1, "one"), {"asked": 3, "all_on_gpu": True}, (2, 2)),
        (Cpu(14, "14", 6), {}, (6, 14)),
        (Cpu(10, "2 + 8", 2), {}, (10, 10)),
        (Cpu(14, "14", 6), {"all_on_gpu": True}, (4, 14)),
        (Cpu(2, "two"), {"all_on_gpu": True}, (2, 2)),
        (Cpu(8, "eight"), {"busy_programs": 0}, (8, 8)),
        (Cpu(8, "eight"), {"busy_programs": 2}, (6, 6)),
        (Cpu(14, "14", 6), {"busy_programs": 4}, (6, 10)),
        (Cpu(8, "eight"), {"busy_programs": 99}, (4, 4)),
        (Cpu(2, "two"), {"busy_programs": 1}, (1, 1)),
        (Cpu(1, "one"), {"busy_programs": 9.0}, (1, 1)),
        (Cpu(8, "eight"), {"busy_programs": 99, "asked": 8}, (8, 8)),
    ],
)
def test_threads(cpu, more, expected):
    threads = choose_threads(cpu, BIG, **more)
    assert (threads.decode, threads.prefill) == expected
    assert threads.reason


def test_a_tiny_model_gets_one():
    assert choose_threads(Cpu(6, "six"), 3 << 20).decode == 1
    assert choose_threads(Cpu(6, "six"), 33 << 20).decode == 6
    assert choose_threads(Cpu(6, "six"), 3 << 20, asked=4).decode == 4
