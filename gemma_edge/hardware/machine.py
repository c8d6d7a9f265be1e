"""What a machine is, as plain data: devices, processor, memory, and the llama.cpp installed."""

from dataclasses import dataclass
from typing import Literal

from gemma_edge.hardware.cpu import Cpu
from gemma_edge.hardware.memory import Memory

State = Literal["fine", "warning", "problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU. ``name`` is ggml's ("CUDA0"), "" where ggml does not see it and so cannot use it;
    ``title`` is for people ("RTX 4060 Laptop"); ``backend`` is cuda, rocm, vulkan, metal, sycl,
    rpc, or "" ; ``integrated``: its memory is main memory. ``display``: a desktop draws with it.
    ``pci_id`` is ``0000:c1:00.0`` in lower case, "" where there is none; ``capability`` is CUDA's,
    "" elsewhere. ``reason`` says where the numbers come from."""

    name: str
    title: str
    backend: str
    integrated: bool
    total_bytes: int
    free_bytes: int
    pci_id: str = ""
    driver: str = ""
    capability: str = ""
    mig: bool = False
    display: bool = False
    reason: str = ""

    @property
    def usable(self) -> bool:
        """Whether the installed llama.cpp can compute on it."""
        return bool(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The installed llama.cpp: ``version`` of llama-cpp-python, ``backends`` that it was built
    with ("cpu", "cuda"), ``instructions`` it was compiled for (ggml's words: "AVX2"). ``error`` is
    why its libraries cannot be loaded, "" when they can."""

    version: str
    backends: tuple[str, ...] = ("cpu",)
    instructions: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know about the machine, with the fix as a command or a change ("" = none)."""

    state: State
    what: str
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One machine. ``devices`` holds what ggml sees first, in ggml's order, then what it does not
    see; ``system`` is linux, darwin or win32, with ``wsl`` for Linux under Windows."""

    system: str
    cpu: Cpu
    memory: Memory
    build: Build
    devices: tuple[Device, ...] = ()
    findings: tuple[Finding, ...] = ()
    wsl: bool = False
