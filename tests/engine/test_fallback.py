"""What a death means, and what is tried next: pure, over recorded words."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_edge.engine.engine import PromptProgress
from gemma_edge.engine.fallback import (
    next_plan,
    render_change,
    render_numbers,
    render_restart,
)
from gemma_edge.engine.protocol import Prefill
from gemma_edge.isolation import parse_death
from gemma_edge.planning.plan import Account, Ledger, MemoryPart, Plan

PLAN = Plan(model=Path("e4b.gguf"), name="E4B", context_tokens=32768, batch_tokens=512)

# As llama.cpp, ggml's backends and the C++ library word it.
MEMORY = [
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: cudaMalloc "
    "failed: out of memory",
    "ggml_vulkan: Device memory allocation of size 1073741824 failed.\n"
    "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
    "ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 2147483648",
    "ggml_aligned_malloc: insufficient memory (attempted to allocate 2048.00 MB)",
    "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc",
    "CUDA error: out of memory\n  current device: 0, in function alloc at ggml-cuda.cu:511",
    "MemoryError",
]


@pytest.mark.parametrize("text", MEMORY)
def test_words_of_memory(text: str) -> None:
    death = parse_death(-signal.SIGABRT, ["llama_init: all is well", *text.splitlines()])
    assert death.cause == "memory"
    assert death.reason.startswith("out of memory: ")
    assert "all is well" not in death.reason


def test_a_silent_kill_is_the_systems() -> None:
    assert parse_death(-9, []).cause == "memory"
    assert parse_death(-9, ["a warning"]).reason.startswith("killed")


@pytest.mark.parametrize("status", [-4, 0xC000001D, 0xC000001D - (1 << 32)])
def test_an_instruction_that_is_not_there(status: int) -> None:
    assert parse_death(status, []).cause == "instruction"


@pytest.mark.parametrize(
    ("status", "lines", "reason"),
    [
        (
            -6,
            ["x", "ggml.c:12: GGML_ASSERT(a) failed"],
            "SIGABRT: ggml.c:12: GGML_ASSERT(a) failed",
        ),
        (-11, [], "SIGSEGV"),
        (3, ["the last line"], "status 3: the last line"),
        (-99, [], "signal 99"),
    ],
)
def test_other_deaths_say_what_is_known(status: int, lines: list[str], reason: str) -> None:
    death = parse_death(status, lines)
    assert (death.cause, death.reason) == ("crash", reason)


def test_the_ladder_goes_down_to_its_end() -> None:
    first, second = replace(PLAN, batch_tokens=256), replace(PLAN, context_tokens=8192)
    plan = replace(PLAN, fallbacks=(first, second))
    step = next_plan(plan)
    assert step == replace(first, fallbacks=(second,))
    assert next_plan(step) == second
    assert next_plan(second) is None
    death = parse_death(-9, [])
    assert render_restart(death, plan, step).endswith("; started again with ubatch 256")
    assert render_restart(death, PLAN, PLAN).endswith("; started again")


def test_a_change_in_words() -> None:
    smaller = replace(
        PLAN, batch_tokens=128, context_tokens=8192, kv_type="q8_0", cpu_expert_layers=4
    )
    assert (
        render_change(PLAN, smaller)
        == "context 8,192, ubatch 128, q8_0 KV, 4 expert layers on the CPU"
    )
    other = replace(PLAN, model=Path("e2b.gguf"), name="E2B")
    assert render_change(PLAN, other) == "E2B"
    on_gpu = replace(PLAN, devices=("CUDA0",), gpu_layers=43, projector_device="CUDA0")
    assert (
        render_change(on_gpu, replace(on_gpu, gpu_layers=30, projector_device=""))
        == "30 layers on the GPU, projector on the CPU"
    )
    assert not render_change(PLAN, PLAN)


def test_the_ledgers_numbers() -> None:
    part = MemoryPart(name="weights", size_bytes=3 << 30)
    accounts = (
        Account(place="CUDA0", title="RTX", budget_bytes=4 << 30, parts=(part,)),
        Account(place="RAM", title="main memory", budget_bytes=None, parts=(part,)),
    )
    planned = replace(PLAN, ledger=Ledger(accounts=accounts))
    assert render_numbers(planned) == "CUDA0 3.0 GiB of 4.0 GiB, RAM 3.0 GiB"
    assert not render_numbers(PLAN)


def test_reading_is_told_after_a_second_and_four_times_in_one() -> None:
    times = iter([0.0, 0.5, 0.99, 1.0, 1.1, 1.24, 1.25, 3.0])
    progress = PromptProgress(800, clock=lambda: next(times))
    told = [each for done in range(100, 800, 100) for each in progress.at(done)]
    assert told == [Prefill(300, 800), Prefill(600, 800), Prefill(700, 800)]


def test_a_drafter_that_is_given_up_is_told() -> None:
    plan = Plan(model=Path("m.gguf"), drafter=Path("d.gguf"), context_tokens=1, batch_tokens=1)
    assert render_change(plan, replace(plan, drafter=None)) == "no drafter"
