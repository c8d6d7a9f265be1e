"""Ask the machine everything, and keep the raw answers: a recording.

A recording is plain data that ``json`` writes and a person reads: files of the kernel, what tools
print (as lists of lines), what NVML and ggml say, a few variables. ``parse_recording`` makes
Hardware of it, here or on another machine, so a bug report becomes a test. Questions that do not
wait for each other are asked at once, and none can hang: each tool has a time limit.
"""

import ctypes
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from gemma_edge.hardware.findings import MachineFacts, find
from gemma_edge.hardware.gpus import (
    CUDA_VISIBLE,
    KFD_NODES,
    NO_GPU,
    PROBE_PARTS,
    ROCM_VERSION_FILE,
    SMI,
    SMI_QUERY,
    Card,
    choose_visible,
    is_wsl,
    join,
    merge,
    parse_build,
    parse_graphics,
    parse_nvidia,
    parse_nvml,
    parse_smi_query,
    parse_variables,
    show_apart,
)
from gemma_edge.hardware.machine import (
    CAPACITIES,
    MACOS_FEATURES,
    OWN_GROUPS,
    WINDOWS_FEATURES,
    Answers,
    Hardware,
    iter_files,
    parse_cpu,
    parse_memory,
    parse_pairs,
    render_ranges,
)
from gemma_edge.isolation import Child, ChildBug, ChildStopped, Death, Once
from gemma_edge.trust import find_program, without_working_folder

VERSION = 1
# CUDA's libraries are read from a cold disk, over a network or under a virus scanner; macOS
# compiles all of Metal's kernels when llama.cpp first sees the device.
PROBE_LIMIT_SECONDS = 120 if sys.platform == "darwin" else 60
NVML_LIMIT_SECONDS = 20  # a card that sleeps takes one or two to wake; eight of them in turn
AGAIN_LIMIT_SECONDS = 20  # a second try: what is slow the first time only has been read by then
ALONE_SECONDS = 60  # for looking at the cards one by one
TOOL_LIMIT_SECONDS = 20  # nvidia-smi wakes the cards too
_KILL_SECONDS = 1
_MOST_CACHE_FILES = 1000
_PROBE = "gemma_edge.hardware.probe:main"
_CHECKOUT = Path(__file__).parents[2] / "scripts/setup.py"

_SMI_PLACES = ("/usr/lib/wsl/lib/nvidia-smi", r"C:\Windows\System32\nvidia-smi.exe")

# What changes which devices are seen, or says what kind of machine this is. Nothing else is kept.
_VARIABLES = re.compile(
    r"(CUDA|GGML|HIP|ROCR|NVIDIA)_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|HSA_OVERRIDE_GFX_VERSION"
    r"|CUDA_CACHE_(DISABLE|PATH|MAXSIZE)|GGML_(CUDA|VK|METAL)_\w+|DISPLAY|WAYLAND_DISPLAY|WSL_DISTRO_NAME|GPU_DEVICE_ORDINAL"
    r"|SLURM_(JOB_ID|JOB_GPUS|GPUS\w*|STEP_GPUS|CPUS_ON_NODE|JOB_PARTITION)|LLAMA_CPP_LIB_PATH"
)
_FILES = (
    "/proc/meminfo", "/proc/cpuinfo", "/proc/driver/nvidia/version", "/sys/devices/cpu_core/cpus",
    OWN_GROUPS, ROCM_VERSION_FILE,
)  # fmt: skip
_PRESENT = (
    "/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd", "/dev/dri", "/opt/rocm",
    "/.dockerenv", "/run/.containerenv", "/.singularity.d", "/etc/slurm",
)  # fmt: skip
_MEMINFO = ("MemTotal", "MemFree", "MemAvailable", "SwapTotal", "SwapFree", "HugePages_Total",
            "HugePages_Free", "Hugepagesize")  # fmt: skip
_CARD_FILES = ("mem_info_vram_total", "mem_info_vram_used", "mem_info_vram_vendor",
               "mem_info_gtt_total", "mem_info_gtt_used")  # fmt: skip
_KFD = ("gfx_target_version", "location_id", "domain")
_SYSCTL = (
    "hw.memsize", "hw.physicalcpu", "hw.logicalcpu", "hw.perflevel0.physicalcpu",
    "hw.perflevel1.physicalcpu", "machdep.cpu.brand_string", "iogpu.wired_limit_mb",
    "sysctl.proc_translated", *MACOS_FEATURES,
)  # fmt: skip
# Of a card ("GPU-8932f937-..."), of a slice of one, and of a container.
_SERIAL = re.compile(r"\b(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,64})\b")
_SHORT_SERIAL = re.compile(r"(?<=GPU-|MIG-)([0-9a-f][0-9a-f-]*)")
_SYSCTL_COMMAND = ["/usr/sbin/sysctl", *_SYSCTL]  # unknown keys are skipped with a warning


def record(environment: Mapping[str, str]) -> dict[str, Any]:
    """Everything that ``parse_recording`` needs, without serials and names: for other people.
    ``environment`` is also what the tools run in."""
    return _without_names(_record(environment))


def _record(environment: Mapping[str, str]) -> dict[str, Any]:
    probe = Once(partial(run_probe, environment))
    probe.begin()
    commands = {
        name: Once(partial(run_tool, command, environment, TOOL_LIMIT_SECONDS))
        for name, command in _commands(environment).items()
    }
    for command in commands.values():
        command.begin()
    recording = _record_system(environment)
    recording["commands"] = {name: answer() for name, answer in commands.items()}
    recording["probe"] = probe()
    return recording


def _record_system(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "recording": VERSION,
        "system": sys.platform,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processors": os.cpu_count() or 1,
        "checkout": _CHECKOUT.exists(),
        "environment": {k: v for k, v in environment.items() if _VARIABLES.fullmatch(k)},
        "present": [path for path in _PRESENT if Path(path).exists()],
        "cuda_cache": _cuda_cache(environment),
    }
    if find_program("srun", environment):
        found["present"].append("srun")
    if sys.platform == "linux":
        affinity = render_ranges(os.sched_getaffinity(0))
        found |= {"affinity": affinity, "address_space_bytes": _address_space()}
        found["files"] = {path: text.splitlines() for path, text in _read_linux().items() if text}
    if sys.platform == "win32":
        found["windows"] = record_windows()
    return found


def _cuda_cache(environment: Mapping[str, str]) -> dict[str, Any]:
    """Where the driver keeps kernels that it compiled itself (CUDA programming guide, "Just-in-Time
    Compilation"), {} where nobody says."""
    base, below = environment.get("HOME"), ".nv/ComputeCache"
    if sys.platform == "win32":
        base, below = environment.get("APPDATA"), r"NVIDIA\ComputeCache"
    told = environment.get("CUDA_CACHE_PATH") or (base and os.path.join(base, below))
    if not told or sys.platform == "darwin":
        return {}
    folder = Path(told)
    there = next((path for path in (folder, *folder.parents) if os.path.exists(path)), folder)
    writable = os.path.isdir(there) and os.access(there, os.W_OK)
    sizes = [0]
    with suppress(OSError):  # another program may clear it meanwhile
        sizes += [path.stat().st_size for path in islice(folder.rglob("*"), _MOST_CACHE_FILES)]
    return {"folder": told, "writable": writable, "bytes": sum(sizes)}


def _commands(environment: Mapping[str, str]) -> dict[str, list[str]]:
    if sys.platform == "darwin":
        return {"sysctl": _SYSCTL_COMMAND, "vm_stat": ["/usr/bin/vm_stat"]}
    found = find_program(SMI, environment)
    smi = found or next((place for place in _SMI_PLACES if Path(place).exists()), None)
    if smi is None:
        return {}
    return {SMI: [smi], SMI_QUERY: [smi, *SMI_QUERY.split()[1:]]}


def run_tool(command: list[str], environment: Mapping[str, str], limit: float) -> dict[str, Any]:
    """A tool's exit status (None: cut off or not startable) and the lines that it printed."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=without_working_folder(environment), cwd=os.path.dirname(command[0]),
        )  # fmt: skip
    except OSError as error:
        return {"status": None, "output": [str(error)]}
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired as late:
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # one that waits for a driver cannot be killed
            process.communicate(timeout=_KILL_SECONDS)
        return {"status": None, "output": _lines(late.stdout or b"")}
    return {"status": process.returncode, "output": _lines(output)}


def run_probe(
    environment: Mapping[str, str], limit_seconds: float = PROBE_LIMIT_SECONDS
) -> dict[str, Any]:
    """The child program's parts, as many as could be had, and its exit status. A part that ends or
    holds up the child is left behind, and another child is asked for the rest: where it was ggml,
    with fewer cards. ``failures`` are those children, ``variables`` what the last one was given."""
    return _Probe(environment, limit_seconds).run()


class _Probe:
    """The children that are asked, one after another; ``found`` is what they said."""

    def __init__(self, environment: Mapping[str, str], limit_seconds: float) -> None:
        toolkits = [
            environment[name] for name in ("CUDA_PATH", "HIP_PATH") if environment.get(name)
        ]
        self._folders = [
            environment.get("LLAMA_CPP_LIB_PATH", ""), *(f"{each}/bin" for each in toolkits)
        ]  # fmt: skip
        self._environment = environment
        self._limit = limit_seconds
        self.found: dict[str, Any] = {"status": 0}

    def run(self) -> dict[str, Any]:
        parts: Sequence[str] = PROBE_PARTS
        while death := self._ask(parts):
            parts = [part for part in parts if part not in self.found]
            if not parts:  # it ended after its last answer
                break
            self._note(parts[0], death)
            if parts[0] == "nvml":
                self.found["nvml"] = {"error": _failed(death)}
                parts = parts[1:]
                continue
            if parts[0] == "llama" or not self._ask_for_fewer():
                self.found["status"] = death.status
            break
        return self.found

    def _ask(
        self, parts: Sequence[str], variables: Mapping[str, str] | None = None,
        limit_seconds: float | None = None,
    ) -> Death | None:  # fmt: skip
        """Put the answers of one child to what is known; how it ended before it had answered."""
        deadline = time.monotonic() + (limit_seconds or self._limit)
        environment = {**self._environment, **(variables or {})}
        with Child(_PROBE, environment=environment) as child:
            child.send({"folders": self._folders, "parts": list(parts)})
            try:
                while True:
                    left = max(0.0, deadline - time.monotonic())
                    at_nvml = next((p for p in parts if p not in self.found), "") == "nvml"
                    part = child.receive(min(left, NVML_LIMIT_SECONDS) if at_nvml else left)
                    if part is None:
                        return None
                    self.found |= part.header
            except ChildStopped as stopped:
                return stopped.death
            except ChildBug as bug:  # of ours, or of a library in Python
                return Death("crash", str(bug), 1)

    def _note(self, part: str, death: Death, variables: Mapping[str, str] | None = None) -> None:
        failure = {"part": part, "status": death.status, "reason": death.reason}
        self.found.setdefault("failures", []).append(
            {**failure, **({"variables": dict(variables)} if variables else {})}
        )

    def _ask_for_fewer(self) -> bool:
        """ggml ended the child: first only the cards that can be opened, for all that NVML knows,
        then each alone, then none. Whether it answered."""
        libraries = self.found.get("llama", {}).get("libraries", ("cuda",))
        if not libraries:  # there is nothing that could be left out
            return False
        if "cuda" in libraries:
            every, kept = choose_visible(self._cards(), self._environment)
            if kept and kept != every and self._show(kept):
                return True
            if len(every) > 1 and self._show_alone(kept or every):
                return True
        return self._try(NO_GPU)

    def _cards(self) -> Sequence[Card]:
        """As NVML knows them, or nvidia-smi where it does not."""
        if cards := parse_nvml(Answers(self.found).part("nvml")):
            return cards
        command = _commands(self._environment).get(SMI_QUERY)
        told = command and run_tool(command, self._environment, TOOL_LIMIT_SECONDS)
        return parse_smi_query(Answers(told or {}).text("output"))

    def _show_alone(self, entries: Sequence[str]) -> bool:
        """The cards with which ggml answers, each of which it was shown alone."""
        until = time.monotonic() + ALONE_SECONDS
        good, last = [], dict[str, Any]()
        for entry in entries:
            if time.monotonic() < until and self._show([entry]):
                good.append(entry)
                last = {name: self.found.pop(name) for name in ("ggml", "variables")}
        if len(good) > 1 and len(good) < len(entries) and self._show(good):
            return True
        self.found |= last
        return bool(good)

    def _show(self, entries: Sequence[str]) -> bool:
        return self._try({CUDA_VISIBLE: ",".join(entries)})

    def _try(self, variables: Mapping[str, str]) -> bool:
        limit = min(self._limit, AGAIN_LIMIT_SECONDS)
        if death := self._ask(("cuda_libraries", "ggml"), variables, limit):
            self._note("ggml", death, variables)
            return False
        self.found["variables"] = dict(variables)
        return True


def _failed(death: Death) -> str:
    """Why NVML said nothing: it held the child up, ended it, or its binding failed."""
    if death.status is None:
        return f"it did not answer: {death.reason}"
    return f"nvidia-ml-py failed: {death.reason}" if death.status == 1 else death.reason


def _read_linux() -> dict[str, str]:
    files = {path: _read(path) for path in (*_FILES, *iter_files(_read(OWN_GROUPS)))}
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
    for node in sorted(Path(KFD_NODES).glob("*/properties")):
        files[str(node)] = _keep(_read(str(node)), _KFD, " ")
    return files


def _shorten_cpuinfo(text: str) -> str:
    """The first processor in full, of the others only where they sit."""
    first, *others = text.strip().split("\n\n")
    short = [_keep(other, ("processor", "physical id", "core id")) for other in others]
    return "\n\n".join([first, *short])


def _keep(text: str, keys: tuple[str, ...], separator: str = ":") -> str:
    lines = text.splitlines()
    return "\n".join(line for line in lines if line.partition(separator)[0].strip() in keys)


def _capacities() -> str:
    paths = (f"/sys/devices/system/cpu/cpu{i}/cpu_capacity" for i in range(os.cpu_count() or 1))
    found = list(map(_read, paths))
    return "\n".join(text.strip() for text in found) if any(found) else ""


def _address_space() -> int:
    if sys.platform != "win32":
        import resource  # noqa: PLC0415  (Windows has none)

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        return 0 if soft == resource.RLIM_INFINITY else soft
    return 0


def _without_names(recording: dict[str, Any]) -> dict[str, Any]:
    """Serial numbers become small numbers, the same everywhere, and the home folder ``~``."""
    recording = {**recording, "environment": _with_whole_serials(recording)}
    text = json.dumps(recording)
    for number, serial in enumerate(dict.fromkeys(_SERIAL.findall(text))):
        text = text.replace(serial, f"00000000-0000-0000-0000-{number:012x}")
    home = json.dumps(os.path.expanduser("~"))[1:-1]
    if len(home) > 1:
        text = re.sub(re.escape(home) + r"(?![\w.-])", "~", text)
    clean: dict[str, Any] = json.loads(text)
    return clean


def _with_whole_serials(recording: dict[str, Any]) -> dict[str, str]:
    """The variables; where one names a card by the beginning of its serial, the whole of it."""
    every = list(dict.fromkeys(_SERIAL.findall(json.dumps(recording.get("probe", {})))))

    def complete(found: "re.Match[str]") -> str:
        whole = [serial for serial in every if serial.startswith(found[1])]
        return whole[0] if len(whole) == 1 else re.sub(r"[0-9a-f]", "0", found[1])

    return {
        name: _SHORT_SERIAL.sub(complete, value) if _SERIAL.search(value) is None else value
        for name, value in recording["environment"].items()
    }


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").splitlines()


def _read(path: str) -> str:
    """A small text of the kernel, "" where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def detect_hardware(environment: Mapping[str, str]) -> Hardware:
    began = time.time()
    return replace(parse_recording(_record(environment)), measured_at=began)


def parse_recording(recording: Mapping[str, Any]) -> Hardware:
    """The machine of a recording. Pure; whatever is missing in it is simply not known."""
    answers = Answers(recording)
    nvidia, memory = parse_nvidia(answers), parse_memory(answers)
    cards = merge(nvidia.cards, parse_graphics(answers))
    devices, idle = join(answers, cards, memory)
    hardware = Hardware(
        system=answers.system, cpu=parse_cpu(answers), memory=memory, build=parse_build(answers),
        devices=devices, wsl=is_wsl(answers),
        variables=tuple(f"{k}={v}" for k, v in parse_variables(answers).items()),
        apart=show_apart(answers, devices),
    )  # fmt: skip
    facts = MachineFacts(answers, hardware, nvidia, cards, idle)
    return replace(hardware, findings=find(facts), rebuild=facts.install(source=True))


# Windows' own answers: memory, cores, features, graphics adapters. Imported on Windows only. The
# registry knows a card's memory beyond 4 GiB (WMI's AdapterRAM does not), and is read in
# microseconds.
_ADAPTERS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"
_PROCESSOR = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_RELATION_PROCESSOR_CORE = 0
_MOST_ADAPTERS = 16


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of sysinfoapi.h."""

    _fields_ = [
        ("length", ctypes.c_uint32),
        ("load_percent", ctypes.c_uint32),
        *[
            (name, ctypes.c_uint64)
            for name in (
                "total", "available", "total_page", "available_page",
                "total_virtual", "available_virtual", "available_extended",
            )
        ],
    ]  # fmt: skip


def record_windows() -> dict[str, Any]:
    """The part "windows" of a recording; {} elsewhere."""
    if sys.platform != "win32":
        return {}
    kernel32 = ctypes.WinDLL("kernel32")
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return {
        "memory": {"total": status.total, "available": status.available},
        "cores": _cores(kernel32),
        "features": [n for n in WINDOWS_FEATURES if kernel32.IsProcessorFeaturePresent(int(n))],
        "processor": _value(_PROCESSOR, "ProcessorNameString") or "",
        "adapters": [found for i in range(_MOST_ADAPTERS) if (found := _adapter(i))],
    }


def _cores(kernel32: Any) -> str:
    size, ask = ctypes.c_uint32(0), kernel32.GetLogicalProcessorInformationEx
    ask(_RELATION_PROCESSOR_CORE, None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    known = ask(_RELATION_PROCESSOR_CORE, buffer, ctypes.byref(size))
    return buffer.raw[: size.value].hex() if known else ""


def _adapter(number: int) -> dict[str, Any]:
    """One graphics adapter; those without memory are remote desktops and the like."""
    key = rf"{_ADAPTERS}\{number:04d}"
    memory = _value(key, "HardwareInformation.qwMemorySize")
    if isinstance(memory, bytes):  # some drivers store the number as bytes
        memory = int.from_bytes(memory[:8], "little")
    if not memory:
        return {}
    return {
        "title": _value(key, "DriverDesc") or "",
        "id": _value(key, "MatchingDeviceId") or "",
        "driver": _value(key, "DriverVersion") or "",
        "memory": memory,
    }


def _value(key: str, name: str) -> Any:
    if sys.platform != "win32":
        return None
    import winreg  # noqa: PLC0415  (Windows only)

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
            return winreg.QueryValueEx(opened, name)[0]
    except OSError:
        return None
