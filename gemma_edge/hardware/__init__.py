"""Ask the machine: what it has, and what we may use of it.

``record`` asks, ``parse_recording`` is pure, ``detect_hardware`` is one after the other. The data
types come at once; what asks is imported when it is called for, so that ``--help`` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gemma_edge.hardware.cpu import Cpu
from gemma_edge.hardware.machine import Build, Device, Finding, Hardware
from gemma_edge.hardware.memory import Memory

if TYPE_CHECKING:
    from gemma_edge.hardware.cuda import preload_cuda
    from gemma_edge.hardware.imagined import pretend
    from gemma_edge.hardware.reading import detect_hardware, parse_recording
    from gemma_edge.hardware.recording import record

__all__ = [
    "Build",
    "Cpu",
    "Device",
    "Finding",
    "Hardware",
    "Memory",
    "detect_hardware",
    "parse_recording",
    "preload_cuda",
    "pretend",
    "record",
]

_DOORS = {
    "detect_hardware": "reading",
    "parse_recording": "reading",
    "preload_cuda": "cuda",
    "pretend": "imagined",
    "record": "recording",
}


def __getattr__(name: str) -> Any:
    """A door, opened when it is first asked for (PEP 562)."""
    if name not in _DOORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_DOORS[name]}"), name)
