"""What ggml sees and what everything else knows, joined into devices. Pure.

ggml's devices are what will be used, so their names and totals count. Cards join them by PCI id,
never by index: CUDA orders by speed, nvidia-smi by bus, and CUDA_VISIBLE_DEVICES renumbers. A
slice (MIG) has its card's PCI id and joins by its own serial. Where a backend tells no PCI id
(Metal, older Vulkan drivers), a name joins if it is the only one of its kind.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from gemma_edge.hardware.machine import Device
from gemma_edge.hardware.memory import Memory
from gemma_edge.hardware.nvidia import Card, shorten
from gemma_edge.hardware.text import Answers
from gemma_edge.units import render_bytes

_GPU, _IGPU = 1, 2  # GGML_BACKEND_DEVICE_TYPE_*
BACKENDS = {"cpu": "the processor", "cuda": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan",
            "metal": "Metal", "sycl": "SYCL", "rpc": "RPC", "blas": "BLAS"}  # fmt: skip
_BACKENDS = {"MTL": "metal", "METAL": "metal", "HIP": "rocm"}
_SOFTWARE = re.compile("llvmpipe|SwiftShader|Microsoft Basic Render", re.IGNORECASE)


def backend_of(registry: str) -> str:
    """ggml's name of a backend, in ours."""
    return _BACKENDS.get(registry.upper(), registry.lower())


def join(
    answers: Answers, cards: Sequence[Card], memory: Memory
) -> tuple[tuple[Device, ...], tuple[Card, ...]]:
    """ggml's devices in ggml's order, then the cards that it does not see, as devices without a
    name; and those cards themselves."""
    left = list(cards)
    devices: list[Device] = []
    for entry in answers.part("probe").part("ggml").parts("devices"):
        name = entry.text("description")
        if entry.number("type") not in (_GPU, _IGPU) or _SOFTWARE.search(name):
            continue
        pci_id, backend = _pci_id(entry), backend_of(entry.text("backend"))
        if pci_id and any(d.pci_id == pci_id and d.backend != backend for d in devices):
            continue  # the same card again, through Vulkan after CUDA; llama.cpp skips it too
        fits = _find(cards, devices, entry)
        used = next((card for card in fits if card in left), None)
        if used:  # of several, nobody can say which one this is; but one of them it is
            left.remove(used)
        card = fits[0] if len(fits) == 1 else None
        devices.append(_usable(answers, entry, card, memory))
    return (*devices, *map(_unusable, left)), tuple(left)


def _find(cards: Sequence[Card], devices: Sequence[Device], entry: Answers) -> list[Card]:
    """The cards that one of ggml's devices may be: the one at its place on the bus, or all of its
    name, or of its maker and kind, that no device before it was."""
    pci_id, name = _pci_id(entry), entry.text("description")
    if known := [card for card in cards if pci_id and card.pci_id == pci_id]:
        return known[:1]
    taken = {device.pci_id for device in devices if device.pci_id}
    free = [c for c in cards if not c.pci_id or not (pci_id or c.pci_id in taken)]
    named = [card for card in free if card.title == shorten(name)]
    integrated = entry.number("type") == _IGPU
    return named or [c for c in free if (c.vendor, c.integrated) == (_maker(name), integrated)]


def _pci_id(entry: Answers) -> str:
    return re.sub(r"-v\d+$", "", entry.text("id").lower())  # "-v1": a share of one card


def _maker(name: str) -> str:
    words = (("NVIDIA", "nvidia"), ("AMD", "amd"), ("Radeon", "amd"), ("Intel", "intel"))
    return next((maker for word, maker in words if word in name), "")


def _usable(answers: Answers, entry: Answers, card: Card | None, memory: Memory) -> Device:
    integrated = entry.number("type") == _IGPU or backend_of(entry.text("backend")) == "metal"
    total = entry.number("total") or (card.total_bytes if card else 0)
    free, reason = _free(answers, entry, card, integrated, memory)
    return Device(
        name=entry.text("name"),
        title=_title(answers, entry, card),
        backend=backend_of(entry.text("backend")),
        integrated=integrated,
        total_bytes=total,
        free_bytes=min(free, total) if total else free,
        pci_id=_pci_id(entry) or (card.pci_id if card else ""),
        driver=card.driver if card else "",
        capability=card.capability if card else "",
        mig=_is_slice(entry, card),
        display=_displays(answers, card),
        reason=reason,
    )


def _free(
    answers: Answers, entry: Answers, card: Card | None, integrated: bool, memory: Memory
) -> tuple[int, str]:
    """Free bytes, and where the number comes from.

    ggml's number is taken inside the probe, whose own CUDA context (300 MiB) is already in use
    then; NVML's was taken before. Under Windows a process gets less than what is free, and MIG's
    parent says nothing about the slice: there ggml's word is the tighter one.
    """
    told = entry.number("free")
    if integrated:
        available = memory.available_bytes
        # CUDA's number is that of /proc/meminfo, or of the huge pages alone where there are some.
        unified = backend_of(entry.text("backend")) == "cuda"
        if available is not None and (available < told or unified):
            return available, f"its memory is main memory: {memory.reason}"
        return told, "its memory is main memory; free as ggml says"
    piece = _slice(answers, card) if _is_slice(entry, card) else card
    if piece is None or not piece.free_bytes:
        return told, "free as ggml says, the probe's own share taken off"
    if told and (piece.wddm or answers.system == "win32" or is_wsl(answers)):
        return min(told, piece.free_bytes), "free as Windows grants it to one program"
    return piece.free_bytes, f"free as {piece.source} says"


def is_wsl(answers: Answers) -> bool:
    """Linux under Windows: the kernel's name says so, or Windows' graphics device is there."""
    return "microsoft" in answers.text("kernel").lower() or answers.has("/dev/dxg")


def _is_slice(entry: Answers, card: Card | None) -> bool:
    return " MIG " in f"{entry.text('description')} " or bool(card and card.mig)


def _slice(answers: Answers, card: Card | None) -> Card | None:
    """The slice that this process may use: the one named by its serial, or the only one."""
    pieces = card.slices if card else ()
    visible = answers.variable("CUDA_VISIBLE_DEVICES").split(",")[0].strip()
    named = [piece for piece in pieces if visible and piece.serial.startswith(visible)]
    if len(named) == 1:
        return named[0]
    return pieces[0] if len(pieces) == 1 else None


def _title(answers: Answers, entry: Answers, card: Card | None) -> str:
    title = shorten(entry.text("description"))
    piece = _slice(answers, card) if _is_slice(entry, card) else None
    return piece.title if piece and piece.title and "MIG" not in title else title


def _displays(answers: Answers, card: Card | None) -> bool:
    if card is not None and (card.source != "Windows' registry"):
        return card.display
    if answers.system in ("darwin", "win32"):
        return True
    return bool(answers.variable("DISPLAY") or answers.variable("WAYLAND_DISPLAY"))


def _unusable(card: Card) -> Device:
    size = f"{render_bytes(card.total_bytes)} by" if card.total_bytes else "seen by"
    return Device(
        name="",
        title=card.title,
        backend="",
        integrated=card.integrated,
        total_bytes=card.total_bytes,
        free_bytes=card.free_bytes,
        pci_id=card.pci_id,
        driver=card.driver,
        capability=card.capability,
        display=card.display,
        reason=f"{size} {card.source}; llama.cpp does not see it",
    )


def merge(nvidia: Sequence[Card], listed: Sequence[Card]) -> tuple[Card, ...]:
    """NVIDIA's own tools know more than the list of the system, so their cards replace it."""
    places = {card.pci_id: card for card in listed if card.pci_id}
    drawing = {place for place, card in places.items() if card.display}
    known = [replace(card, display=card.display or card.pci_id in drawing) for card in nvidia]
    rest = [
        card
        for card in listed
        if card.pci_id not in {one.pci_id for one in nvidia if one.pci_id}
        and not (nvidia and not card.pci_id and card.vendor == "nvidia")  # Windows tells no PCI id
    ]
    return (*known, *rest)
