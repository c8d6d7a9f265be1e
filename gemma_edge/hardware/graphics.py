"""Graphics cards as the system lists them: PCI devices in sysfs, adapters in Windows' registry.

For AMD and Intel this is the memory's source; for NVIDIA it shows a card whose driver does not
answer. Pure over a recording.
"""

import re
from collections.abc import Iterable

from gemma_edge.hardware.nvidia import Card, parse_pci, shorten
from gemma_edge.hardware.text import Answers, parse_number, parse_pairs

_PCI_DEVICES = "/sys/bus/pci/devices/"
_VENDORS = {"10DE": "nvidia", "1002": "amd", "8086": "intel"}
_NAMES = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel"}
# Who made the memory chips, by whether main memory lends more than there is of them: an old kernel
# does not say, and only a processor's own graphics are lent more than they have.
_NO_CHIPS = {True: ("", "unknown"), False: ("unknown",)}
_CARD = re.compile(r"\b(?:Arc|RX|PRO|VII|Instinct|W\d+)\b")  # in the name of a card of its own
_INTEL_INTEGRATED = "0000:00:02.0"  # the place of what is part of the processor


def parse_graphics(answers: Answers) -> tuple[Card, ...]:
    """Every display controller of a known maker."""
    if answers.system == "win32":
        adapters = map(_adapter, answers.part("windows").parts("adapters"))
        return tuple(card for card in adapters if card.vendor)  # not a virtual screen
    files = answers.part("files")
    suffix = "/uevent"
    cards = (
        _parse_pci_device(files, path.removesuffix(suffix))
        for path in sorted(path for path in files.raw if isinstance(path, str))
        if path.startswith(_PCI_DEVICES) and path.endswith(suffix)
    )
    return tuple(card for card in cards if card)


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
    )


def _draws(files: Answers, folder: str) -> bool:
    """Whether a screen at this card is switched on."""
    connectors: Iterable[str] = (
        path
        for path in files.raw
        if isinstance(path, str) and path.startswith(f"{folder}/drm/") and path.endswith("/enabled")
    )
    return any(files.text(path).strip() == "enabled" for path in connectors)


def _adapter(entry: Answers) -> Card:
    """``MatchingDeviceId`` is ``pci\\ven_10de&dev_28e0...``."""
    _, _, rest = entry.text("id").upper().partition("VEN_")
    vendor = _VENDORS.get(rest[:4], "")
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
    )
