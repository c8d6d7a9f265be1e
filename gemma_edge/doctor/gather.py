"""Ask the machine, the disk, the hub and every device. What asks is passed in."""

import os
import platform
import shutil
import struct
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from gemma_edge.doctor.decode import try_decode
from gemma_edge.doctor.facts import CPU, Decode, Facts, Hub, Python, Shelf, Terminal
from gemma_edge.doctor.hub import ask_hub
from gemma_edge.errors import GemmaEdgeError
from gemma_edge.hardware.machine import Hardware
from gemma_edge.store import StoreSettings, list_files

HUB = "https://huggingface.co"  # huggingface_hub's own default (its constants.py)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Everything that leaves this process; tests pass others."""

    detect_hardware: Callable[[Mapping[str, str]], Hardware]
    try_decode: Callable[[str], Decode] = try_decode
    ask_hub: Callable[[str], Hub] = ask_hub


def gather(  # noqa: PLR0913  (one world)
    asking: Asking,
    environment: Mapping[str, str],
    settings: StoreSettings,
    terminal: Terminal,
    *,
    offline_by: str = "",
    on_step: Callable[[str], None] = lambda _: None,
) -> Facts:
    """All facts. ``on_step`` hears of what may take longer than a person waits for a prompt."""
    with ThreadPoolExecutor(max_workers=1) as pool:  # the hub answers while the machine is asked
        hub = None if offline_by else pool.submit(asking.ask_hub, settings.endpoint or HUB)
        hardware = asking.detect_hardware(environment)
        decodes = _decode(hardware, asking.try_decode, on_step)
    return Facts(
        hardware=hardware,
        python=Python(platform.python_version(), 8 * struct.calcsize("P"), platform.machine()),
        terminal=terminal,
        shelf=read_shelf(settings),
        hub=hub.result() if hub else None,
        offline_by=offline_by,
        job=environment.get("SLURM_JOB_ID", ""),
        decodes=decodes,
    )


def read_shelf(settings: StoreSettings) -> Shelf:
    """The folder of the models, and what is in it."""
    folder = settings.models_dir or settings.cache_dir or settings.data_dir
    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    try:
        free = shutil.disk_usage(existing).free
        writable = existing.is_dir() and os.access(existing, os.W_OK)
    except OSError:
        free, writable = None, False
    shelf = Shelf(folder=folder, free_bytes=free, writable=writable)
    try:
        files = list_files(settings)
    except GemmaEdgeError as error:
        return replace(shelf, trouble=error.message, hint=error.hint)
    whole = [stored for stored in files if stored.where != "incomplete"]
    names = {os.path.realpath(stored.path): stored.size_bytes for stored in whole}
    return replace(
        shelf,
        files=len(whole),
        files_bytes=sum(names.values()),
        incomplete=len(files) - len(whole),
    )


def _decode(
    hardware: Hardware, decode: Callable[[str], Decode], on_step: Callable[[str], None]
) -> tuple[Decode, ...]:
    """The processor first: its answer is what the others are compared with."""
    if hardware.build.error:
        return ()
    results = [decode(CPU)]
    for device in hardware.devices:
        if device.usable:
            on_step(f"decoding on {device.title}…")
            results.append(decode(device.name))
    return tuple(results)
