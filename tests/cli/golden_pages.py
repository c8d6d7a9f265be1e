"""Whole pages on recorded machines, on a terminal of 60 columns.

``python -m tests.cli.golden_pages`` writes them again; read the difference like a page before it is
committed.
"""

import io
from contextlib import nullcontext
from pathlib import Path

from gemma_edge.cli.context import Context
from gemma_edge.cli.main import main
from gemma_edge.hardware.detect import parse_recording
from gemma_edge.hardware.machine import Hardware
from gemma_edge.planning.memory import quick_measure
from tests.hardware.machines import load

FOLDER = Path(__file__).with_name("pages")
PAGES = {
    "plan-on-rtx-4060-laptop": ("rtx-4060-laptop-igpu", "plan"),
    "plan-without-gpu-build": ("rtx-3060-cpu-build", "plan --no-vision"),
    "plan-explained-in-a-container": ("container-6gb", "plan e2b --explain"),
    "plan-on-two-cards-in-ascii": ("two-cards", "plan 31b --quant q6_k --ctx 64k"),
    "plan-all-on-rtx-3060": ("rtx-3060", "plan --all --quant qat"),
    "top-on-rtx-4060-laptop": ("rtx-4060-laptop-igpu", ""),
    "top-without-gpu-build": ("rtx-3060-cpu-build", ""),
    "recipes-help": ("rtx-3060", "recipes --help"),
    "schema-types": ("rtx-3060", "schema types"),
}


def render(name: str, home: Path) -> str:
    """What one command line shows on one machine, stdout and stderr together."""
    machine, line = PAGES[name]
    return run(parse_recording(load(machine)), line, home, ascii="ascii" in name)[0]


def run(hardware: Hardware, line: str, home: Path, *, ascii: bool = False) -> tuple[str, int]:
    """The screen and the status. Nothing is on the disk; llama.cpp is not asked."""
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii" if ascii else "utf-8")
    context = Context(
        stdin=io.StringIO(), stdout=screen, stderr=screen, environment={"NO_COLOR": "1"},
        stdout_is_terminal=True, stderr_is_terminal=True, platform="linux", home=home, width=60,
        detect_hardware=lambda _environment: hardware,
        open_measure=lambda other: nullcontext(quick_measure(other or hardware)),
        busy_programs=lambda: None,
    )  # fmt: skip
    status = main(line.split(), context)
    screen.flush()
    return screen.buffer.getvalue().decode(), status


if __name__ == "__main__":
    for each in PAGES:
        nowhere = FOLDER / "no-such-home"
        (FOLDER / f"{each}.txt").write_text(render(each, nowhere), encoding="utf-8", newline="\n")
