"""A machine that somebody thinks up: ``--vram 8GiB --ram 16GiB --device "RTX 4060"``.

What people call their machines is read here: as nvidia-smi, rocm-smi, Vulkan, Windows and macOS
print it, as shops do, and as it is typed. Words that say nothing of a card are left out, what is
left has to be a name of ``cards.toml``, whatever the order of its words; anything else is refused
with the nearest ones, never planned as another card. What is not named stays as it is on this
machine. Pure.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from gemma_edge.errors import UsageError
from gemma_edge.hardware.machine import Cpu, Device, Hardware, Memory
from gemma_edge.records import dataclass
from gemma_edge.trust import parse_toml, printable
from gemma_edge.units import GIB, MIB, render_bytes

Note = Callable[[str], None]
_MOST_TEXT = 2000  # characters; eight lines of `nvidia-smi -L` are half of that
_MOST_SHOWN = 100
_MOST_CARDS = 16  # ggml's GGML_CUDA_MAX_DEVICES
_VENDORS = {
    "nvidia": "nvidia", "geforce": "nvidia", "tesla": "nvidia", "amd": "amd", "radeon": "amd",
    "intel": "intel",
}  # fmt: skip
# Words that tell no card from another: makers of boards, kinds of memory, editions.
_SILENT = {
    *_VENDORS, "accelerator", "amp", "aorus", "asrock", "asus", "black", "board", "card",
    "colorful", "corp", "corporation", "desktop", "discrete", "dual", "eagle", "edition", "evga",
    "fe", "founders", "gainward", "galax", "gaming", "generation", "gigabyte", "gpu", "gpus",
    "graphics", "inc", "inno", "kfa", "lhr", "manli", "memory", "model", "msi", "oam", "oc",
    "overclocked", "palit", "pny", "powercolor", "ram", "rog", "sapphire", "series", "server",
    "strix", "tuf", "unified", "ventus", "video", "vram", "white", "windforce", "with",
    "workstation", "xfx", "zotac",
}  # fmt: skip
_OF_CARDS = {"rtx", "gtx", "rx", "arc", "instinct"}  # left out where the rest says it
_FUSED = {
    "tisuper": ("ti", "super"), "tilaptop": ("ti", "laptop"), "mobile": ("laptop",),
    "notebook": ("laptop",), "geforcertx": ("rtx",), "geforcegtx": ("gtx",),
    "radeonrx": ("rx",), "quadrortx": ("quadro", "rtx"), "rtxa": ("rtx", "a"),
    "rtxpro": ("rtx", "pro"), "arca": ("arc", "a"), "arcb": ("arc", "b"),
}  # fmt: skip
_SPELLED = {"ti": "Ti", "super": "SUPER", "laptop": "Laptop", "ada": "Ada", "arc": "Arc",
            "instinct": "Instinct", "quadro": "Quadro", "apple": "Apple", "pro": "Pro",
            "max": "Max", "ultra": "Ultra", "jetson": "Jetson", "orin": "Orin", "nano": "Nano",
            "xavier": "Xavier", "thor": "Thor", "radeon": "Radeon", "steam": "Steam",
            "deck": "Deck", "raspberry": "Raspberry", "pi": "Pi",
            "blackwell": "Blackwell"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One card or slice that a title names. ``total_bytes`` is 0 where nobody knows it,
    ``most_bytes`` what it can have at most; ``choices`` are other amounts that it is sold with."""

    title: str
    backend: str
    total_bytes: int = 0
    most_bytes: int = 0
    mig: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """An amount in a title: ``kind`` is "video", "main", "" where the title does not say."""

    bytes: int
    kind: str
    text: str


def pretend(
    vram_bytes: int | None, ram_bytes: int | None, device_title: str | None, base: Hardware,
    note: Note = lambda _line: None,
) -> Hardware:  # fmt: skip
    """``base`` with other GPUs or another amount of memory. ``vram_bytes`` 0 is no GPU at all. A
    title with a size in it ("M2 16 GB", "RTX 3060 8GB") is as good as the numbers; ``note`` takes a
    line about what had to be chosen.
    Raises UsageError: the title is of no known machine and no memory is given, or two amounts of
    one memory are."""
    if not device_title or not device_title.strip():
        return _with_amounts(vram_bytes, ram_bytes, base)
    text, title = _clean(device_title), _shown(device_title)
    name, sizes = _take_sizes(text)
    ram_bytes = _main_memory(sizes, ram_bytes, title)
    video = next((each for each in sizes if each.kind == "video"), None)
    if computer := _read_computer(name, title):
        if video and vram_bytes not in (None, video.bytes):
            raise _twice("the GPU's memory", title, video.bytes, "--vram", vram_bytes or 0)
        vram_bytes = video.bytes if video else vram_bytes
        installed = _installed(computer, [each for each in sizes if each is not video])
        if installed and ram_bytes not in (None, installed):
            raise _twice("main memory", title, installed, "--ram", ram_bytes or 0)
        asked = (vram_bytes, installed if ram_bytes is None else ram_bytes)
        return _as_computer(computer, asked, base, note, shown=installed is not None)
    if vram_bytes == 0:
        raise UsageError(f"`{title}` and --vram 0, which is no GPU", hint="leave out one of them")
    cards = _read_cards(text, title) or [_unknown(title, name, sizes, vram_bytes, note)]
    own = [each for each in sizes if each.kind != "main"]
    cards = [_with_vram(each, vram_bytes, len(cards), own, title) for each in cards]
    cards = _one_slice(cards, note)
    for each in dict.fromkeys(cards):
        if each.choices and vram_bytes is None:
            _tell_choice(each, note)
    return _with_cards(cards, _with_memory(base, ram_bytes))


# Amounts alone.


def _with_amounts(vram_bytes: int | None, ram_bytes: int | None, base: Hardware) -> Hardware:
    """This machine with other amounts: what its GPU shares with the processor is one memory."""
    hardware = _with_memory(base, ram_bytes)
    before, after = base.memory.total_bytes, ram_bytes
    if before and after is not None:
        devices = tuple(
            _resized(each, each.total_bytes * after // before) if each.integrated else each
            for each in hardware.devices
        )
        hardware = replace(hardware, devices=devices)
    if vram_bytes is None:
        return hardware
    if vram_bytes == 0:
        return replace(hardware, devices=())
    own = next((device for device in base.devices if device.usable), None)
    if own is None:
        backend = "metal" if base.system == "darwin" else "cuda"
        card = Named(title="GPU", backend=backend, total_bytes=vram_bytes)
        return _with_cards([card], hardware)
    total = hardware.memory.total_bytes
    if own.integrated and total is not None and vram_bytes > total:
        raise _too_much(own.title, vram_bytes, total)
    return replace(hardware, devices=(_resized(own, vram_bytes),))


def _resized(device: Device, total_bytes: int) -> Device:
    reason = f"{render_bytes(total_bytes)}, as asked"
    return replace(device, total_bytes=total_bytes, free_bytes=total_bytes, reason=reason)


def _with_memory(base: Hardware, ram_bytes: int | None, reason: str = "as asked") -> Hardware:
    memory = base.memory
    if ram_bytes is not None:
        memory = Memory(ram_bytes, f"{render_bytes(ram_bytes)}, {reason}", ram_bytes)
    return replace(base, memory=memory, findings=())


def _too_much(title: str, asked_bytes: int, has_bytes: int) -> UsageError:
    return UsageError(
        f"--vram {render_bytes(asked_bytes)} is more than {title} has, {render_bytes(has_bytes)}",
        hint="leave out --vram; or --vram alone, for a card without a name",
    )


# Reading a title.

_MARKS = re.compile(r"\((?:tm|r|c)\)|[™®©\"'`´’“”″]")
# What tools print before a name; lines of the second kind say nothing about it.
_LABEL = re.compile(
    r"[ \t]*(?:gpu ?\[[0-9]{1,2}\]|card (?:series|model)|chip|chipset model|memory|model name"
    r"|product name|device name|name|graphics card)[ \t]*:"
)
_ASIDE = re.compile(
    r"[ \t]*(?:model (?:identifier|number)|total number of cores|serial number[ a-z()]{0,20}|type"
    r"|bus|vendor|metal support|hardware uuid|card (?:vendor|sku)|subsystem id|device rev)[ \t]*:"
)
_NUMBERED = re.compile(r"\bgpu ?[0-9]{1,2}:|\bdevice[ \t]{0,8}[0-9]{1,2}:")
_BRACKETS = re.compile(r"[(\[]([^()\[\]]{0,200})[)\]]")
_OF_DRIVERS = re.compile(r"uuid|radv|radeonsi|llvm|drm |amdvlk|nvgpu|\bdg[12]\b|\bnavi ?[0-9]")
_SERIAL = re.compile(r"\b(?:gpu|mig)-[0-9a-f-]{8,}")
_BUSES = re.compile(
    r"\bpci[- ]?e(?:xpress)?(?:[ -]?(?:gen)? ?[345](?:\.0)?)?(?: x(?:8|16))?\b(?:/sse2)?"
    r"|\b(?:gddr|hbm)[0-9]?[ex]?\b|\bsxm[0-9]?\b|\b[0-9]{2,4}[- ]?bit\b"
    r"|\b(?:ventus|windforce) [23]x\b|\bmax-?q workstation\b"
)
_MAX_Q = re.compile(r"\bmax-?q(?: design)?\b")
_SIZE = re.compile(
    r"(?<![\w.])([0-9]{1,3}[.,][0-9]{1,2}|[0-9]{1,6})(?:[ -]?([tgm])i?b|([tg]))(?!\w|\.[0-9])"
    r"(?:[ -]{1,2}(?:of )?(vram|video|gddr[0-9]?x?|hbm[0-9]?e?|ram|main|system|lpddr[0-9]x?"
    r"|ddr[0-9]|unified|ssd|nvme|hdd|storage|disk)\b(?: (?:memory|ram)\b)?)?"
)
_BEFORE_SIZE = re.compile(r"(vram|ram|ssd)[ :=]{0,2}$")
_KIND = {"vram": "video", "video": "video", "ssd": "disk", "nvme": "disk", "hdd": "disk",
         "storage": "disk", "disk": "disk", "unified": ""}  # fmt: skip
_SLICE = re.compile(
    r"(?:\bmig[ -]?)?(?<![0-9.])(?:[1-7]c\.)?([1-7])g\.([0-9]{1,3})gb(?:\+(?:me|gfx)(?:\.all)?)?\b"
)


def _shown(title: str) -> str:
    text = " ".join(title.split())
    return printable(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]} …")


def _clean(title: str) -> str:
    """Lower case, without marks, labels and what drivers add.
    Raises UsageError: it is longer than any name, or a serial."""
    if len(title) > _MOST_TEXT:
        raise UsageError(
            f"--device with {len(title):,} characters is no name of a machine",
            hint='--device "RTX 4060", or several with commas between them',
        )
    text = unicodedata.normalize("NFKC", _MARKS.sub(" ", title.lower()))
    lines = [_unlabelled(line) for line in text.splitlines() if not _ASIDE.match(line)]
    text = _NUMBERED.sub("\n", "\n".join(lines))
    text = _BRACKETS.sub(lambda m: " " if _OF_DRIVERS.search(m[1]) else f" {m[1]} ", text)
    if _SERIAL.search(text):
        raise UsageError(
            f"`{_shown(title)}` is a serial number, which says nothing about the card",
            hint="nvidia-smi -L prints the name before it",
        )
    return text


def _unlabelled(line: str) -> str:
    for _ in range(3):  # GPU[0] : Card Series: AMD Radeon RX 7900 XTX
        if (found := _LABEL.match(line)) is None:
            break
        line = line[found.end() :]
    return line


def _take_sizes(text: str) -> tuple[str, list[_Size]]:
    """The text without its amounts of memory, and these; a disk's is left out."""
    found: list[_Size] = []
    pieces, at = [], 0
    for match in _SIZE.finditer(text):
        pieces.append(text[at : match.start()])
        at = match.end()
        unit = {"t": 1 << 40, "g": GIB, "m": MIB}[match[2] or match[3]]
        word = match[4] or ""
        if not word and (before := _BEFORE_SIZE.search(pieces[-1][-8:])):
            word = before[1]
        default = "video" if word.startswith(("gddr", "hbm")) else "main" if word else ""
        kind = _KIND.get(word, default)
        if kind != "disk":
            count = round(float(match[1].replace(",", ".")) * unit)
            found.append(_Size(bytes=count, kind=kind, text=match[0].strip()))
    return " ".join([*pieces, text[at:]]), found


def _main_memory(sizes: Sequence[_Size], ram_bytes: int | None, title: str) -> int | None:
    """Main memory, by the flag or by the title.
    Raises UsageError: both say it, and not the same."""
    named = next((each.bytes for each in sizes if each.kind == "main"), None)
    if named is not None and ram_bytes not in (None, named):
        raise _twice("main memory", title, named, "--ram", ram_bytes or 0)
    return ram_bytes if named is None else named


def _twice(what: str, title: str, named: int, flag: str, given: int) -> UsageError:
    return UsageError(
        f"{what} is there twice: {render_bytes(named)} in `{title}`, {flag} {render_bytes(given)}",
        hint="leave out one of them",
    )


def _words(text: str) -> tuple[str, ...]:
    """Letters and numbers apart, as ``RTX4090``, ``rtx 4090`` and ``RTX-4090`` are written."""
    words: list[str] = []
    for word in re.findall(r"[^\W\d_]+|[0-9]+", text):
        words += _FUSED.get(word, (word,))
    return tuple(words)


def _key(words: Iterable[str]) -> tuple[str, ...]:
    """The same for every order of the words."""
    return tuple(sorted(words))


# Cards, and slices of them.

_AND = re.compile(r"[,;&\n]|\+(?!(?:me|gfx)\b)|\b(?:and|und|plus)\b")
_TIMES = re.compile(
    r"\s*(?:([0-9]{1,3}) ?[x×*] ?(?=[a-z0-9])|(dual|two|twin|three|four|quad|eight) )"
)
_TIMES_AFTER = re.compile(r"(?<![\w.])(?:[x×*] ?([0-9]{1,3})|([0-9]{1,3}) ?[x×])\s*$")
_COUNTS = {"dual": 2, "two": 2, "twin": 2, "three": 3, "four": 4, "quad": 4, "eight": 8}
_FITS = (0.97, 1.08)  # of what is sold (24 GB), what a card shows (22.5 GiB, with ECC)
# A slice has less than its name says: 1g.10gb 9.5 GiB, 1g.12gb 10.8 (nvidia-smi mig -lgip).
_SLICE_SHARE = 0.9
_MEMORY_SLICES = {1: 1, 2: 2, 3: 4, 4: 4, 7: 8}  # of eight, by slices that compute
_CAN_BE_CUT = ("a30", "a100", "h100", "h200", "gh200", "b200", "rtx pro 6000")


def _read_cards(text: str, title: str) -> list[Named]:
    """The cards that a title names, one after another; none where one of them is not known.
    Raises UsageError: one has another memory than is said, or there are too many."""
    cards: list[Named] = []
    whole = said = ""  # the card whose slices follow, as `nvidia-smi -L` lists them
    for part in _parts(text):
        count, rest = _count(part)
        name = _find(_words(_MAX_Q.sub(" laptop ", _BUSES.sub(" ", _without_amounts(rest)))))
        piece = _SLICE.search(rest)
        if name is None or (not name and piece is None):
            return []
        if piece is not None:
            if not name and whole and cards and not cards[-1].mig:
                cards.pop()
            of = rest if name else f"{said} {rest}"
            cards += [_as_slice(piece, of, name or whole, title)] * count
        else:
            cards += [_of_table(name, rest, title)] * count
        whole, said = (name, rest) if name else (whole, said)
    if len(cards) > _MOST_CARDS:
        message = f"`{title}` are {len(cards)} cards, llama.cpp uses {_MOST_CARDS}"
        raise UsageError(message, hint=f"{_MOST_CARDS} at most")
    return cards


def _without_amounts(part: str) -> str:
    return _take_sizes(_SLICE.sub(" ", part))[0]


def _parts(text: str) -> list[str]:
    """Between commas, with amounts put to the name before them (``RTX 3060, 12288 MiB``)."""
    parts: list[str] = []
    for part in _AND.split(text):
        silent = not set(_words(_BUSES.sub(" ", _take_sizes(part)[0]))) - _SILENT
        if silent and parts:
            parts[-1] += f" {part}"
        elif part.strip():
            parts.append(part)
    return parts


def _count(part: str) -> tuple[int, str]:
    """``2x RTX 3090``, ``RTX 3090 x2``, ``dual RTX 3090``.
    Raises UsageError: it is none, or more than there can be."""
    found, after = _TIMES.match(part), _TIMES_AFTER.search(part)
    if found:
        count, rest = _COUNTS.get(found[2]) or int(found[1]), part[found.end() :]
    elif after:
        count, rest = int(after[1] or after[2]), part[: after.start()]
    else:
        return 1, part
    if not 1 <= count <= _MOST_CARDS:
        raise UsageError(f"`{part.strip()}` are {count} cards", hint=f"1 to {_MOST_CARDS}")
    return count, rest


def _find(words: Sequence[str]) -> str | None:
    """The name of the table that these words are, in any order, a family's word left out or not;
    "" where they say nothing."""
    makers = {_VENDORS[each] for each in words if each in _VENDORS}
    asked = [each for each in words if each not in _SILENT and each not in ("mig", "laptop")]
    asked += ["laptop"] if "laptop" in words else []
    if not asked:
        return ""
    name = _names().get(_key(asked)) or _short_names().get(_key(asked))
    return name if name and makers <= {_maker(name)} else None


def _of_table(name: str, part: str, title: str, total_bytes: int = 0) -> Named:
    """A card as it is sold; without an amount the usual one, or what is nearest to ``total_bytes``.
    Raises UsageError: it is not sold with so much memory."""
    every = _cards()[name]
    mib = min(every, key=lambda each: abs(each * MIB - total_bytes)) if total_bytes else every[0]
    sizes = [each for each in _take_sizes(_SLICE.sub(" ", part))[1] if each.kind != "main"]
    if name == "gh200":  # GH200 480GB: the processor's memory
        sizes = [each for each in sizes if each.bytes < 200 * GIB]
    for size in sizes:
        fits = [each for each in every if _FITS[0] <= size.bytes / MIB / each <= _FITS[1]]
        if not fits:
            has = _listed(map(_sold, every))
            raise UsageError(
                f"`{title}`: {_spell(name)} has {has}, not {size.text.upper()}",
                hint="main memory is --ram SIZE; a card without a name is --vram SIZE",
            )
        mib = fits[0]
    bus = _bus(part, name)
    told = _sold(mib).replace(" ", "") if bus or (total_bytes and len(every) > 1) else ""
    shown = " ".join(filter(None, [_spell(name), bus, told]))
    others = () if sizes or total_bytes else tuple(_sold(each) for each in every if each != mib)
    return Named(
        title=shown, backend=_backend(name), total_bytes=mib * MIB,
        most_bytes=max(every) * MIB if others else mib * MIB, choices=others,
    )  # fmt: skip


def _bus(part: str, name: str) -> str:
    """Where it tells how fast a card's memory is."""
    found = re.search(r"\bsxm[0-9]?|\bpci[- ]?e", part)
    if found is None or name not in ("a100", "h100", "v100", "p100"):
        return ""
    return found[0].upper() if found[0].startswith("sxm") else "PCIe"


def _as_slice(piece: "re.Match[str]", part: str, name: str, title: str) -> Named:
    """Raises UsageError: the card has no such slice."""
    share, gigabytes = int(piece[1]), int(piece[2])
    profile, taken = f"MIG {share}g.{gigabytes}gb", int(gigabytes * GIB * _SLICE_SHARE)
    if not name:
        return Named(title=profile, backend="cuda", mig=True, total_bytes=taken, most_bytes=taken)
    whole = gigabytes * GIB * 8 // _MEMORY_SLICES.get(share, 8)
    card = _of_table(name, part, title, whole)
    if name not in _CAN_BE_CUT or gigabytes * GIB > card.total_bytes * _FITS[1]:
        raise UsageError(
            f"`{title}`: {card.title} has no slice {share}g.{gigabytes}gb",
            hint="nvidia-smi mig -lgip lists the slices of a card",
        )
    return Named(
        title=f"{card.title} {profile}", backend="cuda", mig=True, total_bytes=taken,
        most_bytes=taken,
    )  # fmt: skip


def _one_slice(cards: list[Named], note: Note) -> list[Named]:
    """CUDA computes on one slice a process: the largest of several."""
    slices = [each for each in cards if each.mig]
    if len(slices) < 2:  # noqa: PLR2004
        return cards
    largest = max(slices, key=lambda each: each.total_bytes)
    note(f"of {len(slices)} slices a program computes on one: {largest.title} is planned")
    return [*(each for each in cards if not each.mig), largest]


def _with_vram(
    card: Named, vram_bytes: int | None, count: int, sizes: Sequence[_Size], title: str
) -> Named:
    """Raises UsageError: it is more than the card has, or not what the title says, or nobody knows
    which card's it is."""
    if vram_bytes is None:
        return card
    if count > 1:
        raise UsageError(
            f"--vram is one card's memory, `{title}` are {count}",
            hint='the sizes in the title: "RTX 3060 12GB, RTX 3060 8GB"',
        )
    if sizes and not _FITS[0] <= vram_bytes / sizes[0].bytes <= 1 / _FITS[0]:
        raise _twice("its memory", title, sizes[0].bytes, "--vram", vram_bytes)
    if card.most_bytes and vram_bytes > card.most_bytes * _FITS[1]:
        raise _too_much(card.title, vram_bytes, card.most_bytes)
    return replace(card, total_bytes=vram_bytes)


def _with_cards(cards: Sequence[Named], base: Hardware) -> Hardware:
    mixed = len({each.backend for each in cards}) > 1
    backend = "vulkan" if mixed else cards[0].backend
    prefix = {"cuda": "CUDA", "metal": "MTL", "vulkan": "Vulkan"}[backend]
    devices = tuple(
        Device(
            name=f"{prefix}{number}", title=each.title, backend=backend, mig=each.mig,
            reason=f"{render_bytes(each.total_bytes)}, as asked", integrated=backend == "metal",
            total_bytes=each.total_bytes, free_bytes=each.total_bytes,
        )
        for number, each in enumerate(cards)
    )  # fmt: skip
    system = "linux" if base.system == "darwin" and backend != "metal" else base.system
    build = replace(base.build, backends=("cpu", backend), error="")
    return replace(base, system=system, build=build, devices=devices)


def _tell_choice(card: Named, note: Note) -> None:
    has = render_bytes(card.total_bytes)
    note(
        f"{card.title} is planned with {has}; it is sold with {_listed(card.choices, 'and')} too: "
        f'--device "{card.title} {card.choices[0].replace(" ", "")}"'
    )


# Computers whose GPU and processor have one memory.

_MAC = re.compile(r"\bmac ?book(?: ?(?:pro|air))?\b|\bmac ?(?:mini|studio|pro)\b|\bimac(?: pro)?\b")
_MAC_ASIDE = re.compile(
    r"\b[0-9]{1,2}[- ]?core\b|\b(?:chip|neural|engine|[cg]pu|early|mid|late)\b|\b20[0-9]{2}\b"
    r"|(?<![\w.])(?:1[1-6](?:\.[0-9])?|2[47])(?:[- ]?(?:inch|in|zoll))?(?![\w.])"
)
# Of one memory, what Linux shows: 7.4 of 8 (Jetson Orin Nano), 119.7 of 128 (GB10).
_SHOWN_SHARE = 0.93
_LITTLE_APPLE_BYTES = 36 * GIB
_DISK_TIMES = 4  # as much as the most memory is a disk: Mac mini M4 16GB 256GB
_BOARD_CORES = 4  # of a Raspberry Pi


@dataclass(frozen=True, slots=True)
class _Kind:
    """Computers of one maker: ggml's backend, and the words that tell none from another."""

    backend: str
    silent: frozenset[str]


_ANY = "computer gpu graphics memory ram shared system unified with"
_KINDS = {
    name: _Kind(backend, frozenset(f"{_ANY} {words}".split()))
    for name, backend, words in (
        ("apple", "metal", "apple chip"),
        ("jetson", "cuda", "board dev developer engineering jetson kit module nvidia reference"),
        ("gb", "cuda", "grace blackwell nvidia superchip"),
        ("radeon", "vulkan", "ai amd apu desktop framework radeon ryzen w"),
        ("steam", "vulkan", "handheld lcd oled valve"),
        ("raspberry", "cpu", "b model"),
    )
}


def _kind_of(name: str) -> str:
    return next(kind for kind in _KINDS if name.startswith(kind))


def _read_computer(text: str, title: str) -> str | None:
    """The name of the table's computer that a title without its amounts is, None where it is none.
    Raises UsageError: a Mac whose chip is not said."""
    mac = _MAC.search(text)
    rest = _MAC.sub(" ", text)
    if mac or "apple" in text:
        rest = _MAC_ASIDE.sub(" ", rest)
    words = _words(rest)
    for kind, facts in _KINDS.items():
        own = _key(each for each in words if each not in facts.silent)
        name = _computer_names().get((kind, own))
        if name is not None and (not mac or kind == "apple"):
            return name
    if mac:
        known = [each for each in _computers() if each.startswith("apple")]
        numbers = {each for each in words if each.isdigit()}
        near = [each for each in known if numbers & set(_words(each))] or known[:1] + known[-3:]
        said = "is no Mac that is known" if numbers else "does not say its chip"
        hint = f"with its chip and memory, like {_listed(map(_spell, near))}; About This Mac has it"
        raise UsageError(f"`{title}` {said}", hint=hint)
    return None


def _as_computer(
    name: str, given: tuple[int | None, int | None], base: Hardware, note: Note, *, shown: bool
) -> Hardware:
    """``given`` are --vram and the memory; ``shown``: the title says that one.
    Raises UsageError: the GPU's is more than all."""
    vram_bytes, installed = given
    spelled, kind, sold = _spell(name), _KINDS[_kind_of(name)], _computers()[name]
    if installed is None:
        installed, shown = sold[0] * GIB, True
        if len(sold) > 1:
            note(
                f"{spelled} is planned with {sold[0]} GB, its least; it is sold with "
                f"{_listed((f'{each} GB' for each in sold[1:]), 'and')} too: "
                f'--device "{spelled} {sold[1]}GB"'
            )
    ram = int(installed * _SHOWN_SHARE) if shown and kind.backend != "metal" else installed
    shares = "" if kind.backend == "cpu" else ", which its GPU shares"
    hardware = _with_memory(base, ram, f"of {spelled}{shares}")
    system = "darwin" if kind.backend == "metal" else "linux"
    hardware = replace(hardware, system=system, wsl=False, variables=(), devices=())
    hardware = replace(hardware, cpu=_cpu_of(name, base.cpu))
    if kind.backend == "cpu" or vram_bytes == 0:
        return replace(hardware, build=replace(base.build, backends=("cpu",), error=""))
    share = vram_bytes or _gpu_share(kind.backend, ram)
    if share > ram:
        raise _too_much(spelled, share, ram)
    card = Named(title=spelled, backend=kind.backend, total_bytes=share)
    hardware = _with_cards([card], hardware)
    device = replace(hardware.devices[0], integrated=True)
    return replace(hardware, system=system, devices=(device,))


def _installed(name: str, sizes: Sequence[_Size]) -> int | None:
    """The memory that a title says, beside a disk (``M4 16GB/512GB``); None where it says none.
    Raises UsageError: the computer is not sold with so much, or two amounts are said."""
    sold = [count * GIB for count in _computers()[name]]
    said = {each.bytes: each.text.upper() for each in sizes}
    fits = [count for count in said if count in sold]
    others = [count for count in said if count not in sold and count < _DISK_TIMES * sold[-1]]
    if not fits and not others:
        return None
    if len(fits) != 1 or others:
        known = _listed(f"{count} GB" for count in _computers()[name])
        raise UsageError(
            f"{_spell(name)} has {known} of memory, not {_listed(said.values(), 'and')}",
            hint="--ram SIZE, if it is so; a disk is not memory",
        )
    return fits[0]


def _gpu_share(backend: str, ram_bytes: int) -> int:
    """Of one memory, what the GPU is given: on a Mac two thirds, and three quarters above 36 GiB
    (recommendedMaxWorkingSetSize: 10.7 GiB of 16, 48 of 64); for CUDA all of it; half of it for an
    AMD chip under Linux (amdgpu's gttsize; the BIOS, or --vram, gives more)."""
    if backend == "metal":
        return ram_bytes * 2 // 3 if ram_bytes <= _LITTLE_APPLE_BYTES else ram_bytes * 3 // 4
    return ram_bytes if backend == "cuda" else ram_bytes // 2


def _cpu_of(name: str, base: Cpu) -> Cpu:
    """This machine's cores, but for a computer that has nothing else."""
    if name.startswith("apple"):
        return replace(base, name=_spell(name))
    if not name.startswith("raspberry"):
        return base
    words = ("asimd", "asimddp") if name.endswith("5") else ("asimd",)
    reason = f"{_BOARD_CORES} cores of a {_spell(name)}"
    return Cpu(_BOARD_CORES, reason, name=_spell(name), instructions=words)


# What is not understood.

_LAPTOP_WORDS = re.compile(
    r"\b(?:laptop|notebook|thinkpad|ideapad|legion|loq|yoga|zephyrus|zenbook|vivobook|latitude"
    r"|precision|elitebook|zbook|probook|pavilion|omen|victus|blade|xps|surface|aspire|nitro)\b"
)
_OTHERS = {"rx", "radeon", "instinct", "arc", "amd", "intel"}


def _unknown(
    title: str, text: str, sizes: Sequence[_Size], vram_bytes: int | None, note: Note
) -> Named:
    """A card that only its owner knows, where its memory is given.
    Raises UsageError: it is not given, or the title says more than a card's name."""
    plain = not (sizes or _LAPTOP_WORDS.search(text) or _AND.search(text) or _SLICE.search(text))
    if vram_bytes and plain and "apple" not in text:
        note(f"`{title}` is not known: a card of {render_bytes(vram_bytes)}, its speed is assumed")
        backend = "vulkan" if _OTHERS & set(_words(text)) else "cuda"
        return Named(title=title, backend=backend)
    near = _nearest(text)
    known = f"did you mean {_listed(map(_spell, near))}? " if near else ""
    raise UsageError(
        f"no card or computer `{title}` is known",
        hint=f"{known}--device takes a card's name alone; a machine without a card is "
        "--vram 0 --ram 32GiB, a card without a name --vram 8GiB",
    )


def _nearest(text: str) -> list[str]:
    """Names that share their number with it, else those that are spelled alike."""
    words = [each for each in _words(_MAX_Q.sub(" laptop ", text)) if each not in _SILENT]
    numbers = {each for each in words if each.isdigit() and len(each) > 1}
    every = [*_cards(), *_computers()]
    laptop = bool(_LAPTOP_WORDS.search(text))

    def rank(name: str) -> tuple[bool, int, int]:
        own = set(_words(name))
        return ("laptop" in own) != laptop, len(own - set(words)), -len(own & set(words))

    told = numbers or {each for each in words if len(each) > 3}  # noqa: PLR2004  (orin, titan)
    alike = [each for each in every if told & set(_words(each))]
    return sorted(alike, key=rank)[:4] or get_close_matches(" ".join(words), every, n=3)


# The table.


def _listed(words: Iterable[str], last: str = "or") -> str:
    every = list(words)
    return f" {last} ".join(filter(None, [", ".join(every[:-1]), every[-1]])) if every else ""


def _spell(name: str) -> str:
    """``rtx 4060 ti laptop`` -> ``RTX 4060 Ti Laptop``."""
    spelled = " ".join(_SPELLED.get(word, word.upper()) for word in name.split())
    return spelled.replace("RTX Pro", "RTX PRO")


_GIGABYTES = (2, 3, 4, 5, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 94, 96, 141, 144, 180,
              192)  # fmt: skip


def _sold(mib: int) -> str:
    """As shops say it, where a card shows a little less: 23028 MiB are 24 GB."""
    gigabytes = mib * MIB / GIB
    return f"{min(_GIGABYTES, key=lambda each: abs(each / gigabytes - 1.01))} GB"


def _backend(name: str) -> str:
    return "cuda" if _maker(name) == "nvidia" else "vulkan"


def _maker(name: str) -> str:
    word = name.split()[0]
    return {"rx": "amd", "instinct": "amd", "arc": "intel"}.get(word, "nvidia")


@cache
def _table() -> dict[str, dict[str, Any]]:
    return parse_toml(Path(__file__).with_name("cards.toml").read_text(encoding="utf-8"))


@cache
def _cards() -> dict[str, list[int]]:
    """MiB by name, the usual size first."""
    return {k: v if isinstance(v, list) else [v] for k, v in _table()["mib"].items()}


@cache
def _computers() -> dict[str, list[int]]:
    """GB of memory that a computer is sold with, by name, the least first."""
    return dict(_table()["computers_gb"])


@cache
def _names() -> dict[tuple[str, ...], str]:
    return {_key(_words(name)): name for name in _cards()}


@cache
def _short_names() -> dict[tuple[str, ...], str]:
    """Without the word of the family, where that leaves one card alone with its words."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name in _cards():
        short = _key(each for each in _words(name) if each not in _OF_CARDS)
        found.setdefault(short, []).append(name)
    return {key: names[0] for key, names in found.items() if len(names) == 1}


@cache
def _computer_names() -> dict[tuple[str, tuple[str, ...]], str]:
    """Kind and words of everything that a computer is called."""
    every = [*((each, each) for each in _computers()), *_table()["called"].items()]
    found: dict[tuple[str, tuple[str, ...]], str] = {}
    for name, meant in every:
        kind = _kind_of(meant)
        words = (each for each in _words(name) if each not in _KINDS[kind].silent)
        found[kind, _key(words)] = meant
    return found
