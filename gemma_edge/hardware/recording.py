"""Ask the machine everything, and keep the raw answers: a recording.

A recording is plain data that ``json`` writes and a person reads: files of the kernel, what tools
print (as lists of lines), what NVML and ggml say, a few variables. ``parse_recording`` makes
Hardware of it, here or on another machine, so a bug report becomes a test. Questions that do not
wait for each other are asked at once, and none can hang: each tool has a time limit.
"""

from gemma_edge.hardware.nvidia import SMI, SMI_QUERY
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gemma_edge.hardware import cgroups
from gemma_edge.hardware.cpu import CAPACITIES, MACOS_FEATURES
from gemma_edge.hardware.text import parse_pairs, render_ranges

VERSION = 1
PROBE_LIMIT_SECONDS = 10  # eight cold cards take seconds to wake
TOOL_LIMIT_SECONDS = 5
_PROBE = Path(__file__).with_name("probe.py")
_CHECKOUT = Path(__file__).parents[2] / "scripts/setup.py"

_SMI_PLACES = ("/usr/lib/wsl/lib/nvidia-smi", r"C:\Windows\System32\nvidia-smi.exe")

# What changes which devices are seen, or says what kind of machine this is. Nothing else is kept.
_VARIABLES = re.compile(
    r"(CUDA|GGML|HIP|ROCR|NVIDIA)_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|HSA_OVERRIDE_GFX_VERSION"
    r"|GGML_(CUDA|VK|METAL)_\w+|DISPLAY|WAYLAND_DISPLAY|WSL_DISTRO_NAME|GPU_DEVICE_ORDINAL"
    r"|SLURM_(JOB_ID|JOB_GPUS|GPUS\w*|STEP_GPUS|CPUS_ON_NODE|JOB_PARTITION)|LLAMA_CPP_LIB_PATH"
)
_FILES = (
    "/proc/meminfo", "/proc/cpuinfo", "/proc/driver/nvidia/version", "/sys/devices/cpu_core/cpus",
    cgroups.OWN_GROUPS,
)  # fmt: skip
_PRESENT = (
    "/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd", "/dev/dri", "/opt/rocm",
    "/.dockerenv", "/run/.containerenv", "/.singularity.d", "/etc/slurm",
)  # fmt: skip
_MEMINFO = ("MemTotal", "MemFree", "MemAvailable", "SwapTotal", "SwapFree", "HugePages_Total",
            "HugePages_Free", "Hugepagesize")  # fmt: skip
_CARD_FILES = ("mem_info_vram_total", "mem_info_vram_used", "mem_info_vram_vendor",
               "mem_info_gtt_total", "mem_info_gtt_used")  # fmt: skip
_SYSCTL = (
    "hw.memsize", "hw.physicalcpu", "hw.logicalcpu", "hw.perflevel0.physicalcpu",
    "hw.perflevel1.physicalcpu", "machdep.cpu.brand_string", "iogpu.wired_limit_mb",
    "sysctl.proc_translated", *MACOS_FEATURES,
)  # fmt: skip
# Of a card ("GPU-8932f937-..."), of a slice of one, and of a container.
_SERIAL = re.compile(r"\b(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,64})\b")
_SYSCTL_COMMAND = ["/usr/sbin/sysctl", *_SYSCTL]  # unknown keys are skipped with a warning


def record(environment: Mapping[str, str]) -> dict[str, Any]:
    """Everything that ``parse_recording`` needs. ``environment`` is also what the tools run in."""
    with ThreadPoolExecutor() as pool:
        probe = pool.submit(run_probe, environment)
        commands = {
            name: pool.submit(run_tool, command, environment, TOOL_LIMIT_SECONDS)
            for name, command in _commands(environment).items()
        }
        recording = _record_system(environment)
        recording["commands"] = {name: answer.result() for name, answer in commands.items()}
        recording["probe"] = probe.result()
    return _without_names(recording)


def _record_system(environment: Mapping[str, str]) -> dict[str, Any]:
    """What can be read without starting a program."""
    found: dict[str, Any] = {
        "recording": VERSION,
        "system": sys.platform,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processors": os.cpu_count() or 1,
        "checkout": _CHECKOUT.exists(),
        "environment": {k: v for k, v in environment.items() if _VARIABLES.fullmatch(k)},
        "present": [path for path in _PRESENT if Path(path).exists()],
    }
    if shutil.which("srun", path=environment.get("PATH")):
        found["present"].append("srun")
    if sys.platform == "linux":
        found |= {"affinity": _affinity(), "address_space_bytes": _address_space()}
        found["files"] = {path: text.splitlines() for path, text in _read_linux().items() if text}
    if sys.platform == "win32":
        from gemma_edge.hardware import windows  # noqa: PLC0415  (ctypes and winreg, Windows only)

        found["windows"] = windows.record_windows()
    return found


def _commands(environment: Mapping[str, str]) -> dict[str, list[str]]:
    if sys.platform == "darwin":
        return {"sysctl": _SYSCTL_COMMAND, "vm_stat": ["/usr/bin/vm_stat"]}
    found = shutil.which(SMI, path=environment.get("PATH"))
    smi = found or next((place for place in _SMI_PLACES if Path(place).exists()), None)
    if smi is None:
        return {}
    return {SMI: [smi], SMI_QUERY: [smi, *SMI_QUERY.split()[1:]]}


def run_tool(command: list[str], environment: Mapping[str, str], limit: float) -> dict[str, Any]:
    """A tool's exit status (None: cut off or not startable) and the lines that it printed."""
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=limit, check=False, env=dict(environment)
        )
    except subprocess.TimeoutExpired as late:
        return {"status": None, "output": _lines(late.stdout or b"")}
    except OSError as error:
        return {"status": None, "output": [str(error)]}
    return {"status": done.returncode, "output": _lines(done.stdout)}


def run_probe(
    environment: Mapping[str, str], limit_seconds: float = PROBE_LIMIT_SECONDS
) -> dict[str, Any]:
    """The child program's parts, as many as it said, and its exit status."""
    toolkits = [environment[name] for name in ("CUDA_PATH", "HIP_PATH") if environment.get(name)]
    folders = [environment.get("LLAMA_CPP_LIB_PATH", ""), *(f"{each}/bin" for each in toolkits)]
    answer = run_tool([sys.executable, str(_PROBE), *folders], environment, limit_seconds)
    found: dict[str, Any] = {"status": answer["status"]}
    for line in answer["output"]:
        try:
            found |= json.loads(line)
        except (ValueError, TypeError):  # cut off in the middle of a line
            continue
    return found


def _read_linux() -> dict[str, str]:
    files = {
        path: _read(path) for path in (*_FILES, *cgroups.iter_files(_read(cgroups.OWN_GROUPS)))
    }
    files["/proc/cpuinfo"] = _shorten_cpuinfo(files["/proc/cpuinfo"])
    files["/proc/meminfo"] = _keep(files["/proc/meminfo"], _MEMINFO)
    for path in [path for path in files if path.endswith("/memory.stat")]:
        files[path] = _keep(files[path], ("inactive_file", "total_inactive_file"), " ")
    files[CAPACITIES] = _capacities()
    for card in sorted(Path("/sys/bus/pci/devices").glob("*")):
        uevent = _read(f"{card}/uevent")
        if not parse_pairs(uevent, "=").get("PCI_CLASS", "").startswith("3"):
            continue  # PCI class 03 is a display controller
        files[f"{card}/uevent"] = uevent
        files |= {f"{card}/{name}": _read(f"{card}/{name}") for name in _CARD_FILES}
        for connector in card.glob("drm/card*/card*-*/enabled"):
            files[str(connector)] = _read(str(connector))
    return files


def _shorten_cpuinfo(text: str) -> str:
    """The first processor in full, of the others only where they sit."""
    first, *others = text.strip().split("\n\n")
    short = [_keep(other, ("processor", "physical id", "core id")) for other in others]
    return "\n\n".join([first, *short])


def _keep(text: str, keys: tuple[str, ...], separator: str = ":") -> str:
    return "\n".join(
        line for line in text.splitlines() if line.partition(separator)[0].strip() in keys
    )


def _capacities() -> str:
    """One line a processor, where the kernel tells them apart (Arm)."""
    found = [
        _read(f"/sys/devices/system/cpu/cpu{i}/cpu_capacity") for i in range(os.cpu_count() or 1)
    ]
    return "\n".join(text.strip() for text in found) if any(found) else ""


def _affinity() -> str:
    if sys.platform == "linux":
        return render_ranges(os.sched_getaffinity(0))
    return ""


def _address_space() -> int:
    """``ulimit -v`` in bytes, 0 for no limit."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415  (Windows has none)

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        return 0 if soft == resource.RLIM_INFINITY else soft
    return 0


def _without_names(recording: dict[str, Any]) -> dict[str, Any]:
    """Serial numbers become small numbers, the same everywhere, and the home folder ``~``."""
    text = json.dumps(recording)
    for number, serial in enumerate(dict.fromkeys(_SERIAL.findall(text))):
        text = text.replace(serial, f"00000000-0000-0000-0000-{number:012x}")
    home = json.dumps(os.path.expanduser("~"))[1:-1]
    if len(home) > 1:
        text = re.sub(re.escape(home) + r"(?![\w.-])", "~", text)
    clean: dict[str, Any] = json.loads(text)
    return clean


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").splitlines()


def _read(path: str) -> str:
    """A small text of the kernel, "" where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
