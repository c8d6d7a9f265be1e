"""Checks of the machine itself: llama.cpp, GPUs, memory, and a decode on each device."""

from gemma_edge.doctor.check import Check
from gemma_edge.doctor.facts import CPU, Decode, Facts
from gemma_edge.doctor.surroundings import smallest_model
from gemma_edge.hardware.devices import BACKENDS
from gemma_edge.hardware.machine import Device
from gemma_edge.units import render_bytes

# Findings that say why a build for CUDA does not load.
_CAUSES = ("CUDA libraries", "driver")
# Of ggml's words, each says all that come after it.
_NEWEST = ("AVX512", "AVX2", "AVX", "SVE", "MATMUL_INT8", "DOTPROD", "NEON")


def check_build(facts: Facts) -> list[Check]:
    """Which llama.cpp, built for what."""
    build = facts.hardware.build
    if build.error:
        findings = {each.what for each in facts.hardware.findings if each.state != "fine"}
        cause = next((name for name in _CAUSES if name in findings), "")
        if cause:  # one problem, not two
            seen = f"{build.version or 'it'} cannot be loaded"
            return [Check("llama.cpp", "skipped", seen, f"see {cause}")]
        return [Check("llama.cpp", "problem", build.error, "nothing can be computed")]
    backends = " and ".join(BACKENDS.get(each, each) for each in build.backends)
    return [Check("llama.cpp", "fine", f"{build.version}, built for {backends}")]


def check_processor(facts: Facts) -> list[Check]:
    """Its cores, and what of it llama.cpp was compiled for."""
    cpu, built = facts.hardware.cpu, facts.hardware.build.instructions
    seen = f"{cpu.name}, {cpu.reason}" if cpu.name else cpu.reason
    newest = next((word for word in _NEWEST if word in built), "")
    uses = f"; llama.cpp uses {newest}" if newest else ""
    return [Check("processor", "fine", f"{seen}{uses}")]


def check_driver(facts: Facts) -> list[Check]:
    """The driver of each maker, once."""
    drivers = dict.fromkeys(each.driver for each in facts.hardware.devices if each.driver)
    return [Check("driver", "fine", ", ".join(drivers))] if drivers else []


def check_gpus(facts: Facts) -> list[Check]:
    """Every card, whether llama.cpp can use it or not."""
    devices = facts.hardware.devices
    if not devices:
        return [Check("GPU", "skipped", "none here", "the processor does the work")]
    return [_gpu(device) for device in devices]


def check_memory(facts: Facts) -> list[Check]:
    """Main memory as far as we may take it."""
    memory, name = facts.hardware.memory, "memory"
    free = memory.available_bytes
    if free is None:
        return [Check(name, "warning", memory.reason)]
    total = f" of {render_bytes(memory.total_bytes)}" if memory.total_bytes else ""
    seen = f"{render_bytes(free)}{total} free"
    if not memory.reason.endswith("are available"):  # a limit of ours, not the machine's
        seen += f" ({memory.reason})"
    title, smallest = smallest_model()
    if free < smallest:
        return [
            Check(name, "warning", seen,
                  f"the smallest model, {title}, has {render_bytes(smallest)} of weights",
                  "close other programs, or ask for a larger container or job")
        ]  # fmt: skip
    return [Check(name, "fine", seen)]


def check_decodes(facts: Facts) -> list[Check]:
    """What was tried, then what could not be."""
    reference = next((each.answer for each in facts.decodes if each.device == CPU), "")
    checks = [_decode(each, facts, reference) for each in facts.decodes]
    if facts.hardware.build.error:
        return [Check("CPU decode", "skipped", "not tried", "llama.cpp cannot be loaded")]
    devices = facts.hardware.devices
    blind = [each.title for each in devices if not each.usable and not each.integrated]
    if blind:
        why = f"llama.cpp does not see the {' and the '.join(blind)}"
        checks.append(Check("GPU decode", "skipped", "not tried", why))
    return checks


def _gpu(device: Device) -> Check:
    words = [device.title]
    if device.total_bytes:
        total = render_bytes(device.total_bytes)
        free = f"{render_bytes(device.free_bytes)} of {total} free"
        words.append(free if device.free_bytes or device.usable else total)  # 0: nobody says
    if device.integrated:
        words.append("its memory is main memory")
    if device.mig:
        words.append("a slice (MIG)")
    if device.capability:
        words.append(f"compute capability {device.capability}")
    if device.usable:
        return Check("GPU", "fine", ", ".join([*words, f"as {device.name}"]))
    why = "part of the processor, not used" if device.integrated else "llama.cpp does not see it"
    return Check("GPU", "skipped", ", ".join(words), why)


def _decode(tried: Decode, facts: Facts, reference: str) -> Check:
    titles = {each.name: each.title for each in facts.hardware.devices if each.name}
    on = titles.get(tried.device, "")
    name = "GPU decode" if on else "CPU decode"
    where = f"{on}: " if on else ""
    if tried.trouble:
        findings = facts.hardware.findings
        fix = next((each.fix for each in findings if each.what == "instructions"), "")
        why = "nothing can be computed there"
        return Check(name, "problem", f"{where}{tried.trouble}", why, fix)
    if reference and tried.answer != reference:
        return Check(
            name, "problem", f"{where}it answers {tried.answer!r}, the processor {reference!r}",
            "it computes something else: the driver or the build is broken",
        )  # fmt: skip
    return Check(name, "fine", f"{where}{tried.tokens} tokens, {tried.seconds:.1f} s with loading")
