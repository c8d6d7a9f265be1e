"""Findings about the machine: clusters, full cards, slices, memory. Pure.

Each function looks at one cause and yields what it found, or nothing.
"""

from collections.abc import Iterator

from gemma_edge.hardware.cgroups import parse_limits
from gemma_edge.hardware.facts import Facts
from gemma_edge.hardware.machine import Device, Finding
from gemma_edge.hardware.memory import parse_meminfo
from gemma_edge.hardware.nvidia import Card
from gemma_edge.units import GIB, render_bytes

_FULL_SHARE = 0.2  # of a card's memory: with less left, no model fits beside what is there
_CARVE_OUT_SHARE = 0.5  # of what Vulkan reaches
_MANY_HUGE_PAGES = 0.1  # of main memory
_ASK_SLURM = "srun --gres=gpu:1 --mem=16G --pty bash"
_NO_FALLBACK = (
    "NVIDIA Control Panel, Manage 3D settings: CUDA - Sysmem Fallback Policy, Prefer No Fallback"
)


def look_at_cluster(facts: Facts) -> Iterator[Finding]:
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


def look_at_devices(facts: Facts) -> Iterator[Finding]:
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
    """A card on which no model fits, and who holds its memory."""
    least = max(GIB, int(_FULL_SHARE * device.total_bytes))
    if not device.total_bytes or device.free_bytes >= least:
        return
    known = [holder for holder in (card.holders if card else ()) if holder[0]]
    holders = [f"{name} {render_bytes(size)}" if size else name for name, size in known[:3]]
    text = f"{device.title} is full: {render_bytes(device.free_bytes)} of "
    text += f"{render_bytes(device.total_bytes)} are free"
    text += f"; held by {', '.join(holders)}" if holders else ""
    fix = f"stop {known[0][0] if known else 'what else runs on it'}"
    yield Finding("warning", "GPU", text, fix)


def _carve_out(facts: Facts, device: Device, card: Card) -> Iterator[Finding]:
    reach = card.total_bytes + card.gtt_bytes
    if device.total_bytes < _CARVE_OUT_SHARE * reach:
        text = f"ROCm sees only the {render_bytes(device.total_bytes)} that the BIOS sets aside for"
        text += f" {device.title}; Vulkan reaches {render_bytes(reach)}"
        yield Finding("warning", "GPU", text, facts.install("vulkan"))


def look_at_windows(facts: Facts) -> Iterator[Finding]:
    """Windows moves video memory out in silence when it is full."""
    windows = facts.hardware.system == "win32" or facts.hardware.wsl
    if windows and any(device.backend == "cuda" for device in facts.usable):
        text = "Windows moves full video memory to main memory in silence, 5 to 30 times slower"
        fix = "" if facts.hardware.wsl else _NO_FALLBACK  # WSL does not heed it (microsoft/WSL)
        yield Finding("fine", "WSL" if facts.hardware.wsl else "Windows", text, fix)


def look_at_memory(facts: Facts) -> Iterator[Finding]:
    """Main memory: a container smaller than its machine, and reserved huge pages."""
    text = facts.answers.file("/proc/meminfo")
    _, limit = parse_limits(facts.answers)
    total = parse_meminfo(text, "MemTotal")
    if limit is not None and total is not None and limit < total:
        seen = f"this process may use {render_bytes(limit)} of the machine's {render_bytes(total)}"
        yield Finding("fine", "cgroup", seen)
    pages = parse_meminfo(text, "HugePages_Total") or 0
    held = pages * (parse_meminfo(text, "Hugepagesize") or 0)
    # llama.cpp takes free huge pages for all that such a GPU has (ggml-cuda.cu:5043).
    unified = any(device.integrated and device.backend == "cuda" for device in facts.usable)
    if held > (0 if unified else _MANY_HUGE_PAGES * (total or held)):
        said = f"{render_bytes(held)} are reserved as huge pages, which no model uses"
        said += "; llama.cpp counts nothing else as free for this GPU" if unified else ""
        yield Finding("warning", "huge pages", said, "sudo sysctl vm.nr_hugepages=0")
