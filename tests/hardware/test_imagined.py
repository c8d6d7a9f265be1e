"""A machine that somebody thinks up, on the ground of a recorded one."""

from importlib.resources import files

import pytest
import tomli

from gemma_edge.errors import UsageError
from gemma_edge.hardware.detect import parse_recording, pretend
from gemma_edge.units import GIB, MIB
from tests.hardware.machines import load


@pytest.fixture
def base():
    return parse_recording(load("laptop-without-gpu"))


@pytest.mark.parametrize(
    ("title", "name", "shown", "mib"),
    [
        ("RTX 4060", "CUDA0", "RTX 4060", 8188),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", "CUDA0", "RTX 4060 Laptop", 8188),
        ("rtx 4060 ti 16GB", "CUDA0", "rtx 4060 ti", 16384),
        ("RTX 4070 Ti SUPER", "CUDA0", "RTX 4070 Ti SUPER", 16376),
        ("RTX 3060", "CUDA0", "RTX 3060", 12288),
        ("RTX 3060 8GB", "CUDA0", "RTX 3060", 8192),
        ("H100", "CUDA0", "H100", 81559),
        ("RX 7900 XTX", "Vulkan0", "RX 7900 XTX", 24576),
        ("Intel Arc A770", "Vulkan0", "Arc A770", 16384),
    ],
)
def test_known_cards(base, title, name, shown, mib):
    hardware = pretend(None, None, title, base)
    (device,) = hardware.devices
    assert (device.name, device.title, device.total_bytes) == (name, shown, mib * MIB)
    assert device.free_bytes == device.total_bytes
    assert hardware.memory == base.memory
    assert hardware.cpu == base.cpu
    assert hardware.build.backends == ("cpu", device.backend)


@pytest.mark.parametrize(
    ("title", "ram", "gpu_gib"),
    [("M2 16 GB", None, 16 * 2 / 3), ("Apple M4 Max 64GB", None, 48), ("M1", 8 * GIB, 8 * 2 / 3)],
)
def test_apples_chips_share_their_memory(base, title, ram, gpu_gib):
    hardware = pretend(None, ram, title, base)
    (device,) = hardware.devices
    assert (device.name, device.backend, device.integrated) == ("MTL0", "metal", True)
    assert hardware.system == "darwin"
    assert hardware.cpu.name == device.title
    assert device.title.startswith("Apple M")
    assert device.total_bytes == pytest.approx(gpu_gib * GIB, rel=1e-9)


def test_amounts_alone(base):
    hardware = pretend(8 * GIB, 16 * GIB, None, base)
    assert [(d.title, d.total_bytes) for d in hardware.devices] == [("GPU", 8 * GIB)]
    assert hardware.memory.available_bytes == hardware.memory.total_bytes == 16 * GIB


def test_this_machines_gpu_with_other_memory():
    base = parse_recording(load("rtx-3060"))
    (device,) = pretend(24 * GIB, None, None, base).devices
    assert (device.title, device.backend, device.total_bytes) == ("RTX 3060", "cuda", 24 * GIB)


def test_no_gpu_at_all():
    base = parse_recording(load("rtx-3060"))
    assert pretend(0, None, None, base).devices == ()


def test_only_other_memory():
    base = parse_recording(load("rtx-3060"))
    hardware = pretend(None, 64 * GIB, None, base)
    assert hardware.devices == base.devices
    assert hardware.memory.available_bytes == 64 * GIB


def test_a_card_that_nobody_knows(base):
    with pytest.raises(UsageError, match="RTX 4061"):
        pretend(None, None, "RTX 4061", base)
    with pytest.raises(UsageError, match="GTX 1660 Ti Laptop"):  # neither the one nor the other
        pretend(None, None, "GTX 1660 Ti Laptop", base)
    with pytest.raises(UsageError) as wrong:
        pretend(None, None, "4060", base)
    assert "rtx 4060" in wrong.value.hint
    assert pretend(8 * GIB, None, "RTX 4061", base).devices[0].title == "RTX 4061"


def test_every_known_card_finds_itself(base):
    text = files("gemma_edge.hardware").joinpath("cards.toml").read_text(encoding="utf-8")
    for name, mib in tomli.loads(text)["mib"].items():
        assert pretend(None, None, name, base).devices[0].total_bytes == mib * MIB, name
