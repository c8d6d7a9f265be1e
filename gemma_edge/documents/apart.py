"""Office files, HTML and e-mails, read in a process of its own with limits: a bomb, a loop or a
crash of a library ends there, and is one line here.

It takes about 0.2 s to start, so plain text and CSV do not go this way.
"""

import json
import math
import subprocess
from dataclasses import dataclass
from typing import Any, Literal

from gemma_edge.documents.content import Content
from gemma_edge.documents.pdf_process import import_folders
from gemma_edge.documents.pdf_process import cause, child_command, not_started
from gemma_edge.errors import GemmaEdgeError, InputError

Reader = Literal["office", "html", "mail"]
_LIBRARIES = ("bs4", "soupsieve", "typing_extensions", "docx", "lxml", "python_calamine")
_HINT = "open it and save it anew, or as PDF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one file may cost; ``memory_bytes`` of address space come on top of the file."""

    seconds: float = 30.0
    memory_bytes: int = 2 << 30


LIMITS = Limits()


def read_apart(reader: Reader, data: bytes, name: str, limits: Limits = LIMITS) -> Content:
    """What the reader finds in the bytes.

    Raises:
        InputError: what it says; or it crashed, or took too long or too much memory.
        GemmaEdgeError: no process can be started.
    """
    order = {
        "paths": import_folders(_LIBRARIES), "reader": reader, "name": name,
        "memory_bytes": limits.memory_bytes + 2 * len(data),
        "cpu_seconds": math.ceil(limits.seconds),
    }  # fmt: skip
    try:
        child = subprocess.run(
            child_command("apart_child.py"),
            input=json.dumps(order).encode("ascii") + b"\n" + data, capture_output=True,
            timeout=limits.seconds, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{name} took longer than {limits.seconds:g} s to read", hint=_HINT
        ) from None
    except OSError as error:
        raise not_started(name, error) from None
    if child.returncode != 0:
        why = cause(child.returncode, child.stderr)
        raise InputError(
            f"{name} is damaged, or too much to read (its reader stopped: {why})", hint=_HINT
        )
    return _content(json.loads(child.stdout))


def _content(answer: dict[str, Any]) -> Content:
    if "error" in answer:
        kind = InputError if answer["error"] == "InputError" else GemmaEdgeError
        raise kind(answer["message"], hint=answer["hint"])
    pages = tuple((text, what) for text, what in answer["pages"])
    return Content(pages, tuple(answer["notes"]))
