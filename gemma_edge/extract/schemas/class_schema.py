"""``file.py:Class``: the JSON Schema of a class, asked of a Python process of its own.

Reading a class runs the file, so it takes a person's word (``--trust``); in another process it
cannot change this one, and a time limit ends it.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from gemma_edge.documents.files import shown
from gemma_edge.errors import InputError, SchemaError, UsageError

SECONDS = 60
_CLASS = re.compile(r"(?P<file>.+\.py)(?::(?P<name>[A-Za-z_]\w*))?", re.IGNORECASE)
_MAX_REASON = 300  # characters


def names_class(text: str) -> bool:
    """Whether a schema was given as ``file.py:Class``, or at least as a Python file."""
    return "\n" not in text and _CLASS.fullmatch(text) is not None


def read_class(text: str, *, trust: bool) -> Any:
    """The JSON Schema of ``file.py:Class``, as Pydantic says it.

    Raises:
        UsageError: no class is named, or the file may not be run.
        InputError: there is no such file.
        SchemaError: running it fails, or the class has no schema.
    """
    found = _CLASS.fullmatch(text)
    assert found is not None, text
    path, name = Path(found["file"]).expanduser(), found["name"]
    if not path.is_file():
        raise InputError(f"{shown(path)} does not exist", hint="check the name; file.py:Class")
    if name is None:
        raise UsageError(
            f"{shown(path)} is Python: which class is meant is not said",
            hint=f"{shown(path)}:Class",
        )
    if not trust:
        raise UsageError(
            f"{shown(text)} is Python, and reading a class runs the whole file",
            hint="--trust, if you would run it yourself",
        )
    answer = _ask(path, name)
    if "error" in answer:
        raise SchemaError(f"{shown(text)}: {_reason(answer['error'])}", hint=_hint(answer["error"]))
    return answer["schema"]


def _ask(path: Path, name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "gemma_edge.extract.schemas.class_child", str(path), name]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"still running after {SECONDS} s"}
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:  # it ended the process before the answer
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        return {"error": "".join(last) or f"it stopped with status {done.returncode}"}
    return answer


def _reason(error: str) -> str:
    return " ".join(error.split())[:_MAX_REASON]


def _hint(error: str) -> str:
    if "pydantic" in error and "No module named" in error:
        return f"{Path(sys.executable).name} -m pip install pydantic"
    return "run the file by itself and see"
