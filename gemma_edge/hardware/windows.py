"""Windows' own answers: memory, cores, features, graphics adapters. Imported on Windows only.

The registry knows a card's memory beyond 4 GiB (WMI's AdapterRAM does not), and is read in
microseconds.
"""

import ctypes
import sys
from typing import Any

from gemma_edge.hardware.cpu import WINDOWS_FEATURES

_ADAPTERS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"
_PROCESSOR = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_RELATION_PROCESSOR_CORE = 0
_MOST_ADAPTERS = 16


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of sysinfoapi.h."""

    _fields_ = [
        ("length", ctypes.c_uint32),
        ("load_percent", ctypes.c_uint32),
        *[
            (name, ctypes.c_uint64)
            for name in (
                "total", "available", "total_page", "available_page",
                "total_virtual", "available_virtual", "available_extended",
            )
        ],
    ]  # fmt: skip


def record_windows() -> dict[str, Any]:
    """The part "windows" of a recording; {} elsewhere."""
    if sys.platform != "win32":
        return {}
    kernel32 = ctypes.WinDLL("kernel32")
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return {
        "memory": {"total": status.total, "available": status.available},
        "cores": _cores(kernel32),
        "features": [n for n in WINDOWS_FEATURES if kernel32.IsProcessorFeaturePresent(int(n))],
        "processor": _value(_PROCESSOR, "ProcessorNameString") or "",
        "adapters": [found for i in range(_MOST_ADAPTERS) if (found := _adapter(i))],
    }


def _cores(kernel32: Any) -> str:
    """The records of GetLogicalProcessorInformationEx as hexadecimal text."""
    size = ctypes.c_uint32(0)
    ask = kernel32.GetLogicalProcessorInformationEx
    ask(_RELATION_PROCESSOR_CORE, None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    if not ask(_RELATION_PROCESSOR_CORE, buffer, ctypes.byref(size)):
        return ""
    return buffer.raw[: size.value].hex()


def _adapter(number: int) -> dict[str, Any]:
    """One graphics adapter; those without memory are remote desktops and the like."""
    key = rf"{_ADAPTERS}\{number:04d}"
    memory = _value(key, "HardwareInformation.qwMemorySize")
    if isinstance(memory, bytes):  # some drivers store the number as bytes
        memory = int.from_bytes(memory[:8], "little")
    if not memory:
        return {}
    return {
        "title": _value(key, "DriverDesc") or "",
        "id": _value(key, "MatchingDeviceId") or "",
        "driver": _value(key, "DriverVersion") or "",
        "memory": memory,
    }


def _value(key: str, name: str) -> Any:
    """A value below HKEY_LOCAL_MACHINE, None where it is not there."""
    if sys.platform != "win32":
        return None
    import winreg  # noqa: PLC0415  (Windows only)

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
            return winreg.QueryValueEx(opened, name)[0]
    except OSError:
        return None
