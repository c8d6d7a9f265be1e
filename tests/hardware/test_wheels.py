"""The install command: the same choice as scripts/setup.py makes, without the checkout."""

import pytest
from install import accelerator, llama

from gemma_edge.hardware.cpu import Cpu
from gemma_edge.hardware.nvidia import Card, Nvidia
from gemma_edge.hardware.text import Answers
from gemma_edge.hardware.wheels import (
    CUDA_LINUX,
    CUDA_WINDOWS,
    INDEX,
    cuda_tag,
    install_command,
    processor_flags,
)

CPU = Cpu(8, "8 physical cores")


def nvidia(cuda, capability):
    card = Card(pci_id="0000:01:00.0", title="a card", source="NVML", capability=capability)
    return Nvidia(cards=(card,), driver="550.120", cuda=cuda)


def test_the_tables_are_those_of_the_set_up_script():
    assert CUDA_LINUX == accelerator._CUDA_LINUX
    assert CUDA_WINDOWS == accelerator._CUDA_WINDOWS
    assert INDEX == llama.INDEX


@pytest.mark.parametrize("system", ["linux", "win32"])
@pytest.mark.parametrize("cuda", [(11, 4), (11, 8), (12, 2), (12, 4), (12, 8), (13, 0), (13, 2)])
@pytest.mark.parametrize("capability", ["6.1", "7.5", "8.9", "12.0", ""])
def test_the_choice_is_that_of_the_set_up_script(system, cuda, capability):
    numbers = tuple(map(int, capability.split("."))) if capability else (0, 0)
    known = accelerator.Nvidia(("a card",), "550.120", cuda, numbers)
    assert cuda_tag(nvidia(cuda, capability), system) == accelerator._cuda_tag(known, system)


@pytest.mark.parametrize(
    ("recording", "backend", "end"),
    [
        ({"checkout": True}, "cuda", "python3 scripts/setup.py --backend cuda"),
        ({"system": "linux", "machine": "x86_64"}, "cuda", f"{INDEX}/cu124"),
        ({"system": "linux", "machine": "aarch64"}, "cuda", '-C "cmake.args=-DGGML_CUDA=ON"'),
        ({"system": "linux", "machine": "x86_64"}, "vulkan", f"{INDEX}/vulkan"),
        ({"system": "win32", "machine": "AMD64"}, "vulkan", '-C "cmake.args=-DGGML_VULKAN=ON"'),
        ({"system": "darwin", "machine": "arm64"}, "metal", f"{INDEX}/metal"),
        ({"system": "linux", "machine": "x86_64"}, "rocm", '-C "cmake.args=-DGGML_HIP=ON"'),
        ({"system": "linux", "machine": "x86_64"}, "cpu", "llama-cpp-python llama-cpp-python"),
    ],
)
def test_the_command(recording, backend, end):
    found = install_command(Answers(recording), backend, nvidia((12, 4), "8.6"), CPU)
    assert found.endswith(end)


def test_amx_is_never_asked_for():
    words = ("avx", "avx2", "avx512f", "amx_int8", "amx_tile")
    flags = processor_flags(Cpu(8, "", instructions=words))
    assert "-DGGML_NATIVE=OFF" in flags
    assert "-DGGML_AVX2=ON" in flags
    assert "-DGGML_AVX512=OFF" in flags  # it compiles with parts that this processor has not
    assert not any("AMX" in flag for flag in flags)
