"""Everything the checks look at, as plain data; ``examine`` is pure over it."""

from dataclasses import dataclass
from pathlib import Path

from gemma_edge.hardware.machine import Hardware

CPU = "CPU"  # ggml's name of the processor


@dataclass(frozen=True, slots=True)
class Python:
    """The interpreter that runs us: ``3.12.4``, 64 and ``x86_64``."""

    version: str
    bits: int
    machine: str


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where the answers are shown; ``width`` is in columns."""

    attached: bool
    encoding: str
    width: int
    colours: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where models are kept. ``free_bytes`` is None where nobody says; ``trouble`` is why the
    folder cannot be read, ``hint`` the way out. ``files`` are whole ones."""

    folder: Path
    free_bytes: int | None
    writable: bool
    files: int = 0
    files_bytes: int = 0
    incomplete: int = 0
    trouble: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Hub:
    """What answered at ``endpoint``; ``trouble`` is "" when it was a hub, or something like it."""

    endpoint: str
    seconds: float = 0.0
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """One try to answer with the bundled model. ``device`` is ggml's name of what was asked for,
    ``CPU`` for the processor; ``answer`` is the text, and ``trouble`` why there is none."""

    device: str
    answer: str = ""
    tokens: int = 0
    seconds: float = 0.0
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One machine, one environment, one moment. ``hub`` is None where it was not asked;
    ``offline_by`` names the switch ("" = off), ``job`` is SLURM's number of it ("" = none)."""

    hardware: Hardware
    python: Python
    terminal: Terminal
    shelf: Shelf
    hub: Hub | None
    offline_by: str = ""
    job: str = ""
    decodes: tuple[Decode, ...] = ()
