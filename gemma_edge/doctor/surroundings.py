"""Checks of what is around the engine: Python, cluster, disk, hub, terminal."""

from gemma_edge import catalog
from gemma_edge.doctor.check import Check
from gemma_edge.doctor.facts import Facts
from gemma_edge.units import render_bytes

_WORD_BITS = 64
NARROW_COLUMNS = 60  # what every page is made for


def check_python(facts: Facts) -> list[Check]:
    """llama.cpp maps whole models into the address space."""
    python = facts.python
    if python.bits < _WORD_BITS:
        return [
            Check(
                "python", "problem", f"{python.version}, {python.bits} bits",
                "a model does not fit into its address space",
                "install the 64-bit Python of python.org",
            )
        ]  # fmt: skip
    return [Check("python", "fine", f"{python.version} ({python.machine})")]


def check_cluster(facts: Facts) -> list[Check]:
    """The job that we are in; what is wrong with it, or with a login node, is a finding."""
    return [Check("cluster", "fine", f"inside SLURM job {facts.job}")] if facts.job else []


def check_disk(facts: Facts) -> list[Check]:
    """Room and permission where models are kept."""
    shelf, name = facts.shelf, "disk"
    elsewhere = "another folder: --models-dir DIR, GEMMA_EDGE_MODELS_DIR or HF_HOME"
    if not shelf.writable:
        return [
            Check(name, "problem", f"{shelf.folder} cannot be written to",
                  "no model can be kept there", elsewhere)
        ]  # fmt: skip
    if shelf.free_bytes is None:
        return [Check(name, "warning", f"{shelf.folder}: the system does not say what is free")]
    seen = f"{render_bytes(shelf.free_bytes)} free for models in {shelf.folder}"
    smallest = smallest_model()
    if shelf.free_bytes < smallest[1] and not shelf.files:
        return [
            Check(
                name, "problem", seen,
                f"the smallest model, {smallest[0]}, takes {render_bytes(smallest[1])}",
                f"free some space, or {elsewhere}",
            )
        ]  # fmt: skip
    return [Check(name, "fine", seen)]


def check_models(facts: Facts) -> list[Check]:
    """What is there; whether it is what it was is for another command."""
    shelf, name = facts.shelf, "models"
    if shelf.trouble:
        return [Check(name, "problem", shelf.trouble, "no model there can be found", shelf.hint)]
    if shelf.incomplete:
        count = "1 file is" if shelf.incomplete == 1 else f"{shelf.incomplete} files are"
        return [
            Check(
                name, "warning", f"{count} incomplete; {_count(shelf.files)} whole",
                "gemma-edge list names them; the same pull goes on where it stopped",
            )
        ]  # fmt: skip
    if not shelf.files:
        return [Check(name, "fine", "none yet but the bundled one; gemma-edge plan says which")]
    seen = f"{_count(shelf.files)}, {render_bytes(shelf.files_bytes)}"
    return [Check(name, "fine", f"{seen}; gemma-edge verify reads them again")]


def check_offline(facts: Facts) -> list[Check]:
    """The switch, and who set it."""
    if facts.offline_by:
        return [Check("offline", "fine", f"on, by {facts.offline_by}: no connection is opened")]
    return [Check("offline", "fine", "off; --offline or GEMMA_EDGE_OFFLINE=1 switches it on")]


def check_hub(facts: Facts) -> list[Check]:
    """Only downloads need it: with models on this machine its silence stops nothing."""
    hub = facts.hub
    if hub is None:
        return [Check("hub", "skipped", "not asked", "offline is on")]
    if not hub.trouble:
        return [Check("hub", "fine", f"{hub.endpoint} answers in {hub.seconds:.1f} s")]
    return [
        Check(
            "hub", "warning" if facts.shelf.files else "problem",
            f"{hub.endpoint}: {hub.trouble}",
            "models cannot be fetched; what is on this machine works",
            "check the network (HTTPS_PROXY for a proxy, HF_ENDPOINT for a mirror), or carry "
            "files here: gemma-edge import FILE",
        )
    ]  # fmt: skip


def check_terminal(facts: Facts) -> list[Check]:
    """Can it show what we write?"""
    terminal, name = facts.terminal, "terminal"
    encoding = terminal.encoding.lower()
    if not terminal.attached:
        return [Check(name, "fine", f"none, the output goes elsewhere as {encoding}")]
    colours = "colours" if terminal.colours else "no colours"
    seen = f"{terminal.width} columns, {encoding}, {colours}"
    if not encoding.replace("-", "").startswith("utf"):
        return [
            Check(name, "warning", seen, "letters beyond it are shown as escapes",
                  "PYTHONUTF8=1 in the environment; on Windows chcp 65001 before it")
        ]  # fmt: skip
    if terminal.width < NARROW_COLUMNS:
        return [
            Check(name, "warning", seen,
                  f"tables are made for {NARROW_COLUMNS} columns and more")
        ]  # fmt: skip
    return [Check(name, "fine", seen)]


def smallest_model() -> tuple[str, int]:
    """The title and the bytes of the smallest weights whose size is known."""
    known = [
        (quant.model.size_bytes, size.title)
        for size in catalog.sizes() for quant in size.quants if quant.model.size_bytes
    ]  # fmt: skip
    size_bytes, title = min(known)
    return title, size_bytes


def _count(number: int) -> str:
    return f"{number} file{'' if number == 1 else 's'}"
