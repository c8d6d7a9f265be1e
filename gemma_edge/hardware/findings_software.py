"""Findings about the software: llama.cpp's build, CUDA's libraries, drivers. Pure.

Each function looks at one cause and yields what it found, or nothing.
"""

from collections.abc import Iterator

from gemma_edge.hardware.build import lacking, parse_architectures, unused
from gemma_edge.hardware.cuda import DRIVER_LIBRARIES, CudaLibraries
from gemma_edge.hardware.devices import BACKENDS
from gemma_edge.hardware.facts import Facts
from gemma_edge.hardware.machine import Finding
from gemma_edge.hardware.text import parse_pairs

_RESTART = {  # how a container is given the host's card
    "docker": "docker run --gpus all ...",
    "podman": "podman run --device nvidia.com/gpu=all ...",
    "apptainer": "apptainer exec --nv ...",
}
_NO_DEVICE = "no CUDA-capable device"  # cudaErrorNoDevice
_HIDING = {  # the variable that hides devices from a backend
    "cuda": "CUDA_VISIBLE_DEVICES",
    "rocm": "HIP_VISIBLE_DEVICES",
    "vulkan": "GGML_VK_VISIBLE_DEVICES",
}


def look_at_libraries(facts: Facts) -> Iterator[Finding]:
    """The installed llama.cpp cannot be loaded, or needs libraries that lie elsewhere."""
    error = facts.hardware.build.error
    found = facts.answers.part("probe").part("cuda_libraries")
    missing = found.words("missing")
    if driver := next((name for name in DRIVER_LIBRARIES if name in missing or name in error), ""):
        text = f"{driver} is missing: llama.cpp was built for CUDA, and here is no NVIDIA driver"
        if facts.on_login_node or facts.job_without_gpu:
            yield Finding("warning", "driver", f"{text}; the nodes with a GPU have it")
        elif not facts.shut_out:  # the driver's finding says what a container lacks
            yield Finding("problem", "driver", text, facts.install("cpu"))
    elif missing:
        verb = "is" if len(missing) == 1 else "are"
        text = f"{', '.join(missing)} {verb} missing: this llama.cpp was built for CUDA"
        fix = CudaLibraries(present=True, missing=missing).fix
        yield Finding("problem", "CUDA libraries", text, fix or "install the CUDA toolkit")
    elif error:
        hangs = facts.answers.part("probe").raw.get("status", 0) is None
        fix = "restart the machine" if hangs else facts.install()
        yield Finding("problem", "llama.cpp", f"cannot be used: {error}", fix)
    elif found.words("loaded"):
        text = f"{', '.join(found.words('loaded'))} from packages of this environment"
        yield Finding("fine", "CUDA libraries", text)


def look_at_driver(facts: Facts) -> Iterator[Finding]:
    """NVIDIA's driver does not answer, or is not there."""
    listed = [card for card in facts.cards if card.vendor == "nvidia"]
    there = listed or facts.answers.has("/dev/nvidiactl") or facts.hardware.wsl
    said = facts.nvidia.broken
    if facts.nvidia.cards or not there or facts.job_without_gpu:
        return  # libraries of a driver lie on many machines that have no card
    if facts.shut_out:
        text = "the host has an NVIDIA card, and this container was started without it"
        yield Finding("problem", "driver", text, _RESTART[facts.in_container])
    elif said or (listed and listed[0].driver == "nvidia"):
        yield Finding("problem", "driver", *_explain(said, facts))
    elif listed and listed[0].pci_id not in {"", *(device.pci_id for device in facts.usable)}:
        uses = f"uses {listed[0].driver}" if listed[0].driver else "has no driver"
        text = f"the NVIDIA card at PCI {listed[0].pci_id} {uses}, which cannot compute"
        yield Finding("problem", "driver", text, "install NVIDIA's driver, then restart")


def _explain(said: str, facts: Facts) -> tuple[str, str]:
    """The tools' words in ours, and the way out."""
    low = said.lower()
    if not said:
        return "the NVIDIA driver does not answer", "sudo reboot"
    if "mismatch" in low:
        text = "the NVIDIA driver was updated while the old one runs: its halves do not match"
        fix = "sudo reboot"
    elif "unknown error" in low and facts.in_container:
        text, fix = "this container lost its NVIDIA card", "start the container again"
    elif any(words in low for words in ("lost", "requires restart", "no devices")):
        text, fix = "the NVIDIA card stopped answering", "sudo reboot"
    elif "permission" in low:
        text = "this user may not use the NVIDIA card"
        fix = "sudo usermod -aG video,render $USER"
    else:
        kernel = facts.answers.text("kernel") or "that runs"
        text = "the NVIDIA driver does not answer"
        fix = f"reinstall NVIDIA's driver for kernel {kernel}, then restart"
    return f"{text} ({said.rstrip('.')})", fix


def look_at_idle_nvidia(facts: Facts) -> Iterator[Finding]:
    """A card that answers and that llama.cpp does not use: the most common failure."""
    idle, build = facts.idle_nvidia, facts.hardware.build
    if not idle or build.error:
        return
    names = " and ".join(card.title for card in idle)
    if "cuda" not in build.backends:
        driver = f" (driver {facts.nvidia.driver})" if facts.nvidia.driver else ""
        text = f"your llama.cpp is built without CUDA: {names}{driver} is here and not used"
        yield Finding("problem", "GPU", text, facts.install("cuda"))
    elif any(card.mig for card in idle):
        serial = next((piece.serial for card in idle for piece in card.slices), "")
        if serial:
            text = f"{names} is cut into slices (MIG), and none of them is chosen"
            yield Finding("problem", "MIG", text, f"export CUDA_VISIBLE_DEVICES={serial}")
        else:
            text = f"{names} is in MIG mode and has no slice that we may use"
            yield Finding("problem", "MIG", text, "sudo nvidia-smi mig -i 0 -cgi 0 -C")
    else:
        log = facts.answers.part("probe").part("ggml").text("log").splitlines()
        why = next((line.split(": ", 1)[-1] for line in log if "failed to initialize" in line), "")
        text = f"llama.cpp's CUDA backend does not see {names}" + (f": {why}" if why else "")
        # SLURM sets the variable in every job: it is the cause only where CUDA says "no device".
        hidden = _hidden(facts, "cuda", names) if not why or _NO_DEVICE in why else None
        yield hidden or Finding("problem", "GPU", text, facts.install("cuda"))


def _hidden(facts: Facts, backend: str, names: str) -> Finding | None:
    """A variable keeps the card from llama.cpp; wanted, where another one is left."""
    variable = _HIDING.get(backend, "")
    if variable not in facts.answers.part("environment").raw:
        return None
    text = f"{variable}={facts.answers.variable(variable)} hides {names}"
    if facts.usable:
        return Finding("fine", "GPU", text)
    return Finding("warning", "GPU", text, f"unset {variable}")


def look_at_idle_others(facts: Facts) -> Iterator[Finding]:
    """AMD, Intel and Apple graphics that llama.cpp does not use."""
    build, answers = facts.hardware.build, facts.answers
    idle = [card for card in facts.idle if card.vendor != "nvidia"]
    for card in () if build.error else idle:
        backend = "vulkan" if card.integrated else facts.best_backend
        if backend in build.backends:
            hidden = _hidden(facts, backend, card.title)
            text = f"llama.cpp's {BACKENDS[backend]} backend does not see {card.title}"
            yield hidden or Finding("warning", "GPU", text)
        elif not card.integrated:
            text = f"your llama.cpp is built without {BACKENDS[backend]}: {card.title} is here"
            text += " and not used"
            yield Finding("problem", "GPU", text, facts.install(backend))
        elif card.vendor == "amd" and not facts.usable:
            text = f"{card.title} is part of the processor and not used; Vulkan may be faster"
            yield Finding("fine", "GPU", text, facts.install("vulkan"))
    on_apple = answers.system == "darwin" and answers.text("machine") == "arm64"
    if on_apple and not facts.usable and not build.error:
        text = "your llama.cpp is built without Metal: this Mac's GPU is not used"
        yield Finding("problem", "GPU", text, facts.install("metal"))


def look_at_processor(facts: Facts) -> Iterator[Finding]:
    """The build against the processor, and against the cards' age."""
    build, cpu = facts.hardware.build, facts.hardware.cpu
    sysctl = parse_pairs(facts.answers.command("sysctl").text("output"))
    if sysctl.get("sysctl.proc_translated") == "1":
        text = "this Python runs under Rosetta, translated: no Metal, and several times slower"
        yield Finding("problem", "python", text, "install Python for Apple silicon (arm64)")
        return  # what the processor seems to have is not what this Python gets
    if short := lacking(build, cpu, facts.hardware.system):
        text = f"llama.cpp is built for {', '.join(short)}, which this processor does not have"
        yield Finding("problem", "instructions", text, facts.install())
    if waste := unused(build, cpu):
        text = f"llama.cpp is built without {', '.join(waste)}, which this processor has: slow"
        yield Finding("warning", "instructions", text, facts.install())
    if "AMX_INT8" in build.instructions and "hypervisor" in cpu.instructions:
        text = "llama.cpp is built for AMX, which virtual machines refuse (illegal instruction)"
        yield Finding("warning", "instructions", text, facts.install())
    info = facts.answers.part("probe").part("ggml").text("system_info")
    oldest = min(parse_architectures(info), default=(0, 0))
    for card in (card for card in facts.cards if card not in facts.idle):
        if (0, 0) < card.version < oldest:
            text = f"{card.title} (compute capability {card.capability}) is too old for this build"
            yield Finding("problem", "GPU", text, facts.install("cuda"))
