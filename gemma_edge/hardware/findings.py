"""What a person should know about the machine, and the way out as a command. Pure."""

import re
from collections.abc import Callable, Iterator, Sequence

from gemma_edge.hardware.gpus import (
    ANSWERING,
    BACKENDS,
    BY_CHANCE,
    CUDA_VISIBLE,
    DRIVER_LIBRARIES,
    HIDING,
    NO_CODE,
    NO_NVML,
    SMI,
    TOO_OLD,
    Card,
    CudaLibraries,
    Nvidia,
    has_code,
    install_command,
    is_limited,
    lacking,
    made_with,
    parse_architectures,
    parse_variables,
    parse_version,
    refusal,
    unused,
)
from gemma_edge.hardware.machine import (
    Answers,
    Device,
    Finding,
    Hardware,
    Titled,
    name_of,
    parse_limits,
    parse_meminfo,
    parse_pairs,
)
from gemma_edge.records import dataclass
from gemma_edge.units import GIB, MIB, render_bytes

_CONTAINERS = {
    "/.dockerenv": "docker", "/run/.containerenv": "podman", "/.singularity.d": "apptainer",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """One machine. ``cards`` are all cards that anything knows, NVIDIA's first; ``idle`` are those
    that llama.cpp does not see."""

    answers: Answers
    hardware: Hardware
    nvidia: Nvidia
    cards: tuple[Card, ...]
    idle: tuple[Card, ...]

    @property
    def usable(self) -> list[Device]:
        return [device for device in self.hardware.devices if device.usable]

    @property
    def failures(self) -> tuple[Answers, ...]:
        """The parts of the probe that ended it or held it up."""
        return self.answers.part("probe").parts("failures")

    @property
    def driver_is_silent(self) -> bool:
        """The driver's own tools do not answer either."""
        at_nvml = [each for each in self.failures if each.text("part") == "nvml"]
        hangs = any(each.raw.get("status", 0) is None for each in at_nvml)
        cut_off = self.answers.command(SMI).raw.get("status", 0) is None
        return (hangs or cut_off) and not self.nvidia.cards

    @property
    def idle_nvidia(self) -> list[Card]:
        """NVIDIA's cards that answer and that llama.cpp does not see."""
        return [card for card in self.idle if card.source in ANSWERING]

    @property
    def in_container(self) -> str:
        """docker, podman, apptainer, or ""."""
        return next((name for path, name in _CONTAINERS.items() if self.answers.has(path)), "")

    @property
    def job_without_gpu(self) -> bool:
        given = [self.answers.variable(f"SLURM_{n}") for n in ("JOB_GPUS", "STEP_GPUS", "GPUS")]
        return bool(self.answers.variable("SLURM_JOB_ID")) and not any(given)

    @property
    def on_login_node(self) -> bool:
        """SLURM is here, and no job: the GPUs are on other nodes."""
        return self.answers.has("srun") and not self.answers.variable("SLURM_JOB_ID")

    @property
    def shut_out(self) -> bool:
        """A container on a host with an NVIDIA card, started without it."""
        nodes = self.answers.has("/dev/nvidiactl") or self.answers.has("/dev/dxg")
        listed = any(card.vendor == "nvidia" for card in self.cards)
        return bool(self.in_container) and listed and not nodes and not self.nvidia.cards

    @property
    def best_backend(self) -> str:
        vendors = {card.vendor for card in self.cards if not card.integrated}
        if "nvidia" in vendors:
            return "cuda"
        stack = self.answers.has("/dev/kfd") and self.answers.has("/opt/rocm")
        held = self.answers.part("probe").part("llama").words("libraries")  # Windows' has its own
        if "amd" in vendors and (stack or "hip" in held):
            return "rocm"
        if vendors:
            return "vulkan"
        on_apple = self.answers.system == "darwin" and self.answers.text("machine") == "arm64"
        return "metal" if on_apple else "cpu"

    def name(self, one: Titled) -> str:
        return name_of(one, self.hardware.devices)

    def install(self, backend: str = "", *, source: bool = False) -> str:
        """``source``: compiled here, whatever wheels are published."""
        wanted, cpu = backend or self.best_backend, self.hardware.cpu
        return install_command(self.answers, wanted, self.nvidia, cpu, source=source)


# Findings about the machine: clusters, full cards, slices, memory. Each function looks at one cause
# and yields what it found, or nothing.
_FULL_SHARE = 0.2  # of a card's memory: with less left, no model fits beside what is there
_CARVE_OUT_SHARE = 0.5  # of what Vulkan reaches
_MANY_HUGE_PAGES = 0.1  # of main memory
_ASK_SLURM = "srun --gres=gpu:1 --mem=16G --pty bash"
_NO_FALLBACK = (
    "NVIDIA Control Panel, Manage 3D settings: CUDA - Sysmem Fallback Policy, Prefer No Fallback"
)


def check_cluster(facts: MachineFacts) -> Iterator[Finding]:
    """SLURM: a login node has no GPU, and a job has only what it asked for."""
    job = facts.answers.variable("SLURM_JOB_ID")
    if facts.usable or facts.nvidia.cards or not (job or facts.on_login_node):
        return
    if facts.on_login_node:
        text = "this is a login node without a GPU; SLURM gives out the nodes that have one"
        yield Finding("warning", "cluster", text, _ASK_SLURM)
    elif facts.job_without_gpu:
        yield Finding("warning", "cluster", f"job {job} was started without a GPU", _ASK_SLURM)
    else:
        text = f"SLURM gave job {job} a GPU, but this step does not see it"
        yield Finding("problem", "cluster", text, _ASK_SLURM)


def check_devices(facts: MachineFacts) -> Iterator[Finding]:
    """Each device that is used: full, a slice, shared with main memory."""
    cards = {card.pci_id: card for card in facts.cards if card.pci_id}
    for device in facts.usable:
        card = cards.get(device.pci_id)
        if device.mig:
            size = render_bytes(device.total_bytes)
            yield Finding("fine", "MIG", f"{device.name} is a slice of {size}; only that counts")
            yield from _several(facts)
        elif not device.integrated:
            yield from _limited(device, card)
            yield from _full(device, card, facts.name(device))
        elif device.backend == "cuda":
            text = f"{device.title} shares main memory: what else runs takes from it"
            yield Finding("fine", "GPU", text)
        elif device.backend == "rocm" and card:
            yield from _carve_out(facts, device, card)


def _several(facts: MachineFacts) -> Iterator[Finding]:
    """A job that was given several slices, by numbers or by names."""
    count = len([each for each in facts.answers.variable(CUDA_VISIBLE).split(",") if each.strip()])
    if count > 1:
        text = f"{CUDA_VISIBLE} names {count} slices; a program uses the first, the others lie idle"
        fix = f"one process a slice: gemma-edge hpc script --array {count}, with one slice a job"
        if len(facts.hardware.apart) == count:
            fix += f"; or extract … --cluster local:{count}"
        yield Finding("warning", "MIG", text, fix)


def _limited(device: Device, card: Card | None) -> Iterator[Finding]:
    if card is not None and device.backend == "cuda" and is_limited(device.total_bytes, card):
        part, whole = render_bytes(device.total_bytes), render_bytes(card.total_bytes)
        text = (
            f"{device.name} is {part} of a card of {whole}, cut off by software; only that counts"
        )
        yield Finding("fine", "GPU", text)


def _full(device: Device, card: Card | None, name: str) -> Iterator[Finding]:
    least = max(GIB, int(_FULL_SHARE * device.total_bytes))
    if not device.total_bytes or device.free_bytes >= least:
        return
    known = [holder for holder in (card.holders if card else ()) if holder[0]]
    holders = [f"{name} {render_bytes(size)}" if size else name for name, size in known[:3]]
    free, total = render_bytes(device.free_bytes), render_bytes(device.total_bytes)
    text = f"{name} is full: {free} of {total} are free"
    text += f"; held by {', '.join(holders)}" if holders else ""
    fix = f"stop {known[0][0] if known else 'what else runs on it'}"
    yield Finding("warning", "GPU", text, fix)


def _carve_out(facts: MachineFacts, device: Device, card: Card) -> Iterator[Finding]:
    reach = card.total_bytes + card.gtt_bytes
    if device.total_bytes < _CARVE_OUT_SHARE * reach:
        text = f"ROCm sees only the {render_bytes(device.total_bytes)} that the BIOS sets aside for"
        text += f" {device.title}; Vulkan reaches {render_bytes(reach)}"
        yield Finding("warning", "GPU", text, facts.install("vulkan"))


def check_windows(facts: MachineFacts) -> Iterator[Finding]:
    """Windows moves video memory out in silence when it is full."""
    windows = facts.hardware.system == "win32" or facts.hardware.wsl
    if windows and any(device.backend == "cuda" for device in facts.usable):
        text = "Windows moves full video memory to main memory in silence, 5 to 30 times slower"
        fix = "" if facts.hardware.wsl else _NO_FALLBACK  # WSL does not heed it (microsoft/WSL)
        yield Finding("fine", "WSL" if facts.hardware.wsl else "Windows", text, fix)


def check_memory(facts: MachineFacts) -> Iterator[Finding]:
    """Main memory: a container smaller than its machine, and reserved huge pages."""
    text = facts.answers.file("/proc/meminfo")
    _, limit = parse_limits(facts.answers)
    total = parse_meminfo(text, "MemTotal")
    if limit is not None and total is not None and limit < total:
        seen = f"this process may use {render_bytes(limit)} of the machine's {render_bytes(total)}"
        yield Finding("fine", "cgroup", seen)
    pages = parse_meminfo(text, "HugePages_Total") or 0
    reserved = pages * (parse_meminfo(text, "Hugepagesize") or 0)
    # llama.cpp takes free huge pages for all that such a GPU has (ggml-cuda.cu:5043).
    unified = any(device.integrated and device.backend == "cuda" for device in facts.usable)
    if reserved > (0 if unified else _MANY_HUGE_PAGES * (total or reserved)):
        text = f"{render_bytes(reserved)} are reserved as huge pages, which no model uses"
        text += "; llama.cpp counts nothing else as free for this GPU" if unified else ""
        yield Finding("warning", "huge pages", text, "sudo sysctl vm.nr_hugepages=0")


# Findings about the software: llama.cpp's build, CUDA's libraries, drivers. Each function looks at
# one cause and yields what it found, or nothing.
_RESTART = {  # how a container is given the host's card
    "docker": "docker run --gpus all ...",
    "podman": "podman run --device nvidia.com/gpu=all ...",
    "apptainer": "apptainer exec --nv ...",
}
_NO_DEVICE = "no CUDA-capable device"  # cudaErrorNoDevice
_BUG_REPORT = "gemma-edge doctor --raw > machine.json, for a bug report"
_AGAIN = (
    "gemma-edge doctor, once more: what was read or compiled for the first time is there by then"
)
# What CUDA says when it does not start (driver_types.h, cudaGetErrorString) -> what helps. None of
# it is mended by another build, so none is advised.
_CURES = (
    ("system not yet initialized", "sudo systemctl restart nvidia-fabricmanager"),
    ("unsupported display driver", "sudo reboot"),
    ("forward compatibility", "remove NVIDIA's package cuda-compat, or update the driver"),
    ("out of memory", "stop what else runs on it"),
    ("busy or unavailable", "stop what else runs on it"),
    ("unknown error", "sudo modprobe -r nvidia_uvm, then sudo modprobe nvidia_uvm; or sudo reboot"),
    ("OS call failed", "sudo modprobe nvidia_uvm; in a container, start it with the GPU again"),
    ("initialization error", "sudo reboot"),
    (_NO_DEVICE, "nvidia-smi says whether the driver is well; if it is, sudo reboot"),
)
_OLD_DRIVER = "driver version is insufficient"  # for the CUDA that the build is made with


def check_libraries(facts: MachineFacts) -> Iterator[Finding]:
    """The installed llama.cpp cannot be loaded, or needs libraries that lie elsewhere."""
    error = facts.hardware.build.error
    found = facts.answers.part("probe").part("cuda_libraries")
    missing = found.words("missing")
    if driver := next((name for name in DRIVER_LIBRARIES if name in missing or name in error), ""):
        text = f"{driver} is missing: llama.cpp was built for CUDA, and here is no NVIDIA driver"
        if facts.on_login_node or facts.job_without_gpu:
            yield Finding("warning", "driver", f"{text}; the nodes with a GPU have it")
        elif not facts.shut_out:  # the driver's finding says what a container lacks
            yield Finding("problem", "driver", text, facts.install("cpu"))
    elif missing:
        verb = "is" if len(missing) == 1 else "are"
        text = f"{', '.join(missing)} {verb} missing: this llama.cpp was built for CUDA"
        fix = CudaLibraries(present=True, missing=missing).fix
        yield Finding("problem", "CUDA libraries", text, fix or "install the CUDA toolkit")
    elif error:
        text, fix = explain_loader(error, facts)
        yield Finding("problem", "llama.cpp", text, fix)
    elif found.words("loaded"):
        text = f"{', '.join(found.words('loaded'))} from packages of this environment"
        yield Finding("fine", "CUDA libraries", text)


def _mend(facts: MachineFacts) -> str:
    """What helps where llama.cpp's libraries do not answer. They were asked without any GPU too, so
    a build that ends the program is broken; one that was only slow is not."""
    status = facts.answers.part("probe").raw.get("status", 0)
    if status is None:
        return "restart the machine" if facts.driver_is_silent else _AGAIN
    refused = "illegal instruction" in facts.hardware.build.error  # by the wheel again
    return _BUG_REPORT if status == 1 and facts.failures else facts.install(source=refused)


def check_probe(facts: MachineFacts) -> Iterator[Finding]:
    """What could not be asked, what was lost by it, and what goes on."""
    failed = facts.answers.part("probe").part("nvml").text("error")
    known = facts.nvidia.cards or any(device.backend == "cuda" for device in facts.usable)
    if failed and known and not failed.startswith(NO_NVML):
        text = f"NVML failed ({failed}); nvidia-smi and llama.cpp say what they know of the cards"
        yield Finding("warning", "NVML", text)
    elif facts.nvidia.lost:
        some, more = facts.nvidia.lost[:3], len(facts.nvidia.lost) - 3
        listed = "; ".join(some) + (f"; and {more} more" if more > 0 else "")
        weighty = any(line.startswith(_WEIGHTY) for line in facts.nvidia.lost)
        text = f"NVML leaves open: {listed}; what nvidia-smi and llama.cpp say is taken instead"
        yield Finding("warning" if weighty else "fine", "NVML", text)
    if variables := parse_variables(facts.answers):
        at_ggml = [each for each in facts.failures if each.text("part") != "nvml"]
        yield from _left_out(facts, (*at_ggml, Answers({}))[0], alone=not variables[CUDA_VISIBLE])


# Questions whose answers the plan depends on.
_WEIGHTY = (
    "DeviceGetCount", "DeviceGetHandle", "DeviceGetMemoryInfo", "DeviceGetCudaComputeCapability",
    "DeviceGetPciInfo", "DeviceGetMig", "total", "free", "busId",
)  # fmt: skip


def _left_out(facts: MachineFacts, failure: Answers, *, alone: bool) -> Iterator[Finding]:
    """Cards without which llama.cpp starts, and with which it does not."""
    hangs, reason = failure.raw.get("status", 0) is None, failure.text("reason")
    does = f"llama.cpp {'hangs' if hangs else 'ends'} where it opens"
    said = f" ({reason})" if reason else ""
    if alone:
        names = " and ".join(card.title for card in facts.idle) or "the GPU"
        text = f"{does} {names}{said}: no GPU is used, the processor does the work"
        yield Finding(
            "problem", "GPU", text, _cure(reason, facts, _AGAIN if hangs else _BUG_REPORT)
        )
        return
    rest = " and ".join(device.title for device in facts.usable)
    for card in facts.idle_nvidia:
        why = f" ({refusal(card)})" if refusal(card) else ""
        text = f"{facts.name(card)} is left out{why}: {does} every card{said}; {rest} goes on"
        yield Finding("warning", "GPU", text, _make_way(card))


def _make_way(card: Card) -> str:
    if card.mode == "prohibited":
        return f"sudo nvidia-smi -i {card.pci_id} -c DEFAULT"
    if refusal(card):
        return f"stop {next((name for name, _ in card.holders if name), 'what else runs on it')}"
    return f"nvidia-smi -q -i {card.pci_id} says what is wrong with it"


def _cure(reason: str, facts: MachineFacts, otherwise: str) -> str:
    """What helps against what CUDA says."""
    if _OLD_DRIVER in reason:
        return facts.install("cuda")  # made with an older CUDA
    return next((cure for words, cure in _CURES if words in reason), otherwise)


# What the loaders of Linux, macOS and Windows say of a library, what that means, and the way out:
# "" the build that fits, "source" one that is compiled here, anything else a change.
_LOADER = (
    (re.compile(r"(libgomp\.so[\d.]{0,20}): cannot open"), "needs {0}, which is missing",
     "install libgomp1 (Debian, Ubuntu), libgomp (Fedora, Alpine) or gcc-libs (Arch)"),
    (re.compile(r"(libvulkan\.so[\d.]{0,20}): cannot open"), "needs {0}, which is missing",
     "install libvulkan1 (Debian, Ubuntu) or vulkan-loader (Fedora, Alpine, Arch)"),
    (re.compile(r"(libstdc\+\+\.so[\d.]{0,20}): cannot open"), "needs {0}, which is missing",
     "install libstdc++6 (Debian, Ubuntu), libstdc++ (Fedora, Alpine) or gcc-libs (Arch)"),
    (re.compile(r"(libc\.musl\S{0,60}|ld-linux\S{0,60}): (?:cannot open|No such)"),
     "needs {0}: it was built for another Linux", "source"),
    (re.compile(r"(lib[\w.+-]{1,80}\.so[\d.]{0,20}): cannot open"),
     "needs {0}, which is missing", ""),
    (re.compile(r"version [`'](GLIBC\w{0,20}_[\w.]{1,20})' not found"),
     "needs {0}: it was built for a newer system",
     "source"),
    (re.compile(r"have '([\w ,]+)', need '([\w ,]+)'"),
     "was built for {0}, and this Python is {1}", ""),
    (re.compile(r"(wrong ELF class|invalid ELF header|Exec format|WinError 193|not a valid Win32)"),
     "was built for another kind of processor ({0})", ""),
    (re.compile(r"undefined symbol: (\w+)"), "is a mix of two versions ({0} is missing)", ""),
    (re.compile(r"failed to map segment"),
     "lies where the system runs no programs (a disk mounted noexec)",
     "set it up in a folder on another disk"),
    (re.compile(r"(?:WinError 126|Could not find module)"), "needs a DLL that is missing",
     "install Microsoft's Visual C++ runtime: https://aka.ms/vs/17/release/vc_redist.x64.exe"),
)  # fmt: skip


def explain_loader(error: str, facts: MachineFacts) -> tuple[str, str]:
    """Why llama.cpp cannot be loaded, after its name, and the fix."""
    for pattern, text, fix in _LOADER:
        if found := pattern.search(error):
            said = text.format(*found.groups())
            if fix in ("", "source"):
                package = CudaLibraries(present=True, missing=(found[1],)).fix
                fix = package or facts.install(source=fix == "source")
            return f"cannot be used: it {said}", fix
    return f"cannot be used: {error}", _mend(facts)


def check_driver(facts: MachineFacts) -> Iterator[Finding]:
    listed = [card for card in facts.cards if card.vendor == "nvidia"]
    there = listed or facts.answers.has("/dev/nvidiactl") or facts.hardware.wsl
    broken = facts.nvidia.broken
    works = any(device.backend == "cuda" for device in facts.usable)
    if facts.nvidia.cards or works or not there or facts.job_without_gpu:
        return  # libraries of a driver lie on many machines that have no card
    if facts.shut_out:
        text = "the host has an NVIDIA card, and this container was started without it"
        yield Finding("problem", "driver", text, _RESTART[facts.in_container])
    elif broken or (listed and listed[0].driver == "nvidia"):
        yield Finding("problem", "driver", *_explain(broken, facts))
    elif listed and listed[0].pci_id not in {"", *(device.pci_id for device in facts.usable)}:
        uses = f"uses {listed[0].driver}" if listed[0].driver else "has no driver"
        text = f"the NVIDIA card at PCI {listed[0].pci_id} {uses}, which cannot compute"
        yield Finding("problem", "driver", text, "install NVIDIA's driver, then restart")


def _explain(broken: str, facts: MachineFacts) -> tuple[str, str]:
    low = broken.lower()
    if not broken or broken.startswith("it did not answer"):
        return "the NVIDIA driver does not answer", "sudo reboot"
    if broken.startswith("nvidia-ml-py"):
        return f"the NVIDIA driver cannot be asked ({broken})", "pip install -U nvidia-ml-py"
    if "mismatch" in low:
        text = "the NVIDIA driver was updated while the old one runs: its halves do not match"
        fix = "sudo reboot"
    elif "unknown error" in low and facts.in_container:
        text, fix = "this container lost its NVIDIA card", "start the container again"
    elif any(words in low for words in ("lost", "requires restart", "no devices")):
        text, fix = "the NVIDIA card stopped answering", "sudo reboot"
    elif "permission" in low:
        text = "this user may not use the NVIDIA card"
        fix = "sudo usermod -aG video,render $USER"
    else:
        kernel = facts.answers.text("kernel") or "that runs"
        text = "the NVIDIA driver does not answer"
        fix = f"reinstall NVIDIA's driver for kernel {kernel}, then restart"
    return f"{text} ({broken.rstrip('.')})", fix


def check_idle_nvidia(facts: MachineFacts) -> Iterator[Finding]:
    """A card that answers and that llama.cpp does not use: the most common failure."""
    idle, build = facts.idle_nvidia, facts.hardware.build
    if not idle or build.error or parse_variables(facts.answers):
        return
    names = " and ".join(card.title for card in idle)
    if "cuda" not in build.backends:
        driver = f" (driver {facts.nvidia.driver})" if facts.nvidia.driver else ""
        text = f"your llama.cpp is built without CUDA: {names}{driver} is here and not used"
        yield Finding("problem", "GPU", text, facts.install("cuda"))
    elif any(device.mig for device in facts.usable):
        text = f"a program uses one slice (MIG) and nothing beside it, so {names} is not used"
        yield Finding("fine", "MIG", text)
    elif any(card.mig for card in idle):
        yield _choose_slice([card for card in idle if card.mig])
    else:
        log = facts.answers.part("probe").part("ggml").text("log").splitlines()
        why = next((line.split(": ", 1)[-1] for line in log if "failed to initialize" in line), "")
        text = f"llama.cpp's CUDA backend does not see {names}" + (f": {why}" if why else "")
        # SLURM sets the variable in every job: it is the cause only where CUDA says "no device".
        hidden = _hidden(facts, "cuda", names) if not why or _NO_DEVICE in why else None
        yield hidden or Finding("problem", "GPU", text, _cure(why, facts, _BUG_REPORT))


_IDLE_SHARE = 0.95  # of a slice's memory is free where nobody uses it


def _choose_slice(cards: Sequence[Card]) -> Finding:
    """Cards in slices (MIG), of which this process sees none: the first one that nobody uses, else
    the one with the most free memory."""
    names = " and ".join(card.title for card in cards)
    pieces = [piece for card in cards for piece in card.slices if piece.serial]
    if not pieces:
        text = f"{names} is in MIG mode and has no slice that we may use"
        fix = f"sudo nvidia-smi mig -i {cards[0].pci_id or 0} -cgi 0 -C"
        return Finding("problem", "MIG", text, fix)
    idle = [piece for piece in pieces if piece.free_bytes >= _IDLE_SHARE * piece.total_bytes]
    best = idle[0] if idle else max(pieces, key=lambda piece: piece.free_bytes)
    text = f"{names} is cut into slices (MIG), and none of them is chosen"
    return Finding("problem", "MIG", text, f"export {CUDA_VISIBLE}={best.serial}")


def _hidden(facts: MachineFacts, backend: str, names: str) -> Finding | None:
    """A variable keeps the card from llama.cpp; wanted, where another one is left."""
    variable = HIDING.get(backend, "")
    if variable not in facts.answers.part("environment").raw:
        return None
    text = f"{variable}={facts.answers.variable(variable)} hides {names}"
    if facts.usable:
        return Finding("fine", "GPU", text)
    return Finding("warning", "GPU", text, f"unset {variable}")


def check_idle_others(facts: MachineFacts) -> Iterator[Finding]:
    build, answers = facts.hardware.build, facts.answers
    idle = [card for card in facts.idle if card.vendor != "nvidia"]
    hidden_all = parse_variables(answers).get(CUDA_VISIBLE) == ""  # said already, with why
    for card in () if build.error or hidden_all else idle:
        backend = "vulkan" if card.integrated else facts.best_backend
        if backend in build.backends:
            hidden = _hidden(facts, backend, card.title)
            text = f"llama.cpp's {BACKENDS[backend]} backend does not see {card.title}"
            yield hidden or Finding("warning", "GPU", text)
        elif not card.integrated:
            text = f"your llama.cpp is built without {BACKENDS[backend]}: {card.title} is here"
            text += " and not used"
            yield Finding("problem", "GPU", text, facts.install(backend))
        elif card.vendor == "amd" and not facts.usable and all(each.integrated for each in idle):
            text = f"{card.title} is part of the processor and not used; Vulkan may be faster"
            yield Finding("fine", "GPU", text, facts.install("vulkan"))
    on_apple = answers.system == "darwin" and answers.text("machine") == "arm64"
    if on_apple and not build.error and "metal" not in build.backends:
        text = "your llama.cpp is built without Metal: this Mac's GPU is not used"
        yield Finding("problem", "GPU", text, facts.install("metal"))


def check_processor(facts: MachineFacts) -> Iterator[Finding]:
    build, cpu = facts.hardware.build, facts.hardware.cpu
    sysctl = parse_pairs(facts.answers.command("sysctl").text("output"))
    if sysctl.get("sysctl.proc_translated") == "1":
        text = "this Python runs under Rosetta, translated: no Metal, and several times slower"
        yield Finding("problem", "python", text, "install Python for Apple silicon (arm64)")
        return  # what the processor seems to have is not what this Python gets
    # Never a published build: those for CUDA have all that the machine has that made them, so it
    # would be the same one again.
    if short := lacking(build, cpu, facts.hardware.system):
        text = f"llama.cpp is built for {', '.join(short)}, which this processor does not have"
        yield Finding("problem", "instructions", text, facts.install(source=True))
    if waste := unused(build, cpu):
        text = f"llama.cpp is built without {', '.join(waste)}, which this processor has: slow"
        # Published builds for GPUs are all like that: the same one again would change nothing.
        works = any(device.backend in build.backends for device in facts.usable)
        text += ", where layers or experts stay on it" if works else ""
        fix = "" if works else facts.install(source=True)
        yield Finding("warning", "instructions", text, fix)
    if "AMX_INT8" in build.instructions and "hypervisor" in cpu.instructions:
        text = "llama.cpp is built for AMX, which virtual machines refuse (illegal instruction)"
        yield Finding("warning", "AMX", text, facts.install(source=True))


_COMPILED_BYTES = 16 * MIB  # so much in the driver's cache is more than other programs' odd kernel


def check_architectures(facts: MachineFacts) -> Iterator[Finding]:
    """Cards that the build has no code for: the old ones are of no use, for newer ones the driver
    compiles it."""
    info = facts.answers.part("probe").part("ggml").text("system_info")
    known = parse_architectures(info)
    for device in facts.hardware.devices:
        version = parse_version(device.capability)
        if device.trouble.startswith(TOO_OLD):
            text = (
                f"{facts.name(device)} (compute capability {device.capability}) is too old for this"
            )
            text += f" build, whose code begins at {_dotted(min(known))}; it is not used"
            yield Finding(
                "warning" if facts.usable else "problem", "GPU", text, facts.install("cuda")
            )
        elif device.trouble == NO_CODE:
            text = f"{facts.name(device)} (compute capability {device.capability}) has no code in"
            text += f" this build, and a driver of CUDA {_dotted(facts.nvidia.cuda)} cannot compile"
            text += f" what CUDA {_dotted(made_with(known))} or newer wrote; it is not used"
            yield Finding(
                "warning" if facts.usable else "problem", "GPU", text, facts.install("cuda")
            )
        elif device.backend == "cuda" and known and version > (0, 0):
            below = max((each for each in known if each <= version), default=min(known))
            if not has_code(version, known):
                yield _compiles(facts, device, below)


def _compiles(facts: MachineFacts, device: Device, newest: tuple[int, int]) -> Finding:
    """``newest`` is the newest code that the build holds and the card could run, if it were its."""
    text = f"{facts.name(device)} (compute capability {device.capability}) "
    if newest == parse_version(device.capability):
        text += "is no target of this build, which holds PTX for it"
    else:
        text += f"is newer than this build, which ends at {_dotted(newest)}"
    text += ": its driver compiles every kernel at "
    kept = facts.answers.part("cuda_cache")
    if facts.answers.variable("CUDA_CACHE_DISABLE") == "1":
        text += "every start, for some minutes, as CUDA_CACHE_DISABLE=1 lets it keep none"
        return Finding("warning", "GPU", text, "unset CUDA_CACHE_DISABLE")
    if kept.raw.get("writable") is False:
        text += f"every start, for some minutes, as {kept.text('folder')} cannot be written to"
        return Finding("warning", "GPU", text, "export CUDA_CACHE_PATH=FOLDER, one that can be")
    done = kept.number("bytes") >= _COMPILED_BYTES
    return Finding("fine" if done else "warning", "GPU", f"{text}the first start, for some minutes")


def _dotted(version: tuple[int, int]) -> str:
    return "{}.{}".format(*version)


# In the order in which they should be read.
_CHECKS: tuple[Callable[[MachineFacts], Iterator[Finding]], ...] = (
    check_cluster, check_libraries, check_driver, check_probe, check_idle_nvidia,
    check_idle_others, check_processor, check_architectures, check_devices, check_windows,
    check_memory,
)  # fmt: skip


def find(facts: MachineFacts) -> tuple[Finding, ...]:
    return tuple(finding for check in _CHECKS for finding in check(facts))


# A build that cannot be used, as ``doctor`` says it: before anything is loaded, or after it died.


def why_unloadable(hardware: Hardware) -> Finding | None:
    """Why llama.cpp's libraries cannot be loaded. None: they can, or may at another try."""
    if not hardware.build.error or hardware.build.error.startswith(BY_CHANCE):
        return None
    names = ("CUDA libraries", "driver", "llama.cpp")
    known = (each for each in hardware.findings if each.what in names and each.state != "fine")
    text = f"cannot be used: {hardware.build.error}"
    return next(known, Finding("problem", "llama.cpp", text, hardware.rebuild))


def why_it_dies(hardware: Hardware) -> Finding | None:
    """What of its build ends a process that computes."""
    for each in hardware.findings:
        if each.what == "AMX" or (each.what == "instructions" and each.state == "problem"):
            return each
    return None


def say_build(finding: Finding) -> str:
    return f"llama.cpp {finding.text}" if finding.what == "llama.cpp" else finding.text
