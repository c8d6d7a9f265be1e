"""Machines as literals, and everything else that a check looks at, fine unless said otherwise."""

from dataclasses import replace
from pathlib import Path

from gemma_edge.doctor import CPU, Decode, Facts, Hub, ModelFolder, Python, Terminal
from gemma_edge.hardware.machine import Build, Cpu, Device, Finding, Hardware, Memory

GIB = 1 << 30
BUILT_AVX2 = ("SSE3", "SSSE3", "AVX", "AVX2", "F16C", "FMA", "BMI2", "LLAMAFILE", "REPACK")
GREETING = "Hello! How can I help you?"

RTX = Device(
    name="CUDA0", title="RTX 4060 Laptop", backend="cuda", integrated=False,
    total_bytes=8 * GIB, free_bytes=int(7.6 * GIB), pci_id="0000:01:00.0", driver="580.65",
    capability="8.9",
)  # fmt: skip
UNSEEN = replace(RTX, name="", backend="")

LAPTOP = Hardware(
    system="linux",
    cpu=Cpu(4, "4 physical cores", name="Core i5-8250U"),
    memory=Memory(11 * GIB, "11.0 GiB are available", 16 * GIB),
    build=Build(version="0.3.36", instructions=BUILT_AVX2),
)
GAMING = replace(
    LAPTOP, build=replace(LAPTOP.build, backends=("cpu", "cuda")), devices=(RTX,)
)  # fmt: skip
OFFICE = replace(LAPTOP, devices=(replace(UNSEEN, title="UHD Graphics 620", integrated=True),))
CPU_BUILD = replace(
    LAPTOP, devices=(UNSEEN,),
    findings=(
        Finding("problem", "llama.cpp",
                "your llama.cpp is built without CUDA: RTX 4060 Laptop is here and not used",
                "pip install llama-cpp-python --extra-index-url https://wheels/cu124"),
    ),
)  # fmt: skip
NO_CUBLAS = replace(
    GAMING,
    build=Build(version="0.3.36", error="libcublas.so.12: cannot open shared object file"),
    devices=(UNSEEN,),
    findings=(
        Finding("problem", "CUDA libraries", "libcublas.so.12 missing: llama.cpp was built for "
                "CUDA, whose libraries are not here", "pip install nvidia-cublas-cu12"),
    ),
)  # fmt: skip
BROKEN_DRIVER = replace(
    GAMING, devices=(),
    findings=(
        Finding("problem", "driver", "the NVIDIA driver does not answer", "sudo reboot"),
    ),
)  # fmt: skip
CLUSTER = Finding(
    "warning", "cluster", "this is a login node: it has no GPU", "srun --gres=gpu:1 --pty bash"
)
LOGIN = replace(LAPTOP, findings=(CLUSTER,))
LOGIN_CUDA = replace(
    LAPTOP, build=Build(version="0.3.36", error="libcuda.so.1: cannot open shared object file"),
    findings=(CLUSTER, Finding("warning", "driver", "no driver; the nodes with a GPU have it")),
)  # fmt: skip
SLICE = replace(RTX, title="H100 MIG 2g.20gb", mig=True, total_bytes=20 * GIB, free_bytes=19 * GIB)
MIG = replace(
    GAMING, devices=(SLICE,),
    findings=(Finding("fine", "MIG", "CUDA0 is a slice of 20.0 GiB; only that counts"),),
)  # fmt: skip
WSL = replace(
    GAMING, wsl=True,
    findings=(Finding("fine", "memory", "WSL moves video memory to main memory in silence"),),
)  # fmt: skip
CONTAINER = replace(
    LAPTOP, memory=Memory(2 * GIB, "the cgroup leaves 2.0 GiB of 60.0 GiB", 6 * GIB)
)


def facts(hardware: Hardware = LAPTOP, **more) -> Facts:
    """``hardware`` in fine surroundings; every usable device decodes as the processor does."""
    names = [] if hardware.build.error else [CPU, *(d.name for d in hardware.devices if d.usable)]
    return Facts(
        **{
            "hardware": hardware,
            "python": Python("3.12.4", 64, "x86_64"),
            "terminal": Terminal(attached=True, encoding="UTF-8", width=80, colours=True),
            "models": ModelFolder(folder=Path("models"), free_bytes=212 * GIB, writable=True),
            "hub": Hub("https://hub", 0.2),
            "decodes": tuple(
                Decode(device=name, answer=GREETING, tokens=23, seconds=0.3) for name in names
            ),
        }
        | more
    )
