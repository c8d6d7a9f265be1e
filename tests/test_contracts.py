"""What importing costs: the command line starts without the heavy libraries."""

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import grimp
import pytest

from gemma_edge.cli.main import COMMANDS

HEAVY = (
    "PIL", "huggingface_hub", "jinja2", "jsonschema_rs", "llama_cpp", "llguidance", "numpy",
    "pypdfium2", "rich", "torch",
)  # fmt: skip


def loaded_by(module: str) -> set[str]:
    """The top-level modules in a fresh interpreter after ``import module``."""
    code = (
        f"import {module}, sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "gemma_edge", "gemma_edge.cli.main", "gemma_edge.engine", "gemma_edge.documents",
        ", ".join(f"gemma_edge.cli.{each.place.partition(':')[0]}" for each in COMMANDS.values()),
    ],
)  # fmt: skip
def test_importing_loads_no_heavy_library(module: str) -> None:
    assert loaded_by(module) & set(HEAVY) == set()


def test_a_command_imports_no_other_command() -> None:
    code = (
        "import sys; from gemma_edge.cli.main import COMMANDS, parse; parse(['list'], 80);"
        "names = [COMMANDS[each].place.partition(':')[0] for each in ('list', 'chat')];"
        "print(*(f'gemma_edge.cli.{name}' in sys.modules for name in names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_no_two_modules_import_each_other() -> None:
    """Nor any ring of modules: also imports in functions and those for types alone count."""
    graph = grimp.build_graph("gemma_edge", cache_dir=None)
    rows = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(rows).prepare()  # CycleError names the ring


def test_a_ring_of_modules_is_found() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()
