"""The install command: the same choice as scripts/setup.py makes, without the checkout."""

import pytest
from install import accelerator, llama

from gemma_edge.doctor import parse_fix
from gemma_edge.hardware.detect import parse_recording
from gemma_edge.hardware.gpus import (
    CUDA_LINUX,
    CUDA_WINDOWS,
    INDEX,
    ROCM_LINUX,
    ROCM_MAJOR,
    ROCM_VERSION_FILE,
    ROCM_WINDOWS,
    Card,
    Nvidia,
    cuda_tag,
    install_command,
    processor_flags,
)
from gemma_edge.hardware.machine import Answers, Cpu
from tests.hardware.machines import load

CPU = Cpu(8, "8 physical cores")


def nvidia(cuda, capability):
    card = Card(pci_id="0000:01:00.0", title="a card", source="NVML", capability=capability)
    return Nvidia(cards=(card,), driver="550.120", cuda=cuda)


def test_the_tables_are_those_of_the_set_up_script():
    assert CUDA_LINUX == accelerator._CUDA_LINUX
    assert CUDA_WINDOWS == accelerator._CUDA_WINDOWS
    assert ROCM_LINUX == accelerator._ROCM_LINUX
    assert ROCM_WINDOWS == accelerator._ROCM_WINDOWS
    assert ROCM_MAJOR == accelerator._ROCM_MAJOR
    assert len(ROCM_LINUX) == 11
    assert INDEX == llama.INDEX


@pytest.mark.parametrize("system", ["linux", "win32"])
@pytest.mark.parametrize("cuda", [(11, 4), (11, 8), (12, 2), (12, 4), (12, 8), (13, 0), (13, 2)])
@pytest.mark.parametrize("capability", ["5.2", "6.1", "7.5", "8.9", "12.0", ""])
def test_the_choice_is_that_of_the_set_up_script(system, cuda, capability):
    numbers = (tuple(map(int, capability.split("."))),) if capability else ()
    known = accelerator.Nvidia(("a card",), "550.120", cuda, numbers)
    assert cuda_tag(nvidia(cuda, capability), system) == accelerator._cuda_tag(known, system)


@pytest.mark.parametrize(
    ("recording", "backend", "end"),
    [
        ({"checkout": True}, "cuda", "python3 scripts/setup.py --backend cuda"),
        ({"system": "linux", "machine": "x86_64"}, "cuda", f"{INDEX}/cu124"),
        ({"system": "linux", "machine": "aarch64"}, "cuda", '-C "cmake.args=-DGGML_CUDA=ON"'),
        ({"system": "linux", "machine": "x86_64"}, "vulkan", f"{INDEX}/vulkan"),
        ({"system": "win32", "machine": "AMD64"}, "vulkan", f"{INDEX}/vulkan"),
        ({"system": "linux", "machine": "aarch64"}, "vulkan", '-C "cmake.args=-DGGML_VULKAN=ON"'),
        ({"system": "darwin", "machine": "arm64"}, "metal", f"{INDEX}/metal"),
        ({"system": "linux", "machine": "x86_64"}, "rocm", '-C "cmake.args=-DGGML_HIP=ON"'),
        ({"system": "linux", "machine": "x86_64"}, "cpu", "llama-cpp-python llama-cpp-python"),
    ],
)
def test_the_command(recording, backend, end):
    found = install_command(Answers(recording), backend, nvidia((12, 4), "8.6"), CPU)
    assert found.endswith(end)


CARD = "/sys/bus/pci/devices/0000:03:00.0/uevent"
KFD = "/sys/class/kfd/kfd/topology/nodes"
INDEXED = {"rocm72": f"{INDEX}/rocm72", "hip-radeon": f"{INDEX}/hip-radeon"}


def radeon(model: str, **files: str) -> dict[str, object]:
    """Linux with an AMD card of this PCI id, and files of its kernel."""
    slot = f"PCI_CLASS=30000\nPCI_ID=1002:{model}\nPCI_SLOT_NAME=0000:03:00.0\nDRIVER=amdgpu"
    return {"system": "linux", "machine": "x86_64", "files": {CARD: slot, **files}}


def windows_radeon(model: str) -> dict[str, object]:
    adapter = {"title": "AMD Radeon RX", "id": f"pci\\ven_1002&dev_{model}&x", "memory": 1 << 34}
    return {"system": "win32", "machine": "AMD64", "windows": {"adapters": [adapter]}}


@pytest.mark.parametrize(
    ("recording", "tag"),
    [
        (radeon("744C"), "rocm72"),
        (radeon("7550"), "rocm72"),
        (radeon("73DF"), ""),  # gfx1031 is in the wheel for Windows only
        (radeon("FFFF"), ""),  # nobody knows it
        (radeon("FFFF", **{f"{KFD}/1/properties": "gfx_target_version 110000\nlocation_id 768\n"}),
         "rocm72"),
        (radeon("FFFF", **{f"{KFD}/1/properties": "gfx_target_version 90010\nlocation_id 768\n"}),
         "rocm72"),
        (radeon("744C", **{f"{KFD}/1/properties": "gfx_target_version 100306\nlocation_id 768\n"}),
         ""),
        (radeon("744C", **{ROCM_VERSION_FILE: "6.4.1-83"}), ""),
        (radeon("744C", **{ROCM_VERSION_FILE: "7.2.0-43"}), "rocm72"),
        (windows_radeon("747e"), "hip-radeon"),
        (windows_radeon("73df"), "hip-radeon"),
        (windows_radeon("74a1"), ""),
    ],
)  # fmt: skip
def test_the_wheels_for_amds_cards(recording, tag):
    found = install_command(Answers(recording), "rocm", Nvidia(), CPU)
    assert found.endswith(INDEXED.get(tag, '-C "cmake.args=-DGGML_HIP=ON"'))


def test_who_has_the_hip_build_for_windows_gets_that_one_again():
    probe = {"status": -11, "llama": {"found": True, "version": "0.3.36", "libraries": ["hip"]}}
    hardware = parse_recording({**windows_radeon("747e"), "probe": probe})
    assert [each.fix.rpartition("/")[2] for each in hardware.findings] == ["hip-radeon"]
    probe["llama"]["libraries"] = ["vulkan"]
    hardware = parse_recording({**windows_radeon("747e"), "probe": probe})
    assert [each.fix.rpartition("/")[2] for each in hardware.findings] == ["vulkan"]


def test_a_card_that_no_wheel_serves_does_not_choose_the_wheel_of_the_others():
    old, new = nvidia((13, 0), "5.2").cards[0], nvidia((13, 0), "12.0").cards[0]
    assert cuda_tag(Nvidia(cards=(old,), cuda=(13, 0)), "linux") == ""
    assert cuda_tag(Nvidia(cards=(old, new), cuda=(13, 0)), "linux") == "cu130"


OLD = Cpu(4, "4 physical cores", instructions=("sse4_2",))
NEW = Cpu(8, "8 physical cores", instructions=("avx", "avx2", "fma", "f16c", "bmi2"))


@pytest.mark.parametrize("backend", ["cuda", "vulkan"])
@pytest.mark.parametrize("cpu", [NEW, OLD, CPU])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_from_source_it_names_the_accelerator_and_takes_nothing_of_the_build_machine(
    backend, cpu, machine
):
    recording = Answers({"system": "linux", "machine": machine})
    known = nvidia((12, 4), "8.6")
    found = install_command(recording, backend, known, cpu, source=True)
    assert "--no-binary llama-cpp-python" in found
    assert INDEX not in found
    assert f"-DGGML_{backend.upper()}=ON;-DGGML_NATIVE=OFF" in found
    assert ("-DGGML_AVX2=ON" in found) == (cpu is NEW)
    assert ("-DGGML_AVX=OFF" in found) == (cpu is OLD and machine == "x86_64")
    assert parse_fix(found, "python") is not None  # doctor --fix runs it


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("rtx-3060", {"build": "AVX512"}), ("rtx-3060", {"build": "AMX"}),
        ("rtx-3060", {"status": -4}),
        ("windows-rtx-4070-wddm", {"status": 0xC000001D}),
    ],
)  # fmt: skip
def test_instructions_that_the_processor_refuses_are_not_mended_by_the_same_wheel(name, changes):
    recording = load(name)
    probe = recording["probe"]
    info = probe["ggml"]["system_info"]
    if changes.get("build") == "AVX512":
        probe["ggml"]["system_info"] = f"{info} AVX512 = 1 |"
    elif changes.get("build") == "AMX":
        probe["ggml"]["system_info"] = f"{info} AMX_INT8 = 1 |"
        lines = recording["files"]["/proc/cpuinfo"]
        recording["files"]["/proc/cpuinfo"] = [
            f"{line} hypervisor" if line.startswith("flags") else line for line in lines
        ]
    else:
        del probe["ggml"]
        probe["status"] = changes["status"]
    hardware = parse_recording(recording)
    fixes = [each.fix for each in hardware.findings if "llama.cpp" in each.text + each.what]
    fixes = [fix for fix in fixes if fix.startswith("pip install")]
    assert fixes
    for fix in fixes:
        assert "-DGGML_CUDA=ON" in fix and "-DGGML_NATIVE=OFF" in fix
        assert INDEX not in fix


def test_amx_is_never_asked_for():
    words = ("avx", "avx2", "avx512f", "amx_int8", "amx_tile")
    flags = processor_flags(Cpu(8, "", instructions=words))
    assert "-DGGML_NATIVE=OFF" in flags
    assert "-DGGML_AVX2=ON" in flags
    assert "-DGGML_AVX512=OFF" in flags  # it compiles with parts that this processor has not
    assert not any("AMX" in flag for flag in flags)
