"""The instructions this processor has, and the build flags of llama.cpp that use them.

``-march=native`` (llama.cpp's own default) is not used on x86: it turns on AMX wherever the
processor reports it, and a kernel that does not grant the tiles ends the process with SIGILL at
the first decode. So each flag is chosen from what the system reports, and AMX never is.
"""

import ctypes
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from install.environment import ask

# /proc/cpuinfo's name of the instructions -> llama.cpp's flag, in llama.cpp's own order.
_X86 = {
    "avx": "GGML_AVX",
    "avx2": "GGML_AVX2",
    "bmi2": "GGML_BMI2",
    "fma": "GGML_FMA",
    "f16c": "GGML_F16C",
    "avx_vnni": "GGML_AVX_VNNI",
    "avx512": "GGML_AVX512",
    "avx512vbmi": "GGML_AVX512_VBMI",
    "avx512_vnni": "GGML_AVX512_VNNI",
    "avx512_bf16": "GGML_AVX512_BF16",
}
# GGML_AVX512 compiles with all of these (ggml/src/ggml-cpu/CMakeLists.txt).
_AVX512_PARTS = {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"}
# What the published CPU wheel is built with: GGML_NATIVE=OFF leaves these at their default, ON.
WHEEL_X86 = frozenset({"avx", "avx2", "bmi2", "fma", "f16c"})
# Windows' IsProcessorFeaturePresent: PF_AVX2_INSTRUCTIONS_AVAILABLE (winnt.h).
_WINDOWS_AVX2 = 40


@dataclass(frozen=True)
class Processor:
    """``features`` are /proc/cpuinfo's names; ``machine`` is x86_64, arm64 or what else it is."""

    machine: str
    features: frozenset[str]
    reason: str


def detect_processor() -> Processor:
    """Ask this machine."""
    machine = _machine(platform.machine())
    if sys.platform == "linux":
        text = _read("/proc/cpuinfo")
        return Processor(machine, parse_cpuinfo(text), "from /proc/cpuinfo")
    if sys.platform == "darwin":
        names = ["machdep.cpu.features", "machdep.cpu.leaf7_features"]
        text = "" if machine == "arm64" else ask("sysctl", *names)
        return Processor(machine, parse_sysctl(text), "from sysctl")
    avx2 = machine == "x86_64" and _windows_has_avx2()
    features = WHEEL_X86 if avx2 else frozenset[str]()
    return Processor(machine, features, "from IsProcessorFeaturePresent")


def parse_cpuinfo(text: str) -> frozenset[str]:
    """The features that every core in ``/proc/cpuinfo`` has, x86 ("flags") or ARM ("Features")."""
    rows = [line.partition(":")[2].split() for line in text.splitlines() if _names_features(line)]
    return _with_avx512(frozenset.intersection(*map(frozenset, rows))) if rows else frozenset()


def parse_sysctl(text: str) -> frozenset[str]:
    """The features in macOS' sysctl output, in /proc/cpuinfo's spelling."""
    words = {word.lower() for line in text.splitlines() for word in line.partition(":")[2].split()}
    renamed = {"avx1.0": "avx", "avx512vnni": "avx512_vnni", "avx512bf16": "avx512_bf16"}
    return _with_avx512(frozenset(renamed.get(word, word) for word in words))


def x86_features(processor: Processor) -> list[str]:
    """What llama.cpp can use of this x86 processor, in a fixed order.

    AVX-VNNI is for processors without AVX-512, which has a wider form of it.
    """
    usable = [feature for feature in _X86 if feature in processor.features]
    if "avx512" in usable and "avx_vnni" in usable:
        usable.remove("avx_vnni")
    return usable if "avx512" in usable else [f for f in usable if not f.startswith("avx512")]


def build_flags(processor: Processor, *, plain: bool = False) -> list[str]:
    """CMake flags for the processor alone. ``plain`` stays at AVX2, or below, and ARMv8.

    Every flag is written out, ON or OFF: with GGML_NATIVE=OFF some default to ON.
    """
    if processor.machine == "x86_64":
        on = x86_features(processor)
        if plain:
            on = [feature for feature in on if feature in WHEEL_X86]
        written = {_X86[feature]: "ON" if feature in on else "OFF" for feature in _X86}
        return ["-DGGML_NATIVE=OFF", *(f"-D{flag}={value}" for flag, value in written.items())]
    if sys.platform == "darwin":
        return []  # every Apple chip has what llama.cpp's native build asks for
    extensions = _arm_extensions(processor)
    if processor.machine == "arm64" and extensions and not plain:
        return ["-DGGML_NATIVE=OFF", f"-DGGML_CPU_ARM_ARCH=armv8.2-a{extensions}"]
    return ["-DGGML_NATIVE=OFF"]


def foreign_features(features: frozenset[str], processor: Processor) -> list[str]:
    """Instructions that a build uses (ggml's names) and this processor has not, as far as both are
    known: a published build for a GPU is made for the processor of its build machine."""
    if processor.machine != "x86_64" or sys.platform == "win32" or not processor.features:
        return []  # Windows tells of AVX2 alone
    return [
        flag.removeprefix("GGML_")
        for name, flag in _X86.items()
        if flag.removeprefix("GGML_") in features and name not in processor.features
    ]


def wheel_is_as_fast(processor: Processor) -> bool:
    """Whether the published CPU wheel uses all that this processor has."""
    return processor.machine == "x86_64" and set(x86_features(processor)) == WHEEL_X86


def render_processor(processor: Processor) -> str:
    """One line a person reads: what will be used, and what is left out."""
    if processor.machine == "x86_64":
        used = [_X86[feature].removeprefix("GGML_") for feature in x86_features(processor)]
        text = ", ".join(used) or "no vector instructions that llama.cpp knows"
        if any(feature.startswith("amx") for feature in processor.features):
            text += " (AMX is left out: a kernel may refuse it)"
        return f"x86_64 with {text}"
    extensions = _arm_extensions(processor).lstrip("+").replace("+", ", ")
    return f"{processor.machine} with {extensions}" if extensions else processor.machine


def _arm_extensions(processor: Processor) -> str:
    """GCC's -march suffix. SVE is left out: llama.cpp gains little, and virtual machines lie."""
    names = {"asimddp": "+dotprod", "asimdhp": "+fp16", "i8mm": "+i8mm"}
    if "asimddp" not in processor.features:
        return ""
    return "".join(suffix for name, suffix in names.items() if name in processor.features)


def _with_avx512(features: frozenset[str]) -> frozenset[str]:
    return features | {"avx512"} if features >= _AVX512_PARTS else features


def _names_features(line: str) -> bool:
    return line.partition(":")[0].strip() in {"flags", "Features"}


def _machine(name: str) -> str:
    known = {"amd64": "x86_64", "x64": "x86_64", "aarch64": "arm64"}
    return known.get(name.lower(), name.lower())


def _windows_has_avx2() -> bool:
    windows = getattr(ctypes, "windll", None)
    return bool(windows and windows.kernel32.IsProcessorFeaturePresent(_WINDOWS_AVX2))


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
