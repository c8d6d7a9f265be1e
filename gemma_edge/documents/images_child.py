"""Runs ``frames.iter_frames`` in a process of its own; ``images.py`` starts it by its path.

stdin   one line of JSON, ``{"paths": folders to import from, "name", "pages": text or null,
        "max_tokens", "memory_bytes", "cpu_seconds"}``, then the bytes of the file
stdout  for each frame a line ``{"width", "height", "number", "total", "note", "size": [w, h]}`` and
        its RGB bytes; where there is an error, ``{"error": class, "message", "hint"}`` instead
"""

import json
import os
import sys
from typing import Any, BinaryIO


def main() -> None:
    """Read stdin, write stdout; see the module's docstring."""
    order = json.loads(sys.stdin.buffer.readline())
    # The answer has stdout to itself; what C libraries print goes where stderr goes.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path += order["paths"]
    from gemma_edge.documents.pdf_child import limit_resources

    limit_resources(order["memory_bytes"], order["cpu_seconds"])
    send_frames(sys.stdin.buffer.read(), order, answer)
    answer.close()
    # No tidying up: a decoder may trip over what a damaged file left behind.
    os._exit(0)


def send_frames(data: bytes, order: dict[str, Any], answer: BinaryIO) -> None:
    """Frame after frame; the pipe holds the next one back until this one is taken."""
    from gemma_edge.documents.document import parse_page_numbers
    from gemma_edge.documents.images import iter_frames
    from gemma_edge.documents.pdf_child import limit_resources
    from gemma_edge.errors import GemmaEdgeError

    pages = parse_page_numbers(order["pages"]) if order["pages"] else None
    try:
        for frame in iter_frames(data, order["name"], pages, order["max_tokens"]):
            line = {
                "width": frame.width, "height": frame.height, "number": frame.number,
                "total": frame.total, "note": frame.note, "size": frame.image.size,
            }  # fmt: skip
            answer.write(json.dumps(line).encode("ascii") + b"\n")
            answer.write(frame.image.tobytes())
            answer.flush()
            # The time is for each frame: a fax of 500 pages may take long, one page may not.
            limit_resources(order["memory_bytes"], order["cpu_seconds"])
    except GemmaEdgeError as error:
        line = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
        answer.write(json.dumps(line).encode("ascii") + b"\n")


if __name__ == "__main__":
    main()
