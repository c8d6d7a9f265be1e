"""A machine that somebody thinks up, on the ground of a recorded one."""

import random
from importlib.resources import files

import pytest
import tomli

from gemma_edge.errors import UsageError
from gemma_edge.hardware.detect import parse_recording
from gemma_edge.hardware.imagined import pretend
from gemma_edge.planning.speed import gpu_bandwidth
from gemma_edge.units import GIB, MIB
from tests.hardware.machines import load

TABLE = tomli.loads(
    files("gemma_edge.hardware").joinpath("cards.toml").read_text(encoding="utf-8")
)  # fmt: skip
CARDS = {k: v if isinstance(v, list) else [v] for k, v in TABLE["mib"].items()}
COMPUTERS = TABLE["computers_gb"]


@pytest.fixture
def base():
    return parse_recording(load("laptop-without-gpu"))


@pytest.mark.parametrize(
    ("title", "name", "shown", "mib"),
    [
        ("RTX 4060", "CUDA0", "RTX 4060", 8188),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", "CUDA0", "RTX 4060 Laptop", 8188),
        ("rtx 4060 ti 16GB", "CUDA0", "RTX 4060 Ti", 16380),
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


def test_what_shares_its_memory_with_the_processor_never_has_more(base):
    mac = pretend(None, None, "Apple M2 16GB", base)
    half = pretend(None, 8 * GIB, None, mac)
    assert half.devices[0].total_bytes == mac.devices[0].total_bytes // 2
    with pytest.raises(UsageError, match="is more than Apple M2 has"):
        pretend(24 * GIB, None, None, mac)
    with pytest.raises(UsageError, match="is more than Apple M4 has"):
        pretend(24 * GIB, None, "Apple M4 16GB", base)
    assert pretend(12 * GIB, None, "Apple M4 16GB", base).devices[0].total_bytes == 12 * GIB


# What people call their machines: as tools print it, as shops write it, as it is typed.


@pytest.mark.parametrize(
    ("title", "shown", "mib"),
    [
        ("RTX4090", "RTX 4090", 24564),
        ("3060ti", "RTX 3060 Ti", 8192),
        ("4070TiSuper", "RTX 4070 Ti SUPER", 16376),
        ("4060", "RTX 4060", 8188),
        ("7900 xtx", "RX 7900 XTX", 24576),
        ("a770 8GB", "Arc A770", 8192),
        ("A6000", "RTX A6000", 49140),
        ("NVIDIA GeForce RTX 3090, 24576 MiB", "RTX 3090", 24576),
        ("NVIDIA GeForce RTX 4080 Laptop GPU", "RTX 4080 Laptop", 12282),
        ("RTX 4080 Mobile", "RTX 4080 Laptop", 12282),
        ("NVIDIA GeForce RTX 2080 with Max-Q Design", "RTX 2080 Laptop", 8192),
        ("GPU 0: NVIDIA GeForce RTX 3060 (UUID: GPU-8932f937-d72c-4106-c12f-20bd9faed9f6)",
         "RTX 3060", 12288),
        ("NVIDIA GeForce RTX 3060/PCIe/SSE2", "RTX 3060", 12288),
        ("ASUS TUF Gaming GeForce RTX 4070 Ti SUPER 16GB GDDR6X OC Edition",
         "RTX 4070 Ti SUPER", 16376),
        ("MSI GeForce RTX 4060 VENTUS 2X BLACK 8G OC", "RTX 4060", 8188),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX PRO 6000 Blackwell",
         97887),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada", 49140),
        ("NVIDIA A100-SXM4-40GB", "A100 SXM4 40GB", 40960),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80GB", 81920),
        ("NVIDIA H100 80GB HBM3", "H100", 81559),
        ("H100 SXM5 80GB", "H100 SXM5 80GB", 81559),
        ("NVIDIA GH200 480GB", "GH200", 97871),
        ("Tesla V100-SXM2-32GB", "V100 SXM2 32GB", 32768),
        ("Tesla T4", "T4", 15360),
        ("NVIDIA L40S 48GB", "L40S", 46068),
        ("GPU[0]\t\t: Card Series: \t\tAMD Radeon RX 7900 XTX", "RX 7900 XTX", 24576),
        ("AMD Radeon RX 6700 XT (RADV NAVI22)", "RX 6700 XT", 12288),
        ("AMD Instinct MI300X OAM", "Instinct MI300X", 196592),
        ("Intel(R) Arc(TM) B580 Graphics", "Arc B580", 12288),
        ("NVIDIA\u00ae GeForce RTX\u2122 5090 32GB GDDR7", "RTX 5090", 32607),
        ("RTX 4060, 8 GB, 16GB RAM", "RTX 4060", 8188),
    ],
)  # fmt: skip
def test_a_card_in_every_spelling(base, title, shown, mib):
    (device,) = pretend(None, None, title, base).devices
    assert (device.title, device.total_bytes) == (shown, mib * MIB)
    assert not device.integrated


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("RTX 3090, RTX 3060 12GB", ["RTX 3090", "RTX 3060"]),
        ("RTX 3090 + RTX 3060 12GB", ["RTX 3090", "RTX 3060"]),
        ("RTX 3090 and 3060", ["RTX 3090", "RTX 3060"]),
        ("2x RTX 3090", ["RTX 3090"] * 2),
        ("4 x A100 80GB", ["A100"] * 4),
        ("8xH100", ["H100"] * 8),
        ("RTX 3090 x2", ["RTX 3090"] * 2),
        ("dual RTX 3090", ["RTX 3090"] * 2),
        ("2\u00d7 4090", ["RTX 4090"] * 2),
        ("GPU 0: NVIDIA GeForce RTX 3090 (UUID: GPU-8932f937-d72c-4106-c12f-20bd9faed9f6)\n"
         "GPU 1: NVIDIA L4 (UUID: GPU-8932f937-d72c-4106-c12f-20bd9faed9f7)\n",
         ["RTX 3090", "L4"]),
    ],
)  # fmt: skip
def test_several_cards(base, title, expected):
    devices = pretend(None, None, title, base).devices
    assert [each.title for each in devices] == expected
    assert [each.name for each in devices] == [f"CUDA{i}" for i in range(len(expected))]


def test_cards_of_two_makers_meet_in_vulkan(base):
    devices = pretend(None, None, "RTX 3090, RX 7900 XTX", base).devices
    assert [each.name for each in devices] == ["Vulkan0", "Vulkan1"]


@pytest.mark.parametrize(
    ("title", "shown", "gigabytes"),
    [
        ("NVIDIA H100 80GB HBM3 MIG 1g.24gb", "H100 MIG 1g.24gb", 24),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "H100 MIG 1g.10gb", 10),
        ("A100-SXM4-40GB MIG 3g.20gb", "A100 SXM4 40GB MIG 3g.20gb", 20),
        ("A100 MIG 1g.10gb", "A100 80GB MIG 1g.10gb", 10),
        ("MIG 1g.24gb", "MIG 1g.24gb", 24),
        ("1g.24gb", "MIG 1g.24gb", 24),
        ("1g.10gb+me", "MIG 1g.10gb", 10),
        ("MIG 1c.3g.40gb", "MIG 3g.40gb", 40),
        ("GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0)\n"
         "  MIG 1g.5gb      Device  0: (UUID: MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d)\n"
         "  MIG 3g.20gb     Device  1: (UUID: MIG-c7384736-a75d-5afc-978f-d2f1294409fd)\n",
         "A100 SXM4 40GB MIG 3g.20gb", 20),
    ],
)  # fmt: skip
def test_a_slice_has_its_own_memory(base, title, shown, gigabytes):
    (device,) = pretend(None, None, title, base).devices
    assert (device.title, device.mig) == (shown, True)
    assert 0.85 * gigabytes * GIB < device.total_bytes < 0.96 * gigabytes * GIB


@pytest.mark.parametrize(
    ("title", "shown", "gigabytes"),
    [
        ("Mac mini M4 16GB", "Apple M4", 16),
        ("Mac Studio M2 Ultra 192GB", "Apple M2 Ultra", 192),
        ("MacBook Pro 14 M3 Pro 18 GB", "Apple M3 Pro", 18),
        ("MacBook Pro 14-inch M3 Pro, 11-core CPU, 14-core GPU, 18GB Unified Memory, 512GB SSD",
         "Apple M3 Pro", 18),
        ("Apple M4 Pro 48GB unified", "Apple M4 Pro", 48),
        ("iMac 24\" (M3, 8 GB)", "Apple M3", 8),
        ("m1pro 32g", "Apple M1 Pro", 32),
        ("Mac mini M4 16GB/256GB", "Apple M4", 16),
        ("MacBook Air M2", "Apple M2", 8),
        ("Model Name: Mac mini\nModel Identifier: Mac16,10\nChip: Apple M4\n"
         "Total Number of Cores: 10 (4 performance and 6 efficiency)\nMemory: 16 GB",
         "Apple M4", 16),
        ("Jetson Orin Nano 8GB", "Jetson Orin Nano", 8),
        ("NVIDIA Jetson AGX Orin 64GB Developer Kit", "Jetson AGX Orin", 64),
        ("NVIDIA GB10", "GB10", 128),
        ("DGX Spark", "GB10", 128),
        ("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S 128GB", "Radeon 8060S", 128),
        ("Framework Desktop Ryzen AI Max+ 395 64GB", "Radeon 8060S", 64),
        ("Strix Halo", "Radeon 8060S", 32),
        ("Steam Deck OLED 512GB", "Steam Deck", 16),
    ],
)  # fmt: skip
def test_one_memory_is_counted_once(base, title, shown, gigabytes):
    hardware = pretend(None, None, title, base)
    (device,) = hardware.devices
    assert (device.title, device.integrated) == (shown, True)
    total = hardware.memory.total_bytes
    assert 0.9 * gigabytes * GIB < total <= gigabytes * GIB
    assert device.total_bytes <= total == hardware.memory.available_bytes


def test_a_board_without_a_gpu(base):
    hardware = pretend(None, None, "Raspberry Pi 5 Model B 8GB", base)
    assert (hardware.devices, hardware.build.backends) == ((), ("cpu",))
    assert (hardware.cpu.name, hardware.cpu.cores) == ("Raspberry Pi 5", 4)
    assert hardware.memory.total_bytes < 8 * GIB


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("RTX 3060", "sold with 8 GB too"),
        ("Apple M4 Pro", "planned with 24 GB, its least; it is sold with 48 GB and 64 GB too"),
        ("MIG 1g.5gb, MIG 2g.10gb", "of 2 slices a program computes on one: MIG 2g.10gb"),
    ],
)
def test_what_had_to_be_chosen_is_said(base, title, said):
    notes = []
    pretend(None, None, title, base, notes.append)
    assert len(notes) == 1 and said in notes[0]


@pytest.mark.parametrize(
    ("title", "error", "hint"),
    [
        ("RTX 4061", "no card or computer `RTX 4061` is known", "RTX 4060"),
        (
            "GTX 1080 Ti Laptop",
            "GTX 1080 Ti Laptop",
            "GTX 1080 Ti",
        ),  # neither the one nor the other
        ("ThinkPad T14 32GB", "no card or computer", "--vram 0 --ram 32GiB"),
        ("ThinkPad P16 RTX 4080", "no card or computer", "did you mean RTX 4080 Laptop"),
        ("ROG Strix G16 RTX 4090", "no card or computer", "RTX 4090"),
        ("RTX 6000", "no card or computer", "RTX 6000 Ada"),
        ("GTX 4090", "no card or computer", "RTX 4090"),
        ("GeForce 7900 XTX", "no card or computer", "RX 7900 XTX"),
        ("RTX 3090 RTX 3090", "no card or computer", "RTX 3090"),
        ("Radeon RX 7900 XT/7900 XTX", "no card or computer", "RX 7900 XT"),
        ("Mac mini M4 and RTX 3090", "is no Mac that is known", "Apple M4"),
        ("RTX 4090 Laptop 24GB", "RTX 4090 Laptop has 16 GB, not 24GB", "--ram"),
        ("RTX 4060 16GB", "RTX 4060 has 8 GB, not 16GB", "--ram"),
        ("Apple M4 Pro 16GB", "Apple M4 Pro has 24 GB, 48 GB or 64 GB of memory", "--ram"),
        ("M3 Ultra 256GB 512GB", "not 256GB and 512GB", "--ram"),
        ("iMac", "does not say its chip", "Apple M1"),
        ("MacBook Pro 2019 Intel i9", "is no Mac that is known", "chip"),
        ("Orin", "no card or computer", "Jetson Orin Nano"),
        ("MIG-c7384736-a75d-5afc-978f-d2f1294409fd", "is a serial number", "nvidia-smi -L"),
        ("RTX 3090 MIG 1g.10gb", "RTX 3090 has no slice 1g.10gb", "mig -lgip"),
        ("A30 MIG 3g.40gb", "A30 has no slice 3g.40gb", "mig -lgip"),
        ("Ryzen 7 7840HS", "no card or computer", "--vram 0"),
        ("100x H100", "are 100 cards", "1 to 16"),
        ("9x H100, 9x A100", "are 18 cards", "16 at most"),
        ("16 GB", "no card or computer", "--vram"),
        ("GPU", "no card or computer", "--vram"),
        ("x" * 3000, "3,000 characters", "RTX 4060"),
        ("RTX \x1b[31m4061", "no card or computer", "RTX"),
    ],
)
def test_what_is_not_understood_is_refused(base, title, error, hint):
    with pytest.raises(UsageError) as wrong:
        pretend(None, None, title, base)
    assert error in wrong.value.message
    assert hint in wrong.value.hint
    assert wrong.value.message.isprintable() and len(wrong.value.message) < 200


@pytest.mark.parametrize(
    ("vram", "ram", "title", "error"),
    [
        (24 * GIB, None, "RTX 4060 Laptop", "--vram 24.0 GiB is more than RTX 4060 Laptop has"),
        (12 * GIB, None, "RTX 3060 8GB", "is there twice: 8.0 GiB in `RTX 3060 8GB`, --vram 12.0"),
        (24 * GIB, None, "2x RTX 3090", "--vram is one card's memory"),
        (0, None, "RTX 3090", "--vram 0, which is no GPU"),
        (None, 32 * GIB, "Mac mini M4 16GB", "main memory is there twice"),
        (None, 32 * GIB, "RTX 3090 with 64GB RAM", "main memory is there twice"),
        (20 * GIB, None, "H100 MIG 1g.10gb", "is more than H100 MIG 1g.10gb has"),
    ],
)
def test_two_amounts_of_one_memory(base, vram, ram, title, error):
    with pytest.raises(UsageError) as wrong:
        pretend(vram, ram, title, base)
    assert error in wrong.value.message


def test_a_card_that_only_its_owner_knows(base):
    notes = []
    (device,) = pretend(8 * GIB, None, "RTX 4061", base, notes.append).devices
    assert (device.title, device.total_bytes) == ("RTX 4061", 8 * GIB)
    assert "`RTX 4061` is not known" in notes[0]
    with pytest.raises(UsageError):
        pretend(8 * GIB, None, "ThinkPad T14 32GB", base)


def spellings(name: str) -> list[str]:
    """What a name can look like: case, spaces, makers, the order of its words."""
    words = name.split()
    maker = {"rx": "AMD Radeon", "instinct": "AMD", "arc": "Intel(R)"}.get(words[0], "NVIDIA")
    found = [name, name.upper(), f"  {name.title()}  ", name.replace(" ", "-"), f"{maker} {name}",
             name.replace(" ", "_"), f"{maker} {name} GPU", name.replace(" ", "")]  # fmt: skip
    chance = random.Random(name)
    for _ in range(3):
        found.append(" ".join(chance.sample(words, len(words))))
    return found


def test_every_known_card_is_found_in_every_spelling_or_refused_and_never_another_one(base):
    found = 0
    for name, sold in CARDS.items():
        for title in spellings(name):
            try:
                (device,) = pretend(None, None, title, base).devices
            except UsageError:
                assert title == name.replace(" ", ""), title
                continue
            found += 1
            assert device.title.lower() == name, title
            assert device.total_bytes == sold[0] * MIB
    assert found > 10 * len(CARDS)


def test_every_size_that_a_card_is_sold_with(base):
    for name, sold in CARDS.items():
        for mib in sold:
            (device,) = pretend(None, None, f"{name} {mib}MiB", base).devices
            assert device.total_bytes == mib * MIB, name


def test_a_laptop_never_has_more_than_its_own(base):
    for name in CARDS:
        desktop = name.removesuffix(" laptop")
        for word in ("Laptop", "Mobile", "Max-Q", "notebook"):
            if f"{desktop} laptop" in CARDS:
                (device,) = pretend(None, None, f"{desktop} {word}", base).devices
                assert device.total_bytes == CARDS[f"{desktop} laptop"][0] * MIB
            else:
                with pytest.raises(UsageError):
                    pretend(None, None, f"{desktop} {word}", base)
        if name != desktop:
            with pytest.raises(UsageError):
                pretend(None, None, f"{name} {max(CARDS[name]) // 1024 + 4}GB", base)


def test_every_computer_in_every_amount(base):
    for name, sold in COMPUTERS.items():
        for gigabytes in sold:
            hardware = pretend(None, None, f"{name} {gigabytes}GB", base)
            assert 0.9 * gigabytes * GIB < hardware.memory.total_bytes <= gigabytes * GIB, name
            for device in hardware.devices:
                assert device.total_bytes <= hardware.memory.total_bytes
        with pytest.raises(UsageError):
            pretend(None, None, f"{name} {max(sold) * 2 + 1}GB", base)


def test_the_speed_of_every_known_memory_is_known(base):
    for title in [*CARDS, *COMPUTERS]:
        for device in pretend(None, None, title, base).devices:
            assert "assumed" not in gpu_bandwidth(device, base)[1], title
