"""Recorded machines and what is expected of each, as text that is read like a table."""

import json
from pathlib import Path
from typing import Any

from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.units import GIB, MIB

FOLDER = Path(__file__).parents[1] / "machines"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> dict[str, Any]:
    """The recording of one machine."""
    recording: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return recording


def render(hardware: Hardware) -> str:
    """A machine as text: a line for each part, sizes in GiB, devices in MiB."""
    cpu, memory, build = hardware.cpu, hardware.memory, hardware.build
    available, total = memory.available_bytes or 0, memory.total_bytes or 0
    system = f"{hardware.system} under Windows" if hardware.wsl else hardware.system
    lines = [
        f"{system}: {cpu.name or 'a processor without a name'}",
        f"cores      {cpu.cores} ({cpu.fast_cores} fast): {cpu.reason}",
        f"memory     {available / GIB:.1f} of {total / GIB:.1f} GiB: {memory.reason}",
        f"llama.cpp  {build.version or '-'} for {', '.join(build.backends)}"
        + (f": {build.error}" if build.error else ""),
        *(_device(device) for device in hardware.devices),
    ]
    for finding in hardware.findings:
        lines.append(f"{finding.state:<10} {finding.what}: {finding.text}")
        lines += [f"           fix: {finding.fix}"] if finding.fix else []
    return "\n".join(lines) + "\n"


def _device(device: Device) -> str:
    words = [
        device.title,
        device.backend or "not used",
        f"{device.free_bytes // MIB} of {device.total_bytes // MIB} MiB",
        device.pci_id,
        f"capability {device.capability}" if device.capability else "",
        f"driver {device.driver}" if device.driver else "",
        "integrated" if device.integrated else "",
        "slice" if device.mig else "",
        "display" if device.display else "",
        "" if device.context_bytes is None else f"context {device.context_bytes // MIB} MiB",
        device.reason,
    ]
    return f"{device.name or '-':<10} {' · '.join(filter(None, words))}"
