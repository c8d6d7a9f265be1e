"""Reads one office file, page of HTML or mail in a process of its own.

stdin   one line of JSON, ``{"paths": folders to import from, "reader": "office" | "html" | "mail",
        "name", "memory_bytes", "cpu_seconds"}``, then the bytes of the file
stdout  ``{"pages": [[text, what it is], …], "notes": [line, …]}``, or ``{"error": class,
        "message", "hint"}``
"""

import json
import os
import sys
from typing import Any


def main() -> None:
    """Read stdin, write stdout; see the module's docstring."""
    order = json.loads(sys.stdin.buffer.readline())
    # The answer has stdout to itself; what C libraries print goes where stderr goes.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path += order["paths"]
    from gemma_edge.documents.pdf_child import limit_resources

    limit_resources(order["memory_bytes"], order["cpu_seconds"])
    answer.write(json.dumps(read(sys.stdin.buffer.read(), order)).encode("ascii"))
    answer.close()
    # No tidying up: what a hostile file built may take long to take down.
    os._exit(0)


def read(data: bytes, order: dict[str, Any]) -> dict[str, Any]:
    """The answer; what no reader foresees ends the process with its traceback."""
    from gemma_edge.errors import GemmaEdgeError

    try:
        found = _reader(order["reader"])(data, order["name"])
    except GemmaEdgeError as error:
        return {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    return {"pages": found.pages, "notes": found.notes}


def _reader(kind: str) -> Any:
    """Only the libraries of the one that is asked for are imported."""
    if kind == "office":
        from gemma_edge.documents.office import read_office

        return read_office
    if kind == "mail":
        from gemma_edge.documents.html import read_mail

        return read_mail
    from gemma_edge.documents.html import read_html

    return read_html


if __name__ == "__main__":
    main()
