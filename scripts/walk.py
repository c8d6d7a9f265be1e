#!/usr/bin/env python3
"""Show the functions between ``main`` and ``llama_decode`` when a document is read.

    python scripts/walk.py

The bundled model reads the example; the stack is looked at where the question leaves for the
engine's process, and there where llama.cpp is called.
"""

import inspect
import io
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from gemma_edge.cli.context import Context
from gemma_edge.cli.main import main
from gemma_edge.engine.process import RemoteEngine

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = f"{(ROOT / 'gemma_edge').as_posix()}/"
ASK = ["extract", str(ROOT / "examples" / "invoice.pdf"), "-s", "vendor, total num"]
Walk = list[str]


def walk() -> tuple[Walk, Walk]:
    """The functions in this process, and those in the engine's, each as ``file: function``."""
    mine: Walk = []

    def look(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.endswith("isolation.py"):
            found = ours(frame)
            if "engine/process.py: generate" in found:
                inside = [each for each in found if not each.startswith("isolation.py")]
                mine[:] = inside if len(inside) > len(mine) else mine

    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "walks"
        context = replace(
            Context.from_process(), stdout=io.StringIO(), stderr=io.StringIO(),
            load=lambda plan: RemoteEngine(plan, program=("walk:watched_worker", str(kept))),
        )  # fmt: skip
        sys.setprofile(look)
        try:
            main([*ASK, "--model", "demo", "--offline"], context)
        finally:
            sys.setprofile(None)
        walks = [line.split(" > ") for line in kept.read_text(encoding="utf-8").splitlines()]
    answering = [each for each in walks if "engine/scheduler.py: _evaluate" in each]
    return mine, max(answering, key=len)


def watched_worker(path: str) -> Any:
    """The worker of the engine, which keeps in a file how llama.cpp was reached."""
    from llama_cpp import llama_cpp

    from gemma_edge.engine import worker

    decode, seen = llama_cpp.llama_decode, set[str]()

    def watched(*arguments: Any) -> Any:
        found = " > ".join(ours(inspect.currentframe()))
        if found not in seen:
            seen.add(found)
            with open(path, "a", encoding="utf-8") as kept:
                kept.write(f"{found}\n")
        return decode(*arguments)

    llama_cpp.llama_decode = watched
    return worker.main()


def ours(frame: FrameType | None) -> Walk:
    """The functions of the package on the stack, the outermost first."""
    found: Walk = []
    while frame is not None:
        file = Path(frame.f_code.co_filename).as_posix()
        if file.startswith(PACKAGE):
            found.insert(0, f"{file.removeprefix(PACKAGE)}: {frame.f_code.co_name}")
        frame = frame.f_back
    return found


def render(here: Walk, there: Walk) -> str:
    """Both walks, a file a line."""
    lines = []
    for title, steps in (("", here), ("the engine's process", there)):
        lines += [title] if title else []
        for step in steps:
            file, _, function = step.partition(": ")
            if lines and lines[-1].startswith(f"  {file} "):
                lines[-1] += f" > {function}"
            else:
                lines.append(f"  {file:22} {function}")
    files = {step.partition(":")[0] for step in here + there}
    lines.append(f"{len(here) + len(there)} functions in {len(files)} files")
    return "\n".join(lines)


if __name__ == "__main__":
    print(render(*walk()))
