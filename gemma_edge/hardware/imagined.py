"""A machine that somebody thinks up: ``--vram 8GiB --ram 16GiB --device "RTX 4060"``.

Everything that is not named stays as it is on this machine. Apple's chips share one memory, of
which Metal gives two thirds to the GPU, and three quarters above 36 GiB
(recommendedMaxWorkingSetSize: 10.7 GiB of 16, 48 of 64).
"""

import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

from gemma_edge.errors import UsageError
from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.hardware.memory import Memory
from gemma_edge.hardware.nvidia import shorten
from gemma_edge.units import GIB, MIB, render_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SIZE = re.compile(r"\b(\d{1,4})\s*(?:gb|gib)\b", re.IGNORECASE)
_APPLE = re.compile(r"(?:apple )?(m\d(?: pro| max| ultra)?)")
_LITTLE_APPLE_BYTES = 36 * GIB
_KINDS = {"rtx", "gtx", "rx", "arc", "laptop", "ti", "super", "xt", "ada"}
_BACKENDS = (("metal", r"apple|m\d"), ("vulkan", r"rx|radeon|arc|instinct"))


def pretend(
    vram_bytes: int | None, ram_bytes: int | None, device_title: str | None, base: Hardware
) -> Hardware:
    """``base`` with another GPU or another amount of memory. ``vram_bytes`` 0 is no GPU at all.
    A title with a size in it ("M2 16 GB", "RTX 3060 8GB") is as good as the numbers.

    Raises:
        UsageError: the title is of no known card and no memory is given.
    """
    title = (device_title or "").strip()
    chip = _APPLE.fullmatch(_plain(title))
    size = _SIZE.search(title)
    if chip and size and ram_bytes is None:
        ram_bytes = int(size[1]) * GIB
    memory = base.memory
    if ram_bytes is not None:
        memory = Memory(ram_bytes, f"{render_bytes(ram_bytes)}, as asked", ram_bytes)
    hardware = replace(base, memory=memory, findings=())
    if vram_bytes is None and not title:
        return hardware
    if vram_bytes == 0:
        return replace(hardware, devices=())
    if vram_bytes is None:
        vram_bytes = _apple_share(memory) if chip else _find_memory(title)
    device = _device(title, vram_bytes, base)
    cpu = replace(base.cpu, name=device.title) if device.backend == "metal" else base.cpu
    system = "darwin" if device.backend == "metal" else base.system
    if system == "darwin" and device.backend != "metal":
        system = "linux"
    build = replace(base.build, backends=("cpu", device.backend), error="")
    return replace(hardware, system=system, cpu=cpu, build=build, devices=(device,))


def _device(title: str, total_bytes: int, base: Hardware) -> Device:
    reason = f"{render_bytes(total_bytes)}, as asked"
    own = next((device for device in base.devices if device.usable), None)
    if own and not title:  # this machine's GPU, with other memory
        return replace(own, total_bytes=total_bytes, free_bytes=total_bytes, reason=reason)
    plain = _plain(title)
    default = "metal" if base.system == "darwin" and not title else "cuda"
    backend = next((b for b, words in _BACKENDS if re.match(words, plain)), default)
    mig = "MIG " in title
    shown = (shorten(title) if mig else _SIZE.sub("", shorten(title)).strip()) or "GPU"
    if backend == "metal" and not shown.lower().startswith("apple"):
        shown = f"Apple {shown}"
    names = {"cuda": "CUDA0", "metal": "MTL0", "vulkan": "Vulkan0"}
    return Device(
        name=names[backend],
        title=shown,
        backend=backend,
        integrated=backend == "metal" or plain == "gb10",
        total_bytes=total_bytes,
        free_bytes=total_bytes,
        mig=mig,
        reason=reason,
    )


def _find_memory(title: str) -> int:
    """The memory of a known card in bytes: all words of its name are in the title, and the title
    has none that would make it another card ("RTX 4060 Ti" is no "RTX 4060")."""
    if size := _SIZE.search(title):
        return int(size[1]) * GIB
    words = set(_plain(title).split())
    fits = [
        name
        for name in _cards()
        if set(name.split()) <= words and not (words - set(name.split())) & _KINDS
    ]
    if fits:
        return _cards()[max(fits, key=len)] * MIB
    near = [name for name in _cards() if words & (set(name.split()) - _KINDS)]
    raise UsageError(
        f"no card `{title}` is known, and its memory is not given",
        hint=f"--vram 8GiB{', or one of: ' if near else ''}{', '.join(near[:5])}",
    )


def _apple_share(memory: Memory) -> int:
    total = memory.total_bytes or 0
    return total * 2 // 3 if total <= _LITTLE_APPLE_BYTES else total * 3 // 4


def _plain(title: str) -> str:
    """``NVIDIA GeForce RTX 4060 Laptop GPU 8GB`` -> ``rtx 4060 laptop``."""
    return " ".join(re.split(r"[\s_/-]+", _SIZE.sub(" ", shorten(title)).lower().strip()))


@cache
def _cards() -> dict[str, int]:
    text = Path(__file__).with_name("cards.toml").read_text(encoding="utf-8")
    return {name: int(size) for name, size in tomllib.loads(text)["mib"].items()}
