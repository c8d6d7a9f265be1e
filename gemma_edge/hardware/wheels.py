"""The command that installs the build of llama-cpp-python that fits. Pure.

A checkout has a script that chooses and proves; elsewhere it is pip with llama-cpp-python's own
wheel index (its README, "Installation"). A plain ``pip install`` builds for the processor alone
and does not say so. ``--only-binary`` because pip would otherwise prefer a newer source
distribution to a wheel that fits. A build from source is told what this processor has, written
out: left to itself it turns on AMX, which a kernel may refuse (measured.md).
"""

from gemma_edge.hardware.build import INSTRUCTIONS
from gemma_edge.hardware.cpu import Cpu
from gemma_edge.hardware.nvidia import Nvidia, Version
from gemma_edge.hardware.text import Answers

INDEX = "https://abetlen.github.io/llama-cpp-python/whl"
# CUDA toolkits that the wheel index builds for, newest first (build-wheels-cuda.yaml). The same
# table stands in scripts/install/accelerator.py, which must run before anything is installed.
CUDA_LINUX: tuple[Version, ...] = (
    (13, 2), (13, 0), (12, 5), (12, 4), (12, 3), (12, 2), (12, 1), (11, 8),
)  # fmt: skip
CUDA_WINDOWS: tuple[Version, ...] = ((13, 2), (13, 0), (12, 5), (12, 4), (11, 8))
_CUDA_13_CAPABILITY = (7, 5)  # CUDA 13 no longer compiles for what came before Turing
_FLAGS = {"cuda": "GGML_CUDA", "metal": "GGML_METAL", "rocm": "GGML_HIP", "vulkan": "GGML_VULKAN"}
_X86 = ("AVX", "AVX2", "FMA", "F16C", "BMI2", "AVX512", "AVX512_VBMI", "AVX512_VNNI",
        "AVX512_BF16")  # fmt: skip
# GGML_AVX512 compiles with all of these (ggml/src/ggml-cpu/CMakeLists.txt).
_AVX512_PARTS = {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"}
_PIP = "pip install --force-reinstall --no-cache-dir"


def install_command(answers: Answers, backend: str, nvidia: Nvidia, cpu: Cpu) -> str:
    """For one backend (cuda, metal, rocm, vulkan, cpu) on the recorded machine."""
    if answers.says("checkout"):
        return f"python3 scripts/setup.py --backend {backend}"
    tag = _tag(answers, backend, nvidia)
    if tag:
        wheel = f"--only-binary llama-cpp-python --extra-index-url {INDEX}/{tag}"
        return f"{_PIP} llama-cpp-python {wheel}"
    flags = [f"-D{_FLAGS[backend]}=ON"] if backend in _FLAGS else []
    flags += processor_flags(cpu)
    told = f' -C "cmake.args={";".join(flags)}"' if flags else ""
    return f"{_PIP} --no-binary llama-cpp-python llama-cpp-python{told}"


def processor_flags(cpu: Cpu) -> list[str]:
    """CMake flags for an x86 processor, ON or OFF each: with NATIVE off some default to ON."""
    has = set(cpu.instructions)
    if "avx" not in has:
        return []
    if "avx2" in has:  # no processor has it without these, which Windows does not tell of
        has |= {"fma", "f16c", "bmi2"}
    wide = has >= _AVX512_PARTS
    on = {
        word: INSTRUCTIONS[word] in has and (wide or not word.startswith("AVX512")) for word in _X86
    }
    return ["-DGGML_NATIVE=OFF", *(f"-DGGML_{w}={'ON' if o else 'OFF'}" for w, o in on.items())]


def cuda_tag(nvidia: Nvidia, system: str) -> str:
    """The newest published CUDA that driver and cards can run ("cu124"), "" if there is none."""
    known = CUDA_WINDOWS if system == "win32" else CUDA_LINUX
    oldest = min((card.version for card in nvidia.cards if card.version > (0, 0)), default=None)
    old = oldest is not None and oldest < _CUDA_13_CAPABILITY
    fits = [v for v in known if v <= nvidia.cuda and not (old and v >= (13, 0))]
    return "cu{}{}".format(*fits[0]) if fits else ""


def _tag(answers: Answers, backend: str, nvidia: Nvidia) -> str:
    on_x86 = answers.text("machine").lower() in ("x86_64", "amd64")
    if backend == "metal":
        return "metal"
    if backend == "cuda" and on_x86:
        return cuda_tag(nvidia, answers.system)
    if backend == "vulkan" and on_x86 and answers.system == "linux":
        return "vulkan"
    return ""
