"""Office files, HTML and e-mails, read in a process of its own with limits: a bomb, a loop or a
crash of a library ends there, and is one line here.

It takes about 0.2 s to start, so plain text and CSV do not go this way.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from gemma_edge.documents.document import ExtractedText
from gemma_edge.errors import InputError
from gemma_edge.isolation import (
    Child,
    ChildError,
    ChildMessage,
    ChildRequest,
    ChildStopped,
    Handler,
    Limits,
)

Kind = Literal["office", "html", "mail"]
_HINT = "open it and save it anew, or as PDF"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderLimits:
    """What one file may cost; ``memory_bytes`` of address space come on top of the file."""

    seconds: float = 30.0
    memory_bytes: int = 2 << 30


READER_LIMITS = ReaderLimits()


def read_apart(
    kind: Kind, data: bytes, name: str, limits: ReaderLimits = READER_LIMITS
) -> ExtractedText:
    """What the reader of this kind finds in the bytes.

    Raises:
        InputError: what it says; or it crashed, or took too long or too much memory.
        GemmaEdgeError: no process can be started.
    """
    child_limits = Limits(
        seconds=limits.seconds,
        cpu_seconds=math.ceil(limits.seconds),
        memory_bytes=limits.memory_bytes + 2 * len(data),
        may_write_files=False,
    )
    with Child("gemma_edge.documents.reader:main", kind, limits=child_limits) as child:
        try:
            found = child.call({"name": name}, data).header
        except ChildError as error:
            if isinstance(error, ChildStopped) and error.death.cause == "timeout":
                late = error.death.reason.removeprefix("it ")  # "it took longer than 30 s"
                raise InputError(f"{name} {late} to read", hint=_HINT) from None
            raise InputError(
                f"{name} is damaged, or too much to read (its reader stopped: {error})", hint=_HINT
            ) from None
    return ExtractedText(
        tuple((text, what) for text, what in found["pages"]), tuple(found["notes"])
    )


def main(kind: Kind) -> Handler:
    """The child program. Asked ``{"name"}`` with the bytes of a file, it answers ``{"pages":
    [[text, what it is], …], "notes": [line, …]}``."""
    read = _reader(kind)

    def answer(request: ChildRequest) -> Iterator[ChildMessage]:
        found = read(request.parts[0], request.header["name"])
        yield ChildMessage({"pages": found.pages, "notes": found.notes})

    return answer


def _reader(kind: Kind) -> Callable[[bytes, str], ExtractedText]:
    if kind == "office":
        from gemma_edge.documents.office import read_office

        return read_office
    if kind == "mail":
        from gemma_edge.documents.mail import read_mail

        return read_mail
    from gemma_edge.documents.html import read_html

    return read_html
