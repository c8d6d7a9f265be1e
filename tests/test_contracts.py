"""What importing costs: the command line starts without the heavy libraries."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import grimp
import pytest

from gemma_edge.app.runtime import EarlyEngine, library_runtime
from gemma_edge.cli.main import COMMANDS
from gemma_edge.errors import InputError
from gemma_edge.isolation import Once

HEAVY = (
    "PIL", "huggingface_hub", "jinja2", "jsonschema_rs", "llama_cpp", "llguidance", "numpy",
    "prometheus_client", "pypdfium2", "rich", "starlette", "torch", "uvicorn",
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


def modules_of(*words: str, home: Path) -> set[str]:
    """All modules that a command has imported at its end, in its own process."""
    code = (
        "import sys; from gemma_edge.cli.main import main;"
        "from gemma_edge.cli.context import Context;"
        "status = main(sys.argv[1:], Context.from_process());"
        "print(*sys.modules, file=sys.stderr); sys.exit(0 if status in (0, 6) else status)"
    )
    folders = {"XDG_DATA_HOME": str(home), "HF_HOME": str(home), "LOCALAPPDATA": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True,
        stdin=subprocess.DEVNULL, env={**os.environ, **folders}, timeout=120,
    )  # fmt: skip
    return set(done.stderr.splitlines()[-1].split())


# Of Python's own, what takes long and no command needs to show what it shows.
SLOW = {"asyncio", "concurrent.futures", "logging", "multiprocessing", "http.client", "ssl"}
# By parts of gemma_edge, which are whole packages or single modules.
NO_READING = ("documents.images", "documents.pdf", "documents.layout", "documents.open")
NO_EXTRACTION = ("extraction", "app.extract", "app.batch", "engine.grounding")
NO_PLANNING = ("app.load", "planning.planner", "planning.search", "planning.dry_run", "hardware")
NO_TALKING = ("chat", "app.chat", "app.describe", "description")
NO_ENGINE = ("engine.process", "engine.worker", "engine.engine", "engine.llama")


@pytest.mark.parametrize(
    ("command", "parts", "libraries"),
    [
        ("--help", ("catalog", "gguf", "planning", "hardware", "store", "documents", "engine"),
         ("yaml", "ctypes", "tomllib")),
        ("list", (*NO_READING, *NO_EXTRACTION, *NO_PLANNING, *NO_TALKING, *NO_ENGINE),
         ("yaml", "ctypes")),
        ("recipes list",
         (*NO_READING, *NO_PLANNING, *NO_TALKING, *NO_ENGINE, "store", "app.models"), ("ctypes",)),
        ("ps", ("app.load", "app.standby", "catalog", "gguf", "planning", "store", "documents",
                "engine", "chat"), ("yaml", "ctypes", "tomllib")),
        ("plan e4b", (*NO_READING, *NO_EXTRACTION, *NO_TALKING, *NO_ENGINE), ("yaml",)),
        ("models", (*NO_READING, *NO_EXTRACTION, *NO_TALKING, *NO_ENGINE), ("yaml",)),
        ("chat hi --model demo", (*NO_READING, *NO_EXTRACTION, "app.describe"),
         ("yaml", "prompt_toolkit")),
        ("extract examples/invoice.pdf --model demo --schema vendor",
         ("documents.images", *NO_TALKING, "extraction.review", "extraction.recipe_file"),
         ("yaml", "prompt_toolkit")),
    ],
)  # fmt: skip
def test_a_command_imports_what_it_needs_and_no_more(
    tmp_path: Path, command: str, parts: tuple[str, ...], libraries: tuple[str, ...]
) -> None:
    """Names and not times: a busy machine changes nothing of it."""
    loaded = modules_of(*command.split(), home=tmp_path)
    unneeded = {f"gemma_edge.{part}" for part in parts}
    found = {name for name in loaded if any(f"{name}.".startswith(f"{e}.") for e in unneeded)}
    checks = {"jsonschema_rs"} if command.startswith(("extract", "recipes")) else set()
    assert (found, loaded & ({*SLOW, *HEAVY, *libraries} - checks)) == (set(), set())


def test_a_command_looks_for_garbage_seldom(tmp_path: Path) -> None:
    """What is imported and planned stays; Python's own rhythm takes a tenth of the time."""
    code = (
        "import gc, sys; from gemma_edge.cli.main import run;"
        "count = []; gc.callbacks.append(lambda *_: count.append(0));"
        "sys.argv = ['gemma-edge', 'models']\n"
        "try: run()\n"
        "except SystemExit: print(len(count) // 2, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path), "HF_HOME": str(tmp_path)},
    )  # fmt: skip
    assert int(done.stderr.splitlines()[-1]) < 20  # of 180 by Python's own


def test_what_takes_long_is_begun_before_it_is_needed() -> None:
    """The machine is asked and the engine's process is there before the document is read."""
    began: list[str] = []
    machine = threading.Event()

    class Engine(EarlyEngine):
        def begin(self) -> None:
            began.append("engine")

    def detect() -> Any:
        began.append("machine")
        machine.set()
        return "a machine"

    def count() -> int:
        began.append("programs")
        return 1

    runtime = replace(library_runtime(), load=Engine(), detect=detect, busy_programs=count)
    runtime.begin()
    assert machine.wait(60)  # although nobody waits for the answer yet
    assert began[0] == "programs"  # before any of ours runs
    assert sorted(began) == ["engine", "machine", "programs"]
    assert (runtime.hardware, runtime.hardware) == ("a machine", "a machine")
    assert (runtime.count_busy(), began.count("programs")) == (1, 1)
    runtime.count_busy()  # the next plan counts again
    assert (began.count("programs"), began.count("machine")) == (2, 1)


def test_what_was_raised_in_the_thread_is_raised_where_it_is_waited_for() -> None:
    def ask() -> None:
        raise InputError("no", hint="never")

    question = Once(ask)
    question.begin()
    for _ in range(2):
        with pytest.raises(InputError, match="no"):
            question()


def test_no_two_modules_import_each_other() -> None:
    """Nor any ring of modules: also imports in functions and those for types alone count."""
    graph = grimp.build_graph("gemma_edge", cache_dir=None)
    rows = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(rows).prepare()  # CycleError names the ring


def test_a_ring_of_modules_is_found() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()
