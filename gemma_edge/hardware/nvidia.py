"""NVIDIA's cards as NVML and nvidia-smi describe them. Pure over a recording.

Both know cards that llama.cpp may not see, who uses their memory, and the driver. NVML counts
more, so its word comes first; nvidia-smi is asked because it is there when nvidia-ml-py is not.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gemma_edge.hardware.text import Answers, parse_number, program_of
from gemma_edge.units import MIB


SMI = "nvidia-smi"


SMI_FIELDS = (
    "index", "uuid", "pci.bus_id", "name", "memory.total", "memory.free", "compute_cap",
    "driver_version", "display_active", "mig.mode.current",
)  # fmt: skip


SMI_QUERY = f"nvidia-smi --query-gpu={','.join(SMI_FIELDS)} --format=csv,noheader,nounits"



Version = tuple[int, int]

NVML = "NVML"
ANSWERING = (NVML, SMI)  # sources of a card whose driver answers

_PCI = re.compile(r"(?:0000)?([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])")
# | GPU   GI   CI        PID   Type   Process name                  GPU Memory |
_PROCESS = re.compile(r"\|\s+(\d+)\s+(?:\S+\s+\S+\s+)?\d+\s+(C\+G|C|G)\s+(.+?)\s+(N/A|\d+MiB)\s+\|")
# The probe's word, and nvidia-ml-py's on Windows, for a machine without NVIDIA's library.
_NO_NVML = ("not there", "NVML Shared Library Not Found")
# What nvidia-smi and NVML say when the driver does not answer.
_BROKEN = (
    "NVIDIA-SMI has failed", "Failed to initialize NVML", "couldn't communicate",
    "No devices were found", "Unable to determine the device handle",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card as something other than ggml knows it. ``source`` says who; sizes are 0 where they
    are not told. ``holders`` are (program, bytes), the largest first. ``wddm``: Windows shares its
    memory out. ``mig``: it is cut into ``slices`` (cards themselves, with serials)."""

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

    @property
    def version(self) -> Version:
        """The capability as numbers, (0, 0) where it is not told."""
        found = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", self.capability, re.ASCII)
        return (int(found[1]), int(found[2])) if found else (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvidia:
    """NVIDIA's side of a machine. ``cuda`` is the newest that the driver runs, (0, 0) unknown;
    ``broken`` is what the driver's tools say when it does not answer, "" when it does or when
    there is none."""

    cards: tuple[Card, ...] = ()
    driver: str = ""
    cuda: Version = (0, 0)
    broken: str = ""


def parse_nvidia(answers: Answers) -> Nvidia:
    """Cards, driver and CUDA version, from whichever tool answered."""
    nvml = answers.part("probe").part("nvml")
    table = answers.command(SMI)
    text = table.text("output")
    driver, cuda = parse_smi_table(text)
    smi = parse_smi_query(answers.command(SMI_QUERY).text("output"), text)
    cards = tuple(_nvml_card(entry, nvml.text("driver")) for entry in nvml.parts("devices")) or smi
    number = nvml.number("cuda")
    return Nvidia(
        cards=cards,
        driver=nvml.text("driver") or driver or next((card.driver for card in smi), ""),
        cuda=(number // 1000, number % 1000 // 10) if number else cuda,
        broken="" if cards else _broken(nvml.text("error"), text),
    )


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
        cards.append(
            Card(
                pci_id=parse_pci(pci),
                title=shorten(name),
                source=SMI,
                total_bytes=(parse_number(total) or 0) * MIB,
                free_bytes=(parse_number(free) or 0) * MIB,
                driver=driver,
                capability=capability if re.fullmatch(r"\d+\.\d+", capability) else "",
                serial=serial,
                display=display == "Enabled"
                or any(kind != "C" for kind, _, _ in _users(table, index)),
                mig=mig == "Enabled",
                holders=_order((name, size) for _, name, size in _users(table, index)),
                wddm=wddm,
            )
        )
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
        display=entry.says("display") or any(item.text("kind") != "C" for item in processes),
        mig=entry.says("mig"),
        slices=tuple(_nvml_card(piece, driver) for piece in entry.parts("slices")),
        holders=_order((item.text("name"), item.number("bytes")) for item in processes),
        wddm=entry.text("model") == "WDDM",
    )


def _users(table: str, index: str) -> list[tuple[str, str, int]]:
    """(kind, program, bytes) of the processes on one card of the table."""
    found = []
    for line in table.splitlines():
        match = _PROCESS.match(line)
        if match and match[1] == index:
            name = program_of(match[3])
            size = parse_number(match[4].removesuffix("MiB")) or 0
            found.append((match[2], name, size * MIB))
    return found


def _order(holders: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Largest first; a program that computes and draws is listed twice by NVML, and counts once."""
    return tuple(sorted(dict.fromkeys(holders), key=lambda item: -item[1]))


def _broken(nvml: str, smi: str) -> str:
    if nvml and not nvml.startswith(_NO_NVML):
        return nvml
    for line in smi.splitlines():
        if any(words in line for words in _BROKEN):
            return line.strip()
    return ""
