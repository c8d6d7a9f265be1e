"""How many threads decode and how many read prompts, with the reason. Pure."""

from dataclasses import dataclass

from gemma_edge.hardware import Cpu

# Two threads wait for each other several hundred times a token. The bundled model (3.5 MB) reads
# the example invoice in 0.2 s with one thread, and in a minute with two where another program wants
# the second core.
SMALL_MODEL_BYTES = 32 << 20
# Threads share the work evenly and wait for the slowest. Slow cores do about half of a fast one, so
# all together are faster than the fast ones alone where they outnumber them by far (2 + 8).
OUTNUMBERED = 2.5
GPU_THREADS = 4  # all on the GPU, more only wait: 4 threads 9.1 tok/s, 7 threads 8.7 (fit.md 4.6)


@dataclass(frozen=True, slots=True)
class Threads:
    """``decode`` make tokens, ``prefill`` read prompts; both at least 1."""

    decode: int
    prefill: int
    reason: str


def choose_threads(
    cpu: Cpu, model_bytes: int, *, asked: int | None = None, busy_programs: int | None = None,
    all_on_gpu: bool = False,
) -> Threads:  # fmt: skip
    """Cores that are ours and free; llama.cpp's threads wait for the slowest, and one that shares
    its core with another program stops them all. ``busy_programs`` is how many other programs want
    a core, on the whole machine; so half of ours stay at least."""
    if asked is not None:
        return Threads(asked, asked, "as asked")
    if model_bytes < SMALL_MODEL_BYTES and cpu.cores > 1:
        reason = "the model is so small that handing work over takes longer than the work"
        return Threads(1, 1, reason)
    fast, cores, reason = cpu.fast_cores or cpu.cores, cpu.cores, cpu.reason
    if cores > OUTNUMBERED * fast:
        fast = cores
    busy = busy_programs or 0
    if busy and cores > 1:
        cores = max(cores - busy, cores // 2)
        fast = min(fast, cores)
        reason += f", {busy} other program{'s want' if busy > 1 else ' wants'} a core"
    if all_on_gpu and fast > GPU_THREADS:
        return Threads(GPU_THREADS, cores, f"the GPU does the work; {reason}")
    return Threads(fast, cores, reason)
