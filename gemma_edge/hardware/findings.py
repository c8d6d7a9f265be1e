"""What a person should know about the machine, and the way out as a command. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gemma_edge.hardware.gpus import (
    ANSWERING,
    BACKENDS,
    DRIVER_LIBRARIES,
    Card,
    CudaLibraries,
    Nvidia,
    install_command,
    lacking,
    parse_architectures,
    unused,
)
from gemma_edge.hardware.machine import (
    Answers,
    Device,
    Finding,
    Hardware,
    parse_limits,
    parse_meminfo,
    parse_pairs,
)
from gemma_edge.units import GIB, render_bytes

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
        if "amd" in vendors and self.answers.has("/dev/kfd") and self.answers.has("/opt/rocm"):
            return "rocm"
        if vendors:
            return "vulkan"
        on_apple = self.answers.system == "darwin" and self.answers.text("machine") == "arm64"
        return "metal" if on_apple else "cpu"

    def install(self, backend: str = "") -> str:
        wanted = backend or self.best_backend
        return install_command(self.answers, wanted, self.nvidia, self.hardware.cpu)


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
        elif not device.integrated:
            yield from _full(device, card)
        elif device.backend == "cuda":
            text = f"{device.title} shares main memory: what else runs takes from it"
            yield Finding("fine", "GPU", text)
        elif device.backend == "rocm" and card:
            yield from _carve_out(facts, device, card)


def _full(device: Device, card: Card | None) -> Iterator[Finding]:
    least = max(GIB, int(_FULL_SHARE * device.total_bytes))
    if not device.total_bytes or device.free_bytes >= least:
        return
    known = [holder for holder in (card.holders if card else ()) if holder[0]]
    holders = [f"{name} {render_bytes(size)}" if size else name for name, size in known[:3]]
    free, total = render_bytes(device.free_bytes), render_bytes(device.total_bytes)
    text = f"{device.title} is full: {free} of {total} are free"
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
_HIDING = {  # the variable that hides devices from a backend
    "cuda": "CUDA_VISIBLE_DEVICES",
    "rocm": "HIP_VISIBLE_DEVICES",
    "vulkan": "GGML_VK_VISIBLE_DEVICES",
}


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
        hangs = facts.answers.part("probe").raw.get("status", 0) is None
        fix = "restart the machine" if hangs else facts.install()
        yield Finding("problem", "llama.cpp", f"cannot be used: {error}", fix)
    elif found.words("loaded"):
        text = f"{', '.join(found.words('loaded'))} from packages of this environment"
        yield Finding("fine", "CUDA libraries", text)


def check_driver(facts: MachineFacts) -> Iterator[Finding]:
    listed = [card for card in facts.cards if card.vendor == "nvidia"]
    there = listed or facts.answers.has("/dev/nvidiactl") or facts.hardware.wsl
    broken = facts.nvidia.broken
    if facts.nvidia.cards or not there or facts.job_without_gpu:
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
    if not broken:
        return "the NVIDIA driver does not answer", "sudo reboot"
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
    if not idle or build.error:
        return
    names = " and ".join(card.title for card in idle)
    if "cuda" not in build.backends:
        driver = f" (driver {facts.nvidia.driver})" if facts.nvidia.driver else ""
        text = f"your llama.cpp is built without CUDA: {names}{driver} is here and not used"
        yield Finding("problem", "GPU", text, facts.install("cuda"))
    elif any(card.mig for card in idle):
        serial = next((piece.serial for card in idle for piece in card.slices), "")
        if serial:
            text = f"{names} is cut into slices (MIG), and none of them is chosen"
            yield Finding("problem", "MIG", text, f"export CUDA_VISIBLE_DEVICES={serial}")
        else:
            text = f"{names} is in MIG mode and has no slice that we may use"
            yield Finding("problem", "MIG", text, "sudo nvidia-smi mig -i 0 -cgi 0 -C")
    else:
        log = facts.answers.part("probe").part("ggml").text("log").splitlines()
        why = next((line.split(": ", 1)[-1] for line in log if "failed to initialize" in line), "")
        text = f"llama.cpp's CUDA backend does not see {names}" + (f": {why}" if why else "")
        # SLURM sets the variable in every job: it is the cause only where CUDA says "no device".
        hidden = _hidden(facts, "cuda", names) if not why or _NO_DEVICE in why else None
        yield hidden or Finding("problem", "GPU", text, facts.install("cuda"))


def _hidden(facts: MachineFacts, backend: str, names: str) -> Finding | None:
    """A variable keeps the card from llama.cpp; wanted, where another one is left."""
    variable = _HIDING.get(backend, "")
    if variable not in facts.answers.part("environment").raw:
        return None
    text = f"{variable}={facts.answers.variable(variable)} hides {names}"
    if facts.usable:
        return Finding("fine", "GPU", text)
    return Finding("warning", "GPU", text, f"unset {variable}")


def check_idle_others(facts: MachineFacts) -> Iterator[Finding]:
    build, answers = facts.hardware.build, facts.answers
    idle = [card for card in facts.idle if card.vendor != "nvidia"]
    for card in () if build.error else idle:
        backend = "vulkan" if card.integrated else facts.best_backend
        if backend in build.backends:
            hidden = _hidden(facts, backend, card.title)
            text = f"llama.cpp's {BACKENDS[backend]} backend does not see {card.title}"
            yield hidden or Finding("warning", "GPU", text)
        elif not card.integrated:
            text = f"your llama.cpp is built without {BACKENDS[backend]}: {card.title} is here"
            text += " and not used"
            yield Finding("problem", "GPU", text, facts.install(backend))
        elif card.vendor == "amd" and not facts.usable:
            text = f"{card.title} is part of the processor and not used; Vulkan may be faster"
            yield Finding("fine", "GPU", text, facts.install("vulkan"))
    on_apple = answers.system == "darwin" and answers.text("machine") == "arm64"
    if on_apple and not facts.usable and not build.error:
        text = "your llama.cpp is built without Metal: this Mac's GPU is not used"
        yield Finding("problem", "GPU", text, facts.install("metal"))


def check_processor(facts: MachineFacts) -> Iterator[Finding]:
    build, cpu = facts.hardware.build, facts.hardware.cpu
    sysctl = parse_pairs(facts.answers.command("sysctl").text("output"))
    if sysctl.get("sysctl.proc_translated") == "1":
        text = "this Python runs under Rosetta, translated: no Metal, and several times slower"
        yield Finding("problem", "python", text, "install Python for Apple silicon (arm64)")
        return  # what the processor seems to have is not what this Python gets
    if short := lacking(build, cpu, facts.hardware.system):
        text = f"llama.cpp is built for {', '.join(short)}, which this processor does not have"
        yield Finding("problem", "instructions", text, facts.install())
    if waste := unused(build, cpu):
        text = f"llama.cpp is built without {', '.join(waste)}, which this processor has: slow"
        yield Finding("warning", "instructions", text, facts.install())
    if "AMX_INT8" in build.instructions and "hypervisor" in cpu.instructions:
        text = "llama.cpp is built for AMX, which virtual machines refuse (illegal instruction)"
        yield Finding("warning", "instructions", text, facts.install())
    info = facts.answers.part("probe").part("ggml").text("system_info")
    oldest = min(parse_architectures(info), default=(0, 0))
    for card in (card for card in facts.cards if card not in facts.idle):
        if (0, 0) < card.version < oldest:
            text = f"{card.title} (compute capability {card.capability}) is too old for this build"
            yield Finding("problem", "GPU", text, facts.install("cuda"))


# In the order in which they should be read.
_CHECKS: tuple[Callable[[MachineFacts], Iterator[Finding]], ...] = (
    check_cluster, check_libraries, check_driver, check_idle_nvidia, check_idle_others,
    check_processor, check_devices, check_windows, check_memory,
)  # fmt: skip


def find(facts: MachineFacts) -> tuple[Finding, ...]:
    return tuple(finding for check in _CHECKS for finding in check(facts))
