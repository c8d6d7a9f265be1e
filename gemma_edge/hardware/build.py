"""The installed llama.cpp: what it was built with, and whether this processor can run it. Pure."""

import re

from gemma_edge.hardware.cpu import MACOS_FEATURES, WINDOWS_FEATURES, Cpu
from gemma_edge.hardware.devices import backend_of
from gemma_edge.hardware.machine import Build
from gemma_edge.hardware.text import Answers

# ggml's word for an instruction set (ggml-cpu.cpp, get_features) -> /proc/cpuinfo's.
INSTRUCTIONS = {
    "SSE3": "pni", "SSSE3": "ssse3", "AVX": "avx", "AVX_VNNI": "avx_vnni", "AVX2": "avx2",
    "F16C": "f16c", "FMA": "fma", "BMI2": "bmi2", "AVX512": "avx512f",
    "AVX512_VBMI": "avx512vbmi", "AVX512_VNNI": "avx512_vnni", "AVX512_BF16": "avx512_bf16",
    "AMX_INT8": "amx_int8", "NEON": "asimd", "FP16_VA": "asimdhp", "MATMUL_INT8": "i8mm",
    "DOTPROD": "asimddp", "SVE": "sve", "SME": "sme",
}  # fmt: skip
# Without these the processor's part is several times slower (fit.md 4.3: 10 tok/s against 45).
_WANTED = ("AVX", "AVX2", "FMA", "DOTPROD")


def parse_build(answers: Answers) -> Build:
    """Version, backends, instructions; ``error`` where the libraries cannot be loaded."""
    probe = answers.part("probe")
    ggml = probe.part("ggml")
    backends = tuple(dict.fromkeys(backend_of(name) for name in ggml.words("backends")))
    return Build(
        version=probe.part("llama").text("version"),
        backends=backends or ("cpu",),
        instructions=parse_instructions(ggml.text("system_info")),
        error=_error(probe),
    )


def parse_instructions(system_info: str) -> tuple[str, ...]:
    """ggml's words out of ``llama_print_system_info``: ``CPU : SSE3 = 1 | AVX2 = 1 | ...``."""
    found = re.findall(r"(\w+) = 1\b", system_info)
    return tuple(dict.fromkeys(word for word in found if word in INSTRUCTIONS))


def parse_architectures(system_info: str) -> tuple[tuple[int, int], ...]:
    """CUDA capabilities that the build holds code for: ``ARCHS = 500,750,1200`` -> (5, 0), ..."""
    found = re.search(r"ARCHS = ([\d,]{1,200})", system_info)
    numbers = [int(word) // 10 for word in found[1].split(",") if word] if found else []
    return tuple((number // 10, number % 10) for number in numbers)


def lacking(build: Build, cpu: Cpu, system: str) -> tuple[str, ...]:
    """Instructions that the build uses and the processor does not have: a crash (SIGILL).
    Linux lists all of them; macOS and Windows answer for a few, and say nothing of the others."""
    told = {"darwin": MACOS_FEATURES, "win32": WINDOWS_FEATURES}.get(system)
    covered = INSTRUCTIONS.values() if told is None else told.values()
    return tuple(
        word
        for word in build.instructions
        if cpu.instructions
        and INSTRUCTIONS[word] in covered
        and INSTRUCTIONS[word] not in cpu.instructions
    )


def unused(build: Build, cpu: Cpu) -> tuple[str, ...]:
    """Instructions that matter, that the processor has and the build does not use."""
    if not build.instructions:
        return ()
    return tuple(
        word
        for word in _WANTED
        if INSTRUCTIONS[word] in cpu.instructions and word not in build.instructions
    )


def _error(probe: Answers) -> str:
    """The loader's word, or how the probe ended before it could say anything about ggml."""
    if probe.part("llama").raw.get("found") is False:
        return "llama-cpp-python is not installed"
    if "ggml" in probe.raw or not probe.raw:
        return probe.part("ggml").text("error")
    status = probe.raw.get("status")
    if status is None:
        return "its libraries did not answer in time"
    known = _ENDS.get(status, f"exit status {status}") if isinstance(status, int) else "unknown"
    return f"its libraries crashed ({known})"


_ENDS = {
    -4: "illegal instruction",
    -6: "abort",
    -7: "bus error",
    -9: "killed",
    -11: "segmentation fault",
    0xC000001D: "illegal instruction",  # Windows' STATUS_ILLEGAL_INSTRUCTION
}
