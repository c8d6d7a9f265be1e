"""What a process takes of a card before its first buffer: by card, and never twice."""

from typing import Any

import pytest

from gemma_edge.hardware.detect import parse_recording
from gemma_edge.hardware.machine import Device
from gemma_edge.planning.memory import RUNTIME_BYTES, account, quick_measure
from gemma_edge.planning.plan import ALL_LAYERS, Placement
from gemma_edge.units import GIB, MIB
from tests.hardware.machines import load
from tests.planning.memory_machines import shape_of

USUAL = RUNTIME_BYTES["cuda"]


def recorded(name: str, nvml: int | None, ggml: int, **entry: object) -> tuple[Device, int]:
    """The one card of a recording with so much free as each says, and what a plan counts as taken
    by its context. ``nvml`` None: only ggml answers."""
    recording = load(name)
    probe: dict[str, Any] = recording["probe"]
    if nvml is None:
        probe["nvml"], recording["commands"] = {}, {}
    else:
        probe["nvml"]["devices"][0]["free"] = nvml
    probe["ggml"]["devices"][0] |= {"free": ggml, **entry}
    hardware = parse_recording(recording)
    device = next(each for each in hardware.devices if each.usable)
    placement = Placement(
        context_tokens=4096, batch_tokens=512, devices=(device.name,), gpu_layers=ALL_LAYERS
    )
    found = account(shape_of("e2b"), None, placement, hardware, quick_measure(hardware))
    parts = {part.name: part.size_bytes for part in found.account(device.name).parts}
    return device, parts.get("runtime", 0)


@pytest.mark.parametrize(
    ("context", "counted"),
    [
        (122 * MIB, 122 * MIB), (550 * MIB, 550 * MIB), (178 * MIB, 178 * MIB),
        (0, USUAL), (-300 * MIB, USUAL), (20 * MIB, USUAL), (3 * GIB, USUAL),  # others moved
    ],
)  # fmt: skip
def test_it_is_what_nvml_and_ggml_differ_by(context: int, counted: int) -> None:
    device, runtime = recorded("rtx-3060", 9 * GIB, 9 * GIB - context)
    assert device.free_bytes == 9 * GIB
    assert runtime == counted


@pytest.mark.parametrize("name", ["windows-rtx-4070-wddm", "wsl2-rtx-4070"])
def test_under_windows_it_is_not_taken_off_twice(name: str) -> None:
    """What ggml says is free is that of a process which has its context already."""
    device, runtime = recorded(name, 9 * GIB, 8 * GIB)
    assert (device.free_bytes, runtime) == (8 * GIB, 0)
    device, runtime = recorded(name, 8 * GIB, 9 * GIB)
    assert (device.free_bytes, runtime) == (8 * GIB, USUAL)


def test_where_only_ggml_answers_it_is_taken_off_already() -> None:
    device, runtime = recorded("rtx-3060", None, 9 * GIB)
    assert (device.free_bytes, runtime) == (9 * GIB, 0)


def test_vulkan_is_asked_without_a_context() -> None:
    device, runtime = recorded("rtx-4060-laptop-vulkan", None, 5 * GIB)
    assert (device.backend, device.free_bytes) == ("vulkan", 5 * GIB)
    assert runtime == RUNTIME_BYTES["vulkan"]
