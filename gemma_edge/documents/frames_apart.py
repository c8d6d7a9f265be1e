"""Frames of the kinds whose decoders are not to be trusted with this process: a crash, a loop or
a flood of memory ends with the child, and what the libraries print (libtiff does) is not seen.

It takes about 0.15 s to start, so it is not for a JPEG.
"""

from gemma_edge.documents.pdf_process import import_folders
import importlib.util
import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import IO, Any

from gemma_edge.documents.frames import HEIF_BRANDS, Frame
from gemma_edge.documents.page_numbers import PageNumbers
from gemma_edge.documents.pdf_process import cause, child_command, not_started
from gemma_edge.errors import GemmaEdgeError, InputError, UsageError

WALL_SECONDS = 120  # for one frame
MEMORY_BYTES = 2 << 30  # address space, on top of the file itself

_LIBRARIES = ("PIL", "pi_heif", "_pi_heif")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG2000 = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_ERRORS: dict[str, type[GemmaEdgeError]] = {"InputError": InputError, "UsageError": UsageError}


def is_apart(data: bytes) -> bool:
    """Whether it is a TIFF, a JPEG 2000 or a HEIC photo."""
    return data.startswith(_TIFF + _JPEG2000) or data[4:12].startswith(HEIF_BRANDS)


def iter_frames_apart(
    data: bytes,
    name: str,
    pages: PageNumbers | None,
    max_tokens: int,
    memory_bytes: int = MEMORY_BYTES,
) -> Iterator[Frame]:
    """The same as ``frames.iter_frames``.

    Raises:
        InputError: as there; or the decoder crashed, or took too long or too much memory.
        UsageError: a page that there is not.
        GemmaEdgeError: no process can be started.
    """
    order = {
        "paths": import_folders(_LIBRARIES), "name": name, "pages": pages.text if pages else None,
        "max_tokens": max_tokens, "memory_bytes": memory_bytes + 2 * len(data),
        "cpu_seconds": WALL_SECONDS,
    }  # fmt: skip
    child = _start(name)
    try:
        _send(child, json.dumps(order).encode("ascii") + b"\n" + data)
        yield from _received(child, name)
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            _close(stream)


def _start(name: str) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            child_command("frames_child.py"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    except OSError as error:
        raise not_started(name, error) from None


def _send(child: subprocess.Popen[bytes], data: bytes) -> None:
    assert child.stdin is not None
    with suppress(OSError):  # it ended already; what it says, or does not say, tells why
        child.stdin.write(data)
        child.stdin.close()


def _received(child: subprocess.Popen[bytes], name: str) -> Iterator[Frame]:
    """Frames as they come; the child is stopped where one takes too long."""
    from PIL import Image

    assert child.stdout is not None
    while True:
        stop = Timer(WALL_SECONDS, child.kill)
        stop.start()
        try:
            line = child.stdout.readline()
            head: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
            width, height = head.get("size", (0, 0))
            rgb = child.stdout.read(3 * width * height)
        finally:
            stop.cancel()
        if not head and child.wait() == 0:
            return
        if "error" in head:
            raise _ERRORS.get(head["error"], GemmaEdgeError)(head["message"], hint=head["hint"])
        if not head or len(rgb) < 3 * width * height:
            raise InputError(
                f"{name} cannot be read (its decoder stopped: {cause(child.wait(), b'')})",
                hint="copy or export it again",
            )
        image = Image.frombytes("RGB", (width, height), rgb)
        yield Frame(
            image, head["width"], head["height"], head["number"], head["total"], head["note"]
        )




def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        with suppress(OSError):  # a pipe that nobody reads any more
            stream.close()
