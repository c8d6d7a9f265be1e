"""Graphics cards, their drivers and libraries, and the build of llama.cpp that uses them."""

import ctypes
import importlib.util
import mmap
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gemma_edge.hardware.machine import (
    MACOS_FEATURES,
    UNSEEN,
    WINDOWS_FEATURES,
    Answers,
    Build,
    Cpu,
    Device,
    Memory,
    parse_number,
    parse_pairs,
    program_of,
)
from gemma_edge.records import dataclass
from gemma_edge.units import GIB, MIB, render_bytes

# NVIDIA's cards as NVML and nvidia-smi describe them. Pure over a recording. Both know cards that
# llama.cpp may not see, who uses their memory, and the driver. NVML counts more, so its word comes
# first; nvidia-smi is asked because it is there when nvidia-ml-py is not.
SMI = "nvidia-smi"
SMI_FIELDS = (
    "index", "uuid", "pci.bus_id", "name", "memory.total", "memory.free", "compute_cap",
    "driver_version", "display_active", "mig.mode.current",
)  # fmt: skip
SMI_QUERY = f"nvidia-smi --query-gpu={','.join(SMI_FIELDS)} --format=csv,noheader,nounits"
Version = tuple[int, int]

# What the probe is asked, in this order.
PROBE_PARTS = ("llama", "nvml", "cuda_libraries", "ggml")

NVML = "NVML"
ANSWERING = (NVML, SMI)  # sources of a card whose driver answers

_PCI = re.compile(r"(?:0000)?([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])")
# | GPU   GI   CI        PID   Type   Process name                  GPU Memory |
_PROCESS = re.compile(
    r"\|\s+(\d+)\s+(?:\S+\s+\S+\s+)?\d+\s+(C\+G|C|G)\s+(\S(?:.*\S)?)\s+(N/A|\d+MiB)\s+\|"
)
# The probe's word, and nvidia-ml-py's on Windows, for a machine without NVIDIA's library.
NO_NVML = ("not there", "NVML Shared Library Not Found")
# What nvidia-smi and NVML say when the driver does not answer.
_BROKEN = (
    "NVIDIA-SMI has failed", "Failed to initialize NVML", "couldn't communicate",
    "No devices were found", "Unable to determine the device handle",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card as something other than ggml knows it. ``source`` says who; sizes are 0 where they
    are not known. ``holders`` are (program, bytes), the largest first. ``wddm``: Windows shares its
    memory out. ``mig``: it is cut into ``slices`` (cards themselves, with serials). ``mode`` is
    "exclusive" (one program at a time) or "prohibited" (none computes), else "". ``target`` is what
    ROCm compiles for ("gfx1100"), "" where that is not known."""

    pci_id: str
    title: str
    source: str
    vendor: str = "nvidia"
    total_bytes: int = 0
    free_bytes: int = 0
    driver: str = ""
    capability: str = ""
    serial: str = ""
    display: bool = False
    integrated: bool = False
    mig: bool = False
    slices: tuple["Card", ...] = ()
    holders: tuple[tuple[str, int], ...] = ()
    wddm: bool = False
    gtt_bytes: int = 0
    mode: str = ""
    target: str = ""

    @property
    def version(self) -> Version:
        """The capability as numbers, (0, 0) where it is not known."""
        return parse_version(self.capability)


def parse_version(capability: str) -> Version:
    found = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", capability, re.ASCII)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvidia:
    """NVIDIA's side of a machine. ``cuda`` is the newest that the driver runs, (0, 0) unknown;
    ``broken`` is what the driver's tools say when it does not answer, "" when it does or when
    there is none. ``lost`` are NVML's questions that failed, each with why."""

    cards: tuple[Card, ...] = ()
    driver: str = ""
    cuda: Version = (0, 0)
    broken: str = ""
    lost: tuple[str, ...] = ()


def parse_nvidia(answers: Answers) -> Nvidia:
    nvml = answers.part("probe").part("nvml")
    table = answers.command(SMI)
    text = table.text("output")
    driver, cuda = parse_smi_table(text)
    smi = parse_smi_query(answers.command(SMI_QUERY).text("output"), text)
    cards = _complete(parse_nvml(nvml), smi)
    number = nvml.number("cuda")
    return Nvidia(
        cards=cards,
        driver=nvml.text("driver") or driver or next((card.driver for card in smi), ""),
        cuda=(number // 1000, number % 1000 // 10) if number else cuda,
        broken="" if cards else _broken(nvml.text("error"), text),
        lost=nvml.words("lost"),
    )


def parse_nvml(nvml: Answers) -> tuple[Card, ...]:
    return tuple(_nvml_card(entry, nvml.text("driver")) for entry in nvml.parts("devices"))


def _complete(nvml: Sequence[Card], smi: Sequence[Card]) -> tuple[Card, ...]:
    """NVML's cards, what it did not say of them from nvidia-smi, and those that only this one
    knows."""
    others = {card.pci_id: card for card in smi}
    whole = []
    for card in nvml:
        other = others.pop(card.pci_id, None)
        names = ("title", "total_bytes", "free_bytes", "driver", "capability", "serial", "holders")
        gaps = [name for name in names if other and not getattr(card, name)]
        whole.append(replace(card, **{name: getattr(other, name) for name in gaps}))
    nameless = any(not card.pci_id for card in nvml)  # it may be any of the others
    return (*whole, *(() if nameless else others.values()))


def parse_smi_table(text: str) -> tuple[str, Version]:
    """The head of nvidia-smi's table: driver, and the newest CUDA that it runs."""
    driver = re.search(r"Driver Version:\s*([\d.]{1,20})", text)
    cuda = re.search(r"CUDA (?:UMD )?Version:\s*(\d{1,4})\.(\d{1,4})", text)
    return driver[1] if driver else "", (int(cuda[1]), int(cuda[2])) if cuda else (0, 0)


def parse_smi_query(text: str, table: str = "") -> tuple[Card, ...]:
    """``--query-gpu`` as csv without units (MiB). The table beside it says who holds memory, by
    the same tool's index."""
    wddm = bool(re.search(r"\bWDDM\b", table))
    cards = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(SMI_FIELDS) or not parse_pci(cells[2]):
            continue
        index, serial, pci, name, total, free, capability, driver, display, mig = cells
        users = _users(table, index)
        card = Card(
            pci_id=parse_pci(pci), title=shorten(name), source=SMI, driver=driver, serial=serial,
            total_bytes=(parse_number(total) or 0) * MIB,
            free_bytes=(parse_number(free) or 0) * MIB,
            capability=capability if re.fullmatch(r"\d+\.\d+", capability) else "",
            display=display == "Enabled" or any(kind != "C" for kind, _, _ in users),
            mig=mig == "Enabled", wddm=wddm,
            holders=_order((name, size) for _, name, size in users),
        )  # fmt: skip
        cards.append(card)
    return tuple(cards)


def parse_pci(text: str) -> str:
    """``00000000:01:00.0`` (NVIDIA's long domain) to ``0000:01:00.0``, "" for anything else."""
    found = _PCI.match(text.strip().lower())
    return found[1] if found else ""


def shorten(name: str) -> str:
    """A card's name for people: ``NVIDIA GeForce RTX 4060 Laptop GPU`` -> ``RTX 4060 Laptop``."""
    name = re.sub(r"\((?:R|TM|C)\)", "", name, flags=re.IGNORECASE)
    name = re.sub(r"\([^()]*\)", " ", name)  # Vulkan adds the driver: (RADV NAVI31)
    name = re.sub(r"\b(?:NVIDIA|GeForce|AMD|Intel|GPU)\b", " ", name)
    name = re.sub(r"\bRadeon\b(?= (?:RX|PRO)\b)", " ", name)
    return " ".join(name.split())


def _nvml_card(entry: Answers, driver: str) -> Card:
    processes = entry.parts("processes")
    return Card(
        pci_id=parse_pci(entry.text("pci")),
        title=shorten(entry.text("name")),
        source=NVML,
        total_bytes=entry.number("total"),
        free_bytes=entry.number("free"),
        driver=driver,
        capability=entry.text("capability"),
        serial=entry.text("uuid"),
        display=entry.is_true("display") or any(item.text("kind") != "C" for item in processes),
        mig=entry.is_true("mig"),
        slices=tuple(_nvml_card(piece, driver) for piece in entry.parts("slices")),
        holders=_order((item.text("name"), item.number("bytes")) for item in processes),
        wddm=entry.text("model") == "WDDM",
        mode=entry.text("mode"),
    )


def _users(table: str, index: str) -> list[tuple[str, str, int]]:
    found = []
    for line in table.splitlines():
        match = _PROCESS.match(line)
        if match and match[1] == index:
            size = parse_number(match[4].removesuffix("MiB")) or 0
            found.append((match[2], program_of(match[3]), size * MIB))
    return found


def _order(holders: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Largest first; a program that computes and draws is listed twice by NVML, and counts once."""
    return tuple(sorted(dict.fromkeys(holders), key=lambda item: -item[1]))


def _broken(nvml: str, smi: str) -> str:
    if nvml and not nvml.startswith(NO_NVML):
        return nvml
    said = (line.strip() for line in smi.splitlines() if any(words in line for words in _BROKEN))
    return next(said, "")


# Which cards llama.cpp is shown. It makes a context on every card that it sees and aborts where
# that fails: on a full one, and on one that another program holds for itself.
CUDA_VISIBLE = "CUDA_VISIBLE_DEVICES"
CONTEXT_BYTES = 600 * MIB  # a CUDA context takes 120 to 550 MiB, by the card
# No GPU for any backend: the processor's part of a build whose GPU part fails.
NO_GPU = {
    CUDA_VISIBLE: "", "HIP_VISIBLE_DEVICES": "-1", "GGML_DISABLE_VULKAN": "1",
    "GGML_METAL_DEVICES": "0",
}  # fmt: skip


def refusal(card: Card) -> str:
    """Why a program cannot open this card now, "" where nothing is known against it."""
    known = next((name for name, _ in card.holders if name), "another program")
    if card.mode == "prohibited":
        return "its compute mode lets no program in"
    if card.mode == "exclusive" and card.holders:
        return f"{known} holds it for itself"
    if card.total_bytes and card.free_bytes < CONTEXT_BYTES and not card.integrated:
        free, total = render_bytes(card.free_bytes), render_bytes(card.total_bytes)
        return f"{free} of {total} are free" + (f", held by {known}" if card.holders else "")
    return ""


def choose_visible(
    cards: Sequence[Card], variables: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """What ``CUDA_VISIBLE_DEVICES`` shows now, entry by entry, and those of them that can be
    opened for all that NVML knows. A card goes by its serial, which no order changes."""
    told = variables.get(CUDA_VISIBLE)
    if told is None:
        shown = [piece for card in cards for piece in (card.slices if card.mig else (card,))]
        every = [card.serial for card in shown if card.serial]
    else:
        every = [entry.strip() for entry in told.split(",") if entry.strip()]
    in_order = variables.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len(cards) == 1
    known = {entry: find_shown(entry, cards, in_order=in_order) for entry in every}
    kept = [entry for entry in every if (card := known[entry]) is None or not refusal(card)]
    return every, kept


def find_shown(entry: str, cards: Sequence[Card], *, in_order: bool = False) -> Card | None:
    """The card or the slice that an entry means: a serial or the beginning of one, or a number,
    which says which one it is only where CUDA counts as the bus does."""
    if re.fullmatch("[0-9]{1,9}", entry):
        by_bus = sorted(cards, key=lambda card: card.pci_id)
        return by_bus[int(entry)] if in_order and int(entry) < len(by_bus) else None
    every = [piece for card in cards for piece in (card, *card.slices)]
    fits = [card for card in every if card.serial.lower().startswith(entry.lower())]
    return fits[0] if entry and len(fits) == 1 else None


def put_variables(variables: Iterable[str]) -> None:
    """Give this process "NAME=VALUE"s, before it loads llama.cpp: its libraries read them."""
    for each in variables:
        name, _, value = each.partition("=")
        os.putenv(name, value)


def parse_variables(answers: Answers) -> dict[str, str]:
    """The variables that llama.cpp can be started with here, where it cannot without them."""
    raw = answers.part("probe").part("variables").raw
    found = {key: raw[key] for key in NO_GPU if isinstance(raw.get(key), str)}
    return found if CUDA_VISIBLE in found else {}


HIDING = {  # the variable that hides devices from a backend
    "cuda": CUDA_VISIBLE,
    "rocm": "HIP_VISIBLE_DEVICES",
    "vulkan": "GGML_VK_VISIBLE_DEVICES",
}


def show_apart(answers: Answers, devices: Sequence[Device]) -> tuple[str, ...]:
    """ "NAME=VALUE" for each GPU that ggml sees, by which a process sees it alone; () where that
    cannot be said. CUDA shows a process one of several slices, which only their names tell apart.
    """
    seen = [device for device in devices if device.usable]
    backends = {device.backend for device in seen}
    name = HIDING.get(next(iter(backends), "")) if len(backends) == 1 else None
    if name is None:
        return ()
    told = parse_variables(answers).get(name) or answers.variable(name)
    entries = [each.strip() for each in told.split(",") if each.strip()]
    if any(device.mig for device in seen):
        return tuple(f"{name}={each}" for each in entries if not each.isdecimal())
    if not entries and "vulkan" in backends:  # it leaves out some, and counts them all
        return ()
    numbers = [each.name[len(each.name.rstrip("0123456789")) :] for each in seen]
    shown = [int(each) for each in numbers if each]
    if entries and max(shown, default=0) >= len(entries):
        return ()
    return tuple(f"{name}={entries[each] if entries else each}" for each in shown)


# What ggml sees and what everything else knows, joined into devices. ggml's devices are what will
# be used, so their names and totals count. Cards join them by PCI id, never by index: CUDA orders
# by speed, nvidia-smi by bus, and CUDA_VISIBLE_DEVICES renumbers. A slice (MIG) has its card's PCI
# id and joins by its own serial. Where a backend gives no PCI id (Metal, older Vulkan drivers), a
# name joins if it is the only one of its kind.
_GPU, _IGPU = 1, 2  # GGML_BACKEND_DEVICE_TYPE_*
BACKENDS = {"cpu": "the processor", "cuda": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan",
            "metal": "Metal", "sycl": "SYCL", "rpc": "RPC", "blas": "BLAS"}  # fmt: skip
_BACKENDS = {"MTL": "metal", "METAL": "metal", "HIP": "rocm"}
_SOFTWARE = re.compile("llvmpipe|SwiftShader|Microsoft Basic Render", re.IGNORECASE)


def backend_of(registry: str) -> str:
    return _BACKENDS.get(registry.upper(), registry.lower())


def join(
    answers: Answers, cards: Sequence[Card], memory: Memory
) -> tuple[tuple[Device, ...], tuple[Card, ...]]:
    """ggml's devices in ggml's order, then as devices without a name those that it cannot compute
    on, and the cards that it does not see; and those cards themselves."""
    left = list(cards)
    devices: list[Device] = []
    ggml = answers.part("probe").part("ggml")
    known = parse_architectures(ggml.text("system_info"))
    oldest = min(known, default=(0, 0))
    for entry in ggml.parts("devices"):
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
    too_old = [each for each in devices if (0, 0) < parse_version(each.capability) < oldest]
    cuda = parse_nvidia(answers).cuda
    codeless = [each for each in devices if not can_compile(each.capability, known, cuda)]
    idle = [_useless(each, oldest) for each in too_old]
    idle += [replace(each, name="", backend="", trouble=NO_CODE) for each in codeless]
    idle += [_unusable(card, answers) for card in left]
    useful = (each for each in devices if each not in (*too_old, *codeless))
    return (*useful, *idle), tuple(left)


# The CUDA that knows an architecture first (its release notes): a build with code for it was made
# with that or a newer one, and so was its PTX, which an older driver does not compile.
_FIRST_CUDA = (((8, 9), (11, 8)), ((9, 0), (11, 8)), ((10, 0), (12, 8)), ((12, 1), (12, 9)))
NO_CODE = "this build has no code for it, and its driver is too old to compile it"


def made_with(known: Sequence[Version]) -> Version:
    """The oldest CUDA that a build with code for these can have been made with."""
    newest = max(known, default=(0, 0))
    return max((cuda for first, cuda in _FIRST_CUDA if newest >= first), default=(0, 0))


# What llama.cpp is built for where nobody says it (ggml-cuda/CMakeLists.txt): of these PTX alone,
# whatever else is in the list; 9.0 is in none of its lists, so that somebody said it.
_ONLY_PTX = frozenset([(5, 0), (6, 1), (7, 0), (7, 5), (8, 0)])
_ITS_OWN = frozenset([(7, 5), (8, 0), (8, 6)])


def has_code(version: Version, known: Sequence[Version]) -> bool:
    """Whether there is machine code for it, and not only PTX, which its driver has to compile."""
    if {*known} >= _ITS_OWN and (9, 0) not in known:
        known = [each for each in known if each not in _ONLY_PTX]
    return any(each[0] == version[0] and each <= version for each in known)


def can_compile(capability: str, known: Sequence[Version], cuda: Version) -> bool:
    """Whether a card runs a build with code for ``known``: by code of its own, or as a driver of
    this CUDA compiles it. Where something of it is not known, it does. One that is too old for the
    build is another matter."""
    version = parse_version(capability)
    if not known or not min(known) <= version or has_code(version, known):
        return True
    return cuda == (0, 0) or cuda >= made_with(known)


def _useless(device: Device, oldest: Version) -> Device:
    """ggml sees it and has no code for it: a kernel would end the program (ggml-cuda's "no kernel
    image", ``ggml_cuda_highest_compiled_arch``)."""
    begins = ".".join(map(str, oldest))
    trouble = f"{TOO_OLD}: capability {device.capability}, and its code begins at {begins}"
    return replace(device, name="", backend="", trouble=trouble)


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
    free, context, reason = _free(answers, entry, card, integrated, memory)
    return Device(
        name=entry.text("name"),
        title=_title(answers, entry, card),
        backend=backend_of(entry.text("backend")),
        integrated=integrated,
        total_bytes=total,
        free_bytes=min(free, total) if total else free,
        pci_id=_pci_id(entry) or (card.pci_id if card else ""),
        driver=card.driver if card else "",
        capability=(card.capability if card else "") or _said_capability(answers, entry),
        mig=_is_slice(entry, card),
        display=_displays(answers, card),
        context_bytes=context,
        reason=reason,
    )


def _said_capability(answers: Answers, entry: Answers) -> str:
    """What ggml's CUDA backend says when it starts, of the device with this number."""
    log = answers.part("probe").part("ggml").text("log")
    name = entry.text("name")
    return next((found[2] for found in _SAID.finditer(log) if name == f"CUDA{found[1]}"), "")


_SAID = re.compile(r"^ *Device (\d{1,3}): .*, compute capability (\d{1,4}\.\d{1,4}),", re.MULTILINE)


# What a context can plausibly take: 120 to 550 MiB by card were seen. Outside, another program came
# or went between the two questions.
_CONTEXT_BYTES = (64 * MIB, GIB)
_OWN_CONTEXT = ("cuda", "rocm")  # asked for memory they make one (cudaSetDevice, hipSetDevice)


def _free(
    answers: Answers, entry: Answers, card: Card | None, integrated: bool, memory: Memory
) -> tuple[int, int | None, str]:
    """Free bytes, what a context takes of them (as ``Device.context_bytes``), and where the number
    comes from. ggml's number is taken inside the probe, whose own context is already in use then;
    NVML's was taken before, so the difference is that context. Under Windows a process gets less
    than what is free, and MIG's parent says nothing about the slice: there ggml's word is the
    tighter one."""
    free, backend = entry.number("free"), backend_of(entry.text("backend"))
    if integrated:
        available = memory.available_bytes
        # CUDA's number is that of /proc/meminfo, or of the huge pages alone where there are some.
        if available is not None and (available < free or backend == "cuda"):
            return available, None, f"its memory is main memory: {memory.reason}"
        return free, None, "its memory is main memory; free as ggml says"
    taken_off = 0 if backend in _OWN_CONTEXT else None
    piece = _slice(answers, card) if _is_slice(entry, card) else card
    if piece is None or not piece.free_bytes:
        own = ", the probe's own share taken off" if taken_off == 0 else ""
        return free, taken_off, f"free as ggml says{own}"
    if free and (piece.wddm or answers.system == "win32" or is_wsl(answers)):
        context = taken_off if free <= piece.free_bytes else None
        return min(free, piece.free_bytes), context, "free as Windows grants it to one program"
    if free and backend == "cuda" and is_limited(entry.number("total"), piece):
        # A slice by software (HAMi, SoftMig) clamps what CUDA says and may leave NVML alone.
        return min(free, piece.free_bytes), taken_off, "free as CUDA says: the smaller number"
    least, most = _CONTEXT_BYTES
    difference = piece.free_bytes - free
    seen = piece.source == NVML and taken_off == 0 and least <= difference <= most
    return piece.free_bytes, difference if seen else None, f"free as {piece.source} says"


_SHARE_OF_CARD = 0.9  # CUDA keeps 1 to 3 % of a card for itself


def is_limited(total_bytes: int, card: Card) -> bool:
    """Whether CUDA sees so much less of the card than NVML that something else limits it."""
    return 0 < total_bytes < _SHARE_OF_CARD * card.total_bytes and not card.mig


def is_wsl(answers: Answers) -> bool:
    """Linux under Windows: the kernel's name says so, or Windows' graphics device is there."""
    return "microsoft" in answers.text("kernel").lower() or answers.has("/dev/dxg")


def _is_slice(entry: Answers, card: Card | None) -> bool:
    return " MIG " in f"{entry.text('description')} " or bool(card and card.mig)


def _slice(answers: Answers, card: Card | None) -> Card | None:
    """The slice that this process may use: the first one that the variable names, or the only
    one."""
    pieces = card.slices if card else ()
    for entry in answers.variable(CUDA_VISIBLE).split(","):
        if (found := find_shown(entry.strip(), (card,) if card else ())) in pieces:
            return found
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


TOO_OLD = "it is too old for this build"


def _unusable(card: Card, answers: Answers) -> Device:
    trouble = ""
    if card.vendor == "nvidia" and CUDA_VISIBLE in parse_variables(answers):
        trouble = refusal(card) or "llama.cpp stops where it opens it"
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
        reason=f"{size} {card.source}; {trouble or UNSEEN}",
        trouble=trouble,
    )


def merge(nvidia: Sequence[Card], listed: Sequence[Card]) -> tuple[Card, ...]:
    """NVIDIA's own tools know more than the list of the system, so their cards replace it."""
    places = {card.pci_id: card for card in listed if card.pci_id}
    drawing = {place for place, card in places.items() if card.display}
    known_ids = {card.pci_id for card in nvidia}
    known = [replace(card, display=card.display or card.pci_id in drawing) for card in nvidia]
    rest = [card for card in listed if not card.pci_id or card.pci_id not in known_ids]
    if nvidia:  # Windows gives no PCI id
        rest = [card for card in rest if card.pci_id or card.vendor != "nvidia"]
    return (*known, *rest)


# Graphics cards as the system lists them: PCI devices in sysfs, adapters in Windows' registry. For
# AMD and Intel this is the memory's source; for NVIDIA it shows a card whose driver does not
# answer. Pure over a recording.
_PCI_DEVICES = "/sys/bus/pci/devices/"
_VENDORS = {"10DE": "nvidia", "1002": "amd", "8086": "intel"}
_NAMES = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel"}
# Who made the memory chips, by whether main memory lends more than there is of them: an old kernel
# does not say, and only a processor's own graphics are lent more than they have.
_NO_CHIPS = {True: ("", "unknown"), False: ("unknown",)}
_CARD = re.compile(r"\b(?:Arc|RX|PRO|VII|Instinct|W\d+)\b")  # in the name of a card of its own
_INTEL_INTEGRATED = "0000:00:02.0"  # the place of what is part of the processor


def parse_graphics(answers: Answers) -> tuple[Card, ...]:
    if answers.system == "win32":
        adapters = map(_adapter, answers.part("windows").parts("adapters"))
        return tuple(card for card in adapters if card.vendor)  # not a virtual screen
    files, suffix = answers.part("files"), "/uevent"
    paths = _paths(files, _PCI_DEVICES, suffix)
    cards = (_parse_pci_device(files, path.removesuffix(suffix)) for path in sorted(paths))
    return tuple(card for card in cards if card)


def _paths(files: Answers, start: str, end: str) -> list[str]:
    names = [path for path in files.raw if isinstance(path, str)]
    return [path for path in names if path.startswith(start) and path.endswith(end)]


def _parse_pci_device(files: Answers, folder: str) -> Card | None:
    pairs = parse_pairs(files.text(f"{folder}/uevent"), "=")
    maker, _, model = pairs.get("PCI_ID", "").upper().partition(":")
    vendor = _VENDORS.get(maker)
    pci_id = parse_pci(pairs.get("PCI_SLOT_NAME", ""))
    if vendor is None or not pci_id:
        return None

    def number(name: str) -> int:
        return parse_number(files.text(f"{folder}/{name}")) or 0

    total, gtt = number("mem_info_vram_total"), number("mem_info_gtt_total")
    target = parse_targets(files).get(pci_id) or (TARGETS.get(model, "") if vendor == "amd" else "")
    # A card names who made its memory chips; a processor's own graphics have none.
    maker_of_memory = files.text(f"{folder}/mem_info_vram_vendor").strip()
    return Card(
        pci_id=pci_id,
        title=f"{_NAMES[vendor]} graphics {maker.lower()}:{model.lower()}",
        source=f"the {pairs.get('DRIVER', '')} driver" if "DRIVER" in pairs else "the PCI bus",
        vendor=vendor,
        total_bytes=total,
        free_bytes=max(0, total - number("mem_info_vram_used")),
        driver=pairs.get("DRIVER", ""),
        display=_draws(files, folder),
        integrated=pci_id == _INTEL_INTEGRATED
        or (vendor == "amd" and maker_of_memory in _NO_CHIPS.get(gtt > total, ())),
        gtt_bytes=gtt,
        target=target,
    )


# AMD's PCI ids of cards, and what ROCm compiles for them (LLVM's AMDGPUUsage, "Processors"; ids as
# in libdrm's amdgpu.ids): for a system whose kernel does not say.
_IDS = {
    "gfx908": "738C 738E", "gfx90a": "7408 740C 740F 7410",
    "gfx942": "74A0 74A1 74A2 74A5 74A9 74B5 74BD",
    "gfx1030": "73A1 73A2 73A3 73A5 73AB 73AE 73AF 73BF", "gfx1031": "73C1 73C3 73DF",
    "gfx1032": "73E0 73E1 73E3 73EF 73FF", "gfx1034": "7421 7422 7423 7424 743F",
    "gfx1100": "7448 7449 744A 744B 744C 745E", "gfx1101": "7460 7461 7470 747E",
    "gfx1102": "7480 7481 7483 7487 7489 748B 7499 749F", "gfx1150": "150E", "gfx1151": "1586",
    "gfx1200": "7590", "gfx1201": "7550 7551",
}  # fmt: skip
TARGETS = {number: target for target, numbers in _IDS.items() for number in numbers.split()}
KFD_NODES = "/sys/class/kfd/kfd/topology/nodes/"


def parse_targets(files: Answers) -> dict[str, str]:
    """What the kernel's compute driver says of each GPU: its place on the bus to "gfx1100"."""
    found = {}
    for path in _paths(files, KFD_NODES, "/properties"):
        pairs = dict(re.findall(r"^(\w+) (\d{1,12})$", files.text(path), re.MULTILINE))
        version, place = int(pairs.get("gfx_target_version", 0)), int(pairs.get("location_id", 0))
        if version:  # the processor is a node too; 90010 is gfx90a: one decimal pair a digit
            target = f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"
            bus, device, function = place >> 8 & 0xFF, place >> 3 & 0x1F, place & 7
            domain = int(pairs.get("domain", 0)) & 0xFFFF
            found[f"{domain:04x}:{bus:02x}:{device:02x}.{function}"] = target
    return found


def _draws(files: Answers, folder: str) -> bool:
    connectors = _paths(files, f"{folder}/drm/", "/enabled")
    return any(files.text(path).strip() == "enabled" for path in connectors)


def _adapter(entry: Answers) -> Card:
    """``MatchingDeviceId`` is ``pci\\ven_10de&dev_28e0...``."""
    _, _, rest = entry.text("id").upper().partition("VEN_")
    vendor = _VENDORS.get(rest[:4], "")
    _, _, model = rest.partition("DEV_")
    total = entry.number("memory")
    return Card(
        pci_id="",
        title=shorten(entry.text("title")),
        source="Windows' registry",
        vendor=vendor,
        total_bytes=total,
        driver=entry.text("driver"),
        display=True,
        integrated=vendor != "nvidia" and not _CARD.search(entry.text("title")),
        wddm=True,
        target=TARGETS.get(model[:4], "") if vendor == "amd" else "",
    )


# CUDA's libraries: does llama.cpp's CUDA backend load, what is missing, and where it lies. The
# published CUDA wheels leave libcudart and libcublas to the machine. NVIDIA publishes them as
# `nvidia-*` packages, in folders that no loader searches. Only the loader knows the truth, so the
# backend is really loaded; what the loader misses is looked for in the environment's packages and
# loaded first, deepest dependency first. glibc then finds it by its name (SONAME), and llama.cpp
# loads. Standard library only: the probe's child process runs this too.
_BACKEND_FILES = ("libggml-cuda.so", "ggml-cuda.dll", "libggml-cuda.dll")
_TRIES = 16  # libcudart, libcublas, libcublasLt, and what they may need one day
# As glibc ("NAME: cannot open shared object file") and musl ("NAME: No such file") word it.
_MISSING = re.compile(r"(?<!\S)(\S+): (?:cannot open shared object file|No such file)")
_DLL = re.compile(rb"(?:cudart|cublas|cublasLt)64_\d+\.dll")
_VERSIONED = re.compile(r"(?:lib)?(cudart|cublasLt|cublas)(?:\.so\.|64_)(\d+)")
_PACKAGE = {"cudart": "nvidia-cuda-runtime", "cublas": "nvidia-cublas", "cublasLt": "nvidia-cublas"}
DRIVER_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")  # come with the driver, in no package


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaLibraries:
    """What loading the CUDA backend showed. ``present``: this llama.cpp has one at all. ``loaded``
    lie in packages of the environment and had to be loaded first, in that order; ``missing`` are
    names that are nowhere; ``error`` is the loader's last word, "" when it loads."""

    present: bool
    loaded: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()
    error: str = ""

    @property
    def fix(self) -> str:
        """The command that brings what is missing, "" where nothing is or no package has it."""
        packages = dict.fromkeys(filter(None, map(package_of, self.missing)))
        return f"pip install {' '.join(packages)}" if packages else ""


def cuda_libraries(
    folder: Path | None = None, roots: Sequence[Path] = (), more: Sequence[Path] = ()
) -> CudaLibraries:
    """Load ggml and its CUDA backend in ``folder`` (llama_cpp's own where None) into this process,
    each once. ``roots`` are site-packages folders to look in for ``nvidia/*/lib`` (``sys.path``
    where empty), ``more`` are folders that Windows shall search too (the toolkit's). Loading is for
    good: ask in a child process, or just before llama_cpp is imported."""
    folder = folder or find_llama_folder()
    _load_once(folder, "ggml-base")
    found = _cuda_libraries(folder, roots, more)
    _load_once(folder, "ggml")
    return found


def _load_once(folder: Path | None, name: str) -> None:
    """Load one of ggml's libraries by the name that llama-cpp-python and we ask for, before another
    library needs it by its SONAME. A wheel holds no links: ``libggml-base.so`` and
    ``libggml-base.so.0`` are two files, and whichever comes second would be a second ggml, with a
    log, a list of devices and buffer types of its own. The loader knows the first one's SONAME."""
    if path := library_path(folder, name):
        _try(path)


def library_path(folder: Path | None, name: str) -> Path | None:
    names = (f"lib{name}.so", f"lib{name}.dylib", f"{name}.dll", f"lib{name}.dll")
    paths = [folder / each for each in names] if folder else []
    return next(filter(Path.exists, paths), None)


def _cuda_libraries(
    folder: Path | None, roots: Sequence[Path], more: Sequence[Path]
) -> CudaLibraries:
    backend = find_backend(folder)
    if folder is None or backend is None:
        return CudaLibraries(present=False)
    packages = list(_package_folders(roots or [Path(entry) for entry in sys.path if entry]))
    if sys.platform == "win32":
        return _load_windows(backend, [folder, *more], packages)
    return _load(backend, packages)


def find_llama_folder() -> Path | None:
    """``llama_cpp/lib`` of this environment, found without importing llama_cpp (0.5 s)."""
    folders = getattr(sys.modules.get("llama_cpp"), "__path__", ())  # a hollow one has no spec
    try:
        found = None if folders else importlib.util.find_spec("llama_cpp")
    except (ImportError, ValueError):  # a broken package on the path
        return None
    for location in folders or (found and found.submodule_search_locations) or ():
        return Path(location) / "lib"
    return None


def find_backend(folder: Path | None) -> Path | None:
    paths = [folder / name for name in _BACKEND_FILES] if folder else []
    return next(filter(Path.exists, paths), None)


def package_of(library: str) -> str:
    """The package that brings a library: ``libcublas.so.12`` -> ``nvidia-cublas-cu12``, "" if none.
    From CUDA 13 on the packages carry no version in their names."""
    found = _VERSIONED.match(library)
    if not found:
        return ""
    name, major = _PACKAGE[found[1]], int(found[2][:2])
    return f"{name}-cu{major}" if major < 13 else f'"{name}=={major}.*"'  # noqa: PLR2004


def _load(backend: Path, packages: Sequence[Path]) -> CudaLibraries:
    """Load, and whenever the loader misses a library, load that first. Its own needs come before
    it, so the list is in the order of dependence."""
    loaded, missing, wanted, error = list[Path](), list[str](), [backend], ""
    for _ in range(_TRIES):
        last = wanted[-1]
        error = _try(last, ctypes.DEFAULT_MODE if last == backend else ctypes.RTLD_GLOBAL)
        if not error:
            done = wanted.pop()
            if not wanted:
                break
            loaded.append(done)
            continue
        named = _MISSING.search(error)
        name = Path(named[1]).name if named else ""
        found = next((f / name for f in packages if name and (f / name).exists()), None)
        if found is None or found in wanted:
            missing += [name] if name else []
            break
        wanted.append(found)
    missing += [name for name in _rest(missing, packages) if name not in missing]
    return CudaLibraries(present=True, loaded=tuple(loaded), missing=tuple(missing), error=error)


def _rest(missing: Sequence[str], packages: Sequence[Path]) -> list[str]:
    """The loader stops at the first name that it misses; where cudart is gone, cublas usually is
    too, and a person should install once."""
    found = _VERSIONED.match(missing[-1]) if missing else None
    if not found or not missing[-1].startswith("lib"):
        return []
    names = [f"lib{name}.so.{found[2]}" for name in _PACKAGE]
    names = [name.replace("cudart.so.11", "cudart.so.11.0") for name in names]  # CUDA 11's own
    return [n for n in names if not any((f / n).exists() for f in packages) and _try(Path(n))]


def _load_windows(
    backend: Path, folders: Sequence[Path], packages: Sequence[Path]
) -> CudaLibraries:
    """Windows does not say which library is missing, so the names are read from the backend."""
    add_folders([*folders, *packages])
    loaded, missing = [], []
    for name in needed_dlls(backend):
        found = next((f / name for f in packages if (f / name).exists()), None)
        if _try(found or Path(name)):
            missing.append(name)
        elif found:
            loaded.append(found)
    error = _try(backend)
    gone = tuple(missing) if error else ()
    return CudaLibraries(present=True, loaded=tuple(loaded), missing=gone, error=error)


def add_folders(folders: Iterable[Path]) -> None:
    """Let Windows' loader search here; other systems need it not."""
    if sys.platform == "win32":
        for folder in folders:
            if folder.is_dir():
                os.add_dll_directory(str(folder))


def needed_dlls(backend: Path) -> list[str]:
    with backend.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return sorted({match.decode("ascii") for match in _DLL.findall(data)}, reverse=True)


def _try(library: Path, mode: int = ctypes.RTLD_GLOBAL) -> str:
    try:
        ctypes.CDLL(str(library), mode=mode)
    except OSError as error:
        return str(error)
    return ""


def _package_folders(roots: Iterable[Path]) -> Iterable[Path]:
    """Where NVIDIA's packages put libraries: ``nvidia/cublas/lib``, ``nvidia/cu13/lib``, and on
    Windows ``bin``, from CUDA 13 on with one more folder below it."""
    for root in roots:
        for pattern in ("nvidia/*/lib", "nvidia/*/bin", "nvidia/*/bin/*"):
            yield from (path for path in sorted(root.glob(pattern)) if path.is_dir())


# ggml's word for an instruction set (ggml-cpu.cpp, get_features) -> /proc/cpuinfo's.
INSTRUCTIONS = {
    "SSE3": "pni", "SSSE3": "ssse3", "AVX": "avx", "AVX_VNNI": "avx_vnni", "AVX2": "avx2",
    "F16C": "f16c", "FMA": "fma", "BMI2": "bmi2", "AVX512": "avx512f",
    "AVX512_VBMI": "avx512vbmi", "AVX512_VNNI": "avx512_vnni", "AVX512_BF16": "avx512_bf16",
    "AMX_INT8": "amx_int8", "NEON": "asimd", "FP16_VA": "asimdhp", "MATMUL_INT8": "i8mm",
    "DOTPROD": "asimddp", "SVE": "sve", "SME": "sme",
}  # fmt: skip
# Without these the processor's part is several times slower: 10 tok/s against 45
# (JamePeng/llama-cpp-python, issue 123).
_WANTED = ("AVX", "AVX2", "FMA", "DOTPROD")


def parse_build(answers: Answers) -> Build:
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
    found = re.findall(r"\b(\w+) = 1\b", system_info)
    return tuple(dict.fromkeys(word for word in found if word in INSTRUCTIONS))


def parse_architectures(system_info: str) -> tuple[tuple[int, int], ...]:
    """CUDA capabilities that the build holds code for: ``ARCHS = 500,750,1200`` -> (5, 0), ..."""
    found = re.search(r"ARCHS = ([\d,]{1,200})", system_info)
    numbers = [int(word) // 10 for word in found[1].split(",") if word] if found else []
    return tuple((number // 10, number % 10) for number in numbers)


def lacking(build: Build, cpu: Cpu, system: str) -> tuple[str, ...]:
    """Instructions that the build uses and the processor does not have: a crash (SIGILL).
    Linux lists all of them; macOS and Windows answer for a few, and say nothing of the others."""
    known = {"darwin": MACOS_FEATURES, "win32": WINDOWS_FEATURES}.get(system)
    covered = INSTRUCTIONS.values() if known is None else known.values()
    if not cpu.instructions:
        return ()
    needed = ((word, INSTRUCTIONS[word]) for word in build.instructions)
    return tuple(word for word, own in needed if own in covered and own not in cpu.instructions)


def unused(build: Build, cpu: Cpu) -> tuple[str, ...]:
    """Instructions that matter, that the processor has and the build does not use."""
    words = set(_WANTED).difference(build.instructions) if build.instructions else ()
    return tuple(w for w in _WANTED if w in words and INSTRUCTIONS[w] in cpu.instructions)


def _error(probe: Answers) -> str:
    if probe.part("llama").raw.get("found") is False:
        return "llama-cpp-python is not installed"
    if "ggml" in probe.raw or not probe.raw:
        return probe.part("ggml").text("error")
    status = probe.raw.get("status")
    if status is None:
        return LATE
    reasons = [each.text("reason") for each in probe.parts("failures")]
    if status == 1 and reasons:  # of ours, or of a library in Python
        return f"{ASKING} ({reasons[0]})"
    known = _ENDS.get(status, f"exit status {status}") if isinstance(status, int) else "unknown"
    return f"its libraries crashed ({known})"


LATE = "its libraries did not answer in time"
ASKING = "asking its libraries failed"
BY_CHANCE = (LATE, ASKING, "its libraries crashed (killed)")  # loading may do all the same
_ENDS = {  # the large one is Windows' STATUS_ILLEGAL_INSTRUCTION
    -4: "illegal instruction", -6: "abort", -7: "bus error", -9: "killed",
    -11: "segmentation fault", 0xC000001D: "illegal instruction",
}  # fmt: skip

# The command that installs the build of llama-cpp-python that fits. A checkout has a script that
# chooses and proves; elsewhere it is pip with llama-cpp-python's own wheel index (its README,
# "Installation"). A plain `pip install` builds for the processor alone and does not say so.
# `--only-binary` because pip would otherwise prefer a newer source distribution to a wheel that
# fits. A build from source names what this processor has: left to itself it turns on
# AMX, which a kernel may refuse (docs/architecture.md, "The processor's build").
INDEX = "https://abetlen.github.io/llama-cpp-python/whl"
# CUDA toolkits that the wheel index builds for, newest first (build-wheels-cuda.yaml). The same
# table stands in scripts/install/accelerator.py, which must run before anything is installed.
CUDA_LINUX: tuple[Version, ...] = (
    (13, 2), (13, 0), (12, 5), (12, 4), (12, 3), (12, 2), (12, 1), (11, 8),
)  # fmt: skip
CUDA_WINDOWS: tuple[Version, ...] = ((13, 2), (13, 0), (12, 5), (12, 4), (11, 8))
_CUDA_CAPABILITY = (6, 0)  # the least that the wheels hold code for
_CUDA_13_CAPABILITY = (7, 5)  # CUDA 13 no longer compiles for what came before Turing
# What the ROCm wheel of Linux and the HIP wheel of Windows are compiled for
# (build-wheels-rocm.yaml), and the ROCm that the first one is linked against.
ROCM_LINUX = (
    "gfx908", "gfx90a", "gfx942", "gfx1030", "gfx1100", "gfx1101", "gfx1102", "gfx1150", "gfx1151",
    "gfx1200", "gfx1201",
)  # fmt: skip
ROCM_WINDOWS = (
    "gfx1150", "gfx1151", "gfx1200", "gfx1201", "gfx1100", "gfx1101", "gfx1102", "gfx1030",
    "gfx1031", "gfx1032",
)  # fmt: skip
ROCM_MAJOR = 7
ROCM_VERSION_FILE = "/opt/rocm/.info/version"
_FLAGS = {"cuda": "GGML_CUDA", "metal": "GGML_METAL", "rocm": "GGML_HIP", "vulkan": "GGML_VULKAN"}
_X86 = ("AVX", "AVX2", "FMA", "F16C", "BMI2", "AVX512", "AVX512_VBMI", "AVX512_VNNI",
        "AVX512_BF16")  # fmt: skip
# GGML_AVX512 compiles with all of these (ggml/src/ggml-cpu/CMakeLists.txt).
_AVX512_PARTS = {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"}
_PIP = "pip install --force-reinstall --no-cache-dir"


def install_command(
    answers: Answers, backend: str, nvidia: Nvidia, cpu: Cpu, *, source: bool = False
) -> str:
    """For one backend (cuda, metal, rocm, vulkan, cpu) on the recorded machine; from ``source``
    where no published wheel will do."""
    if answers.is_true("checkout"):
        return f"python3 scripts/setup.py --backend {backend}"
    if (tag := _tag(answers, backend, nvidia)) and not source:
        wheel = f"--only-binary llama-cpp-python --extra-index-url {INDEX}/{tag}"
        return f"{_PIP} llama-cpp-python {wheel}"
    flags = [f"-D{_FLAGS[backend]}=ON"] if backend in _FLAGS else []
    flags += processor_flags(cpu) or (_cautious_flags(answers, cpu) if source else [])
    arguments = f' -C "cmake.args={";".join(flags)}"' if flags else ""
    return f"{_PIP} --no-binary llama-cpp-python llama-cpp-python{arguments}"


def processor_flags(cpu: Cpu) -> list[str]:
    """CMake flags for an x86 processor, ON or OFF each: with NATIVE off some default to ON."""
    has = set(cpu.instructions)
    if "avx" not in has:
        return []
    if "avx2" in has:  # no processor has it without these, which Windows does not list
        has |= {"fma", "f16c", "bmi2"}
    wide = has >= _AVX512_PARTS
    on = [w for w in _X86 if INSTRUCTIONS[w] in has and (wide or not w.startswith("AVX512"))]
    return ["-DGGML_NATIVE=OFF", *(f"-DGGML_{w}={'ON' if w in on else 'OFF'}" for w in _X86)]


def _cautious_flags(answers: Answers, cpu: Cpu) -> list[str]:
    """For a processor that no flags are known for: nothing that it may not have."""
    on_x86 = answers.text("machine").lower() in ("x86_64", "amd64")
    if answers.system == "darwin":
        return []  # every Apple chip has what llama.cpp's native build asks for
    known = on_x86 and bool(cpu.instructions)
    return ["-DGGML_NATIVE=OFF", *(f"-DGGML_{w}=OFF" for w in _X86 if known)]


def cuda_tag(nvidia: Nvidia, system: str) -> str:
    """The newest published CUDA that driver and cards can run ("cu124"), "" if there is none. Cards
    that no wheel serves count only where there is no other."""
    known = CUDA_WINDOWS if system == "win32" else CUDA_LINUX
    versions = [card.version for card in nvidia.cards if card.version > (0, 0)]
    served = [version for version in versions if version >= _CUDA_CAPABILITY]
    if versions and not served:
        return ""
    old = bool(served) and min(served) < _CUDA_13_CAPABILITY
    fits = [v for v in known if v <= nvidia.cuda and not (old and v >= (13, 0))]
    return "cu{}{}".format(*fits[0]) if fits else ""


def _tag(answers: Answers, backend: str, nvidia: Nvidia) -> str:
    on_x86 = answers.text("machine").lower() in ("x86_64", "amd64")
    if backend == "metal":
        return "metal"
    if backend == "cuda" and on_x86:
        return cuda_tag(nvidia, answers.system)
    if backend == "vulkan" and on_x86 and answers.system in ("linux", "win32"):
        return "vulkan"
    if backend == "rocm" and on_x86:
        return rocm_tag(answers)
    return ""


def rocm_tag(answers: Answers) -> str:
    """The published build for AMD's compute stack that holds code for a card of this machine. Linux
    has to bring the ROCm that it is linked against; Windows' brings its own."""
    tag, held = {"linux": ("rocm72", ROCM_LINUX), "win32": ("hip-radeon", ROCM_WINDOWS)}.get(
        answers.system, ("", ())
    )
    major = parse_number(answers.file(ROCM_VERSION_FILE).partition(".")[0]) or ROCM_MAJOR
    if answers.system == "linux" and major != ROCM_MAJOR:
        return ""
    return tag if any(card.target in held for card in parse_graphics(answers)) else ""
