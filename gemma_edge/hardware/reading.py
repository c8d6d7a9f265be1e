"""A recording to Hardware, purely; and the machine itself by way of a recording."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gemma_edge.hardware.build import parse_build
from gemma_edge.hardware.cpu import parse_cpu
from gemma_edge.hardware.devices import is_wsl, join, merge
from gemma_edge.hardware.facts import Facts
from gemma_edge.hardware.findings import find
from gemma_edge.hardware.graphics import parse_graphics
from gemma_edge.hardware.machine import Hardware
from gemma_edge.hardware.memory import parse_memory
from gemma_edge.hardware.nvidia import parse_nvidia
from gemma_edge.hardware.recording import record
from gemma_edge.hardware.text import Answers


def detect_hardware(environment: Mapping[str, str]) -> Hardware:
    """This machine."""
    return parse_recording(record(environment))


def parse_recording(recording: Mapping[str, Any]) -> Hardware:
    """The machine of a recording. Pure; whatever is missing in it is simply not known."""
    answers = Answers(recording)
    nvidia, memory = parse_nvidia(answers), parse_memory(answers)
    cards = merge(nvidia.cards, parse_graphics(answers))
    devices, idle = join(answers, cards, memory)
    hardware = Hardware(
        system=answers.system,
        cpu=parse_cpu(answers),
        memory=memory,
        build=parse_build(answers),
        devices=devices,
        wsl=is_wsl(answers),
    )
    return replace(hardware, findings=find(Facts(answers, hardware, nvidia, cards, idle)))
