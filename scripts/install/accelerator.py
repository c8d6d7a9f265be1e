"""Which accelerator this machine has, and which build of llama-cpp-python drives it.

``detect_`` asks the machine, ``parse_`` is pure over text; both the value and the reason come
back. The wheels that exist are those of llama-cpp-python's own wheel index (its
``generate-index-from-release`` and ``build-wheels-*`` workflows).
"""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from install.environment import ask, find_tool
from install.processor import Processor

BACKENDS = ("cpu", "cuda", "metal", "rocm", "vulkan")

Version = tuple[int, int]

# CUDA toolkits the wheel index builds for, newest first (build-wheels-cuda.yaml).
_CUDA_LINUX: tuple[Version, ...] = (
    (13, 2), (13, 0), (12, 5), (12, 4), (12, 3), (12, 2), (12, 1), (11, 8),
)  # fmt: skip
_CUDA_WINDOWS: tuple[Version, ...] = ((13, 2), (13, 0), (12, 5), (12, 4), (11, 8))
# CUDA 13 no longer compiles for what came before Turing.
_CUDA_13_CAPABILITY: Version = (7, 5)
# The newest capability that nvcc compiles for, from which version on (CUDA's release notes).
_NEWEST_CAPABILITY: tuple[tuple[Version, Version], ...] = (
    ((12, 9), (12, 1)), ((12, 8), (12, 0)), ((11, 8), (9, 0)), ((0, 0), (8, 6)),
)  # fmt: skip
_CUDA_CAPABILITY: Version = (6, 0)  # the least that the wheels hold code for
# Targets of the ROCm wheel of Linux and of the HIP wheel of Windows (build-wheels-rocm.yaml), and
# the ROCm that the first one is linked against; the second one brings its own. The same tables
# stand in gemma_edge/hardware/gpus.py.
_ROCM_LINUX = (
    "gfx908", "gfx90a", "gfx942", "gfx1030", "gfx1100", "gfx1101", "gfx1102", "gfx1150", "gfx1151",
    "gfx1200", "gfx1201",
)  # fmt: skip
_ROCM_WINDOWS = (
    "gfx1150", "gfx1151", "gfx1200", "gfx1201", "gfx1100", "gfx1101", "gfx1102", "gfx1030",
    "gfx1031", "gfx1032",
)  # fmt: skip
_ROCM_MAJOR = 7


@dataclass(frozen=True)
class Nvidia:
    """What nvidia-smi says. ``capabilities`` are those of all cards, as far as they are told."""

    names: tuple[str, ...]
    driver: str
    cuda: Version
    capabilities: tuple[Version, ...] = ()


@dataclass(frozen=True)
class Accelerator:
    """``tag`` names the wheel index ("" = there is none); ``flags`` build it from source.

    ``missing`` is the tool a build from source needs and the machine has not.
    """

    backend: str
    reason: str
    tag: str = ""
    flags: tuple[str, ...] = ()
    missing: str = ""
    fix: str = ""


def detect_accelerator(processor: Processor) -> tuple[Accelerator, str]:
    """The best accelerator here, and a warning for a person ("" = none)."""
    if sys.platform == "darwin":
        return choose_apple(processor), ""
    smi = ask("nvidia-smi")
    nvidia = parse_nvidia_smi(smi, ask("nvidia-smi", *_QUERY))
    if nvidia:
        return choose_cuda(nvidia, sys.platform, processor.machine, _nvcc()), ""
    if targets := _amd_targets():
        found = find_tool("hipconfig") is not None
        rocm = choose_rocm(targets, processor.machine, found, sys.platform, _rocm_major())
        if rocm.tag or sys.platform != "win32":  # there Vulkan needs no compiler
            return rocm, ""
    warning = _silent_card(smi)
    discrete, integrated = parse_vulkaninfo(ask("vulkaninfo", "--summary"))
    if discrete and not warning:
        found = find_tool("glslc") is not None
        return choose_vulkan(discrete, sys.platform, processor.machine, found), ""
    reason = "no NVIDIA driver, no ROCm, no graphics card through Vulkan"
    if integrated:
        reason += f"; --backend vulkan tries the integrated {integrated}"
    return Accelerator("cpu", reason, tag="cpu"), warning


def want(backend: str, processor: Processor) -> tuple[Accelerator, str]:
    """The accelerator for ``--backend``; "auto" is what ``detect_accelerator`` finds."""
    if backend == "cpu":
        return Accelerator("cpu", "--backend cpu was asked for", tag="cpu"), ""
    found, warning = detect_accelerator(processor)
    if backend in ("auto", found.backend):
        return found, warning
    reason = f"--backend {backend} was asked for; this machine shows {found.backend}"
    reason += f" ({found.reason})"
    tag = wheel_tag(backend, sys.platform, processor.machine)
    flag = {"cuda": "GGML_CUDA", "metal": "GGML_METAL", "rocm": "GGML_HIP", "vulkan": "GGML_VULKAN"}
    return Accelerator(backend, reason, tag=tag, flags=(f"-D{flag[backend]}=ON",)), ""


def choose_cuda(nvidia: Nvidia, system: str, machine: str, nvcc: Version | None) -> Accelerator:
    """CUDA: the newest wheel that the driver and the card can run, or nvcc."""
    card = ", ".join(nvidia.names) or "an NVIDIA card"
    reason = f"{card}, driver {nvidia.driver}, CUDA up to {_dotted(nvidia.cuda)}"
    flags = ["-DGGML_CUDA=ON"]
    architectures, dropped = compiled_for(nvidia.capabilities, nvcc or nvidia.cuda)
    if architectures:
        flags.append(f"-DCMAKE_CUDA_ARCHITECTURES={';'.join(architectures)}")
    if dropped:
        listed = ", ".join(map(_dotted, dropped))
        reason += f"; CUDA {_dotted(nvcc or nvidia.cuda)} has no code for capability {listed}"
    missing, fix = "", ""
    if dropped and not architectures:
        missing = "an older CUDA compiler"
        fix = "install the CUDA toolkit 12 (developer.nvidia.com)"
    elif nvcc is None:
        missing = "nvcc, the CUDA compiler"
        fix = f"install the CUDA toolkit {_dotted(nvidia.cuda)} or older (developer.nvidia.com)"
    elif nvcc[0] > nvidia.cuda[0]:  # within one major version, newer code runs on older drivers
        missing = f"an nvcc that fits the driver (found {_dotted(nvcc)})"
        fix = f"update the driver, or use the CUDA toolkit {_dotted(nvidia.cuda)}"
    tag = _cuda_tag(nvidia, system) if machine == "x86_64" else ""
    return Accelerator("cuda", reason, tag=tag, flags=tuple(flags), missing=missing, fix=fix)


def compiled_for(
    capabilities: tuple[Version, ...], nvcc: Version
) -> tuple[list[str], list[Version]]:
    """CMake's architectures for all of these cards, and the cards that this nvcc compiles nothing
    for. For a card newer than nvcc the driver compiles at the first start (PTX)."""
    dropped = [c for c in sorted(set(capabilities)) if nvcc >= (13, 0) and c < _CUDA_13_CAPABILITY]
    newest = next(most for least, most in _NEWEST_CAPABILITY if nvcc >= least)
    kept = {c for c in capabilities if c not in dropped}
    names = {"{}{}-real".format(*c) for c in kept if c <= newest}
    names |= {"{}{}-virtual".format(*newest) for c in kept if c > newest}
    return sorted(names, key=lambda name: int(name.partition("-")[0])), dropped


def choose_rocm(
    targets: tuple[str, ...], machine: str, compiler: bool, system: str = "linux",
    major: int = _ROCM_MAJOR,
) -> Accelerator:  # fmt: skip
    """ROCm: the wheel where it holds code for one of the cards (the graphics in a processor beside
    it need none), a build from source for every other. ``major`` is that of the ROCm here."""
    held = _ROCM_WINDOWS if system == "win32" else _ROCM_LINUX
    served = [target for target in targets if target in held]
    fits = system == "win32" or major == _ROCM_MAJOR
    tag = wheel_tag("rocm", system, machine) if served and fits else ""
    listed = ";".join(targets)
    reason = f"ROCm shows {', '.join(targets)}"
    if tag and len(served) < len(targets):
        reason += f"; the published build serves {', '.join(served)}"
    return Accelerator(
        "rocm",
        reason,
        tag=tag,
        flags=("-DGGML_HIP=ON", f"-DAMDGPU_TARGETS={listed}", f"-DGPU_TARGETS={listed}"),
        missing="" if compiler else "hipconfig, ROCm's compiler",
        fix="" if compiler else "install ROCm's development packages (hipcc, rocblas, hipblas)",
    )


def choose_vulkan(device: str, system: str, machine: str, compiler: bool) -> Accelerator:
    """Vulkan: wheels for Linux and Windows on x86_64."""
    return Accelerator(
        "vulkan",
        f"Vulkan shows {device}",
        tag=wheel_tag("vulkan", system, machine),
        flags=("-DGGML_VULKAN=ON",),
        missing="" if compiler else "glslc, Vulkan's shader compiler",
        fix="" if compiler else "install the Vulkan SDK (vulkan.lunarg.com)",
    )


def wheel_tag(backend: str, system: str, machine: str) -> str:
    """The name of the wheel index for a backend other than CUDA, "" where it has none for here."""
    if backend == "metal":
        return "metal" if system == "darwin" else ""
    tags = {("vulkan", "linux"): "vulkan", ("vulkan", "win32"): "vulkan",
            ("rocm", "linux"): "rocm72", ("rocm", "win32"): "hip-radeon"}  # fmt: skip
    return tags.get((backend, system), "") if machine == "x86_64" else ""


def choose_apple(processor: Processor) -> Accelerator:
    """Metal on Apple chips; an Intel Mac's GPU is slower than its processor."""
    if processor.machine == "arm64":
        return Accelerator("metal", "an Apple chip", tag="metal", flags=("-DGGML_METAL=ON",))
    reason = "an Intel Mac: llama.cpp is faster on its processor than through Metal"
    return Accelerator("cpu", reason, flags=("-DGGML_METAL=OFF",))


_QUERY = ("--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader")


def parse_nvidia_smi(text: str, query: str) -> Nvidia | None:
    """nvidia-smi's table (driver and CUDA version) and its ``--query-gpu`` answer."""
    driver = re.search(r"Driver Version:\s*([\d.]+)", text)
    cuda = re.search(r"CUDA (?:UMD )?Version:\s*(\d+)\.(\d+)", text)
    if not driver or not cuda:
        return None
    rows = [[cell.strip() for cell in line.split(",")] for line in query.splitlines()]
    rows = [row for row in rows if len(row) == 3]
    capabilities = [found for row in rows if (found := _version(row[2]))]
    return Nvidia(
        names=tuple(dict.fromkeys(row[0] for row in rows)),
        driver=driver[1],
        cuda=(int(cuda[1]), int(cuda[2])),
        capabilities=tuple(sorted(set(capabilities))),
    )


def parse_nvcc(text: str) -> Version | None:
    """``nvcc --version`` -> (13, 0)."""
    found = re.search(r"release (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def parse_rocminfo(text: str) -> tuple[str, ...]:
    """rocminfo -> the targets of its GPU agents, each once. The processor is an agent as well."""
    names = re.findall(r"^\s*Name:\s*(gfx[0-9a-f]+)\s*$", text, re.MULTILINE)
    return tuple(dict.fromkeys(name for name in names if name != "gfx000"))


def parse_vulkaninfo(text: str) -> tuple[str, str]:
    """``vulkaninfo --summary`` -> the first graphics card and the first integrated GPU, "" = none.

    A software renderer is neither.
    """
    kinds = re.findall(r"deviceType\s*=\s*(\w+)", text)
    names = re.findall(r"deviceName\s*=\s*(.+)", text)
    first: dict[str, str] = {}
    for kind, name in zip(kinds, names, strict=False):
        first.setdefault(kind.removeprefix("PHYSICAL_DEVICE_TYPE_"), name.strip())
    return first.get("DISCRETE_GPU", ""), first.get("INTEGRATED_GPU", "")


def _cuda_tag(nvidia: Nvidia, system: str) -> str:
    known = _CUDA_WINDOWS if system == "win32" else _CUDA_LINUX
    oldest = min(nvidia.capabilities, default=_CUDA_13_CAPABILITY)
    if oldest < _CUDA_CAPABILITY:
        return ""
    old = oldest < _CUDA_13_CAPABILITY
    fits = [v for v in known if v <= nvidia.cuda and not (old and v >= (13, 0))]
    return "cu{}{}".format(*fits[0]) if fits else ""


def parse_hipinfo(text: str) -> tuple[str, ...]:
    """hipInfo (of Windows' HIP SDK) -> the targets of its devices, each once."""
    return tuple(
        dict.fromkeys(re.findall(r"^\s*gcnArchName:\s*(gfx[0-9a-f]+)", text, re.MULTILINE))
    )


def _amd_targets() -> tuple[str, ...]:
    if sys.platform == "win32":
        home = os.environ.get("HIP_PATH", "")
        return parse_hipinfo(ask("hipInfo") or (ask(f"{home}/bin/hipInfo.exe") if home else ""))
    return parse_rocminfo(ask("rocminfo") or ask("/opt/rocm/bin/rocminfo"))


def _rocm_major() -> int:
    """Of the ROCm that is installed; that of the wheel where nobody says."""
    try:
        text = Path("/opt/rocm/.info/version").read_text(encoding="ascii")
    except OSError:
        return _ROCM_MAJOR
    found = re.match(r"(\d+)\.", text)
    return int(found[1]) if found else _ROCM_MAJOR


def _silent_card(smi: str) -> str:
    """A warning where an NVIDIA card is there but its driver does not answer."""
    root = Path("/sys/bus/pci/devices")
    found = [d.name for d in root.glob("*") if _pci(d, "vendor") == "0x10de" and _display(d)]
    if not found and "NVIDIA-SMI has failed" not in smi:
        return ""
    where = f" (PCI {found[0]})" if found else ""
    return (
        f"an NVIDIA card is here{where} but its driver does not answer, so this build uses the "
        "processor; install the driver and run scripts/setup.py again"
    )


def _display(device: Path) -> bool:
    return _pci(device, "class").startswith(("0x0300", "0x0302"))


def _pci(device: Path, name: str) -> str:
    try:
        return (device / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _nvcc() -> Version | None:
    home = os.environ.get("CUDA_PATH") or os.environ.get("CUDA_HOME") or "/usr/local/cuda"
    return parse_nvcc(ask("nvcc", "--version") or ask(f"{home}/bin/nvcc", "--version"))


def _version(text: str) -> Version | None:
    found = re.fullmatch(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _dotted(version: Version) -> str:
    return "{}.{}".format(*version)
