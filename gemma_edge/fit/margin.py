"""What is taken beside llama.cpp's buffers, and what is left free on purpose, because other
programs take memory too (fit.md 5.4)."""

from gemma_edge.fit.shape import Shape
from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.units import GIB, MIB


def margin_bytes(device: Device | None, hardware: Hardware) -> tuple[int, str]:
    """The reserve of one device, None for main memory, and why it is so large."""
    if device is None:
        total = hardware.memory.total_bytes or hardware.memory.available_bytes or 0
        return max(2 * GIB, total // 10), "2 GiB or a tenth of main memory, for other programs"
    if device.integrated:
        return GIB, "its memory is main memory, which other programs take too"
    total = device.total_bytes
    if hardware.system == "win32" or hardware.wsl:
        # WDDM spills into main memory without an error, 5 to 30 times slower (fit.md 5.3).
        reserve = max(512 * MIB, min(GIB, total // 8))
        return reserve, "Windows moves to main memory what does not fit, without a word"
    if device.display:
        return max(512 * MIB, total * 3 // 100), "a desktop draws with it"
    return max(256 * MIB, total // 50), "no desktop draws with it"


# What a process holds on a device beside llama.cpp's buffers: cudaMemGetInfo before and after
# (Unsloth measured 320 to 330 MiB for CUDA; the others are estimates, fit.md 3.8 and 7).
RUNTIME_BYTES = {"cuda": 330 * MIB, "rocm": 300 * MIB, "vulkan": 150 * MIB, "sycl": 300 * MIB}

# What llama.cpp takes outside the buffers that it reports: graphs, tables of tensors, and room for
# quantized activations. 2.6 to 10.5 MiB more than its buffers were resident when E2B and E4B were
# loaded at 8k and 32k (scripts/bench/fit.py, "loads").
LLAMA_OWN_BYTES = 8 * MIB

# Anonymous memory of the two processes, command line and engine, with their libraries; and what
# one token of the vocabulary takes in llama.cpp, in Python and in llguidance's tree. Gemma 4's
# 262,144 tokens: 258 MiB with a schema, 110 without; Gemma 3's, without merges, 187
# (scripts/bench/fit_program.py).
_PROGRAM_BYTES, _TOKEN_BYTES = 72 * MIB, 1040


def program_bytes(shape: Shape) -> int:
    """Main memory of the program itself, with a model's vocabulary."""
    return _PROGRAM_BYTES + LLAMA_OWN_BYTES + _TOKEN_BYTES * shape.vocabulary_tokens
