"""Runs ``pdf.py`` in a child process with limits, and makes pages of its answer.

The child gets the PDF on its stdin, so a document from a pipe goes the same way, and the
password is never on a command line. It takes about 0.1 s to start, most of it PDFium itself.
"""

import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gemma_edge.documents.document import Document, Page
from gemma_edge.documents.layout import Word, render_layout
from gemma_edge.errors import GemmaEdgeError, InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one PDF may cost. The pages read in ``seconds`` are the answer; after ``wall_seconds``
    the child is killed. ``memory_bytes`` of address space come on top of the file itself. No
    context holds the text of ``max_chars``."""

    max_pages: int = 2000
    max_chars: int = 4_000_000
    seconds: int = 90
    wall_seconds: int = 120
    memory_bytes: int = 2 << 30


LIMITS = Limits()

_FULL_PAGE = 0.5  # share of a page from which an image counts as the page
_FEW_CHARS = 20
_MAX_SPANS = 6  # ranges of pages that a note spells out
_OCR_HINT = (
    "gemma-edge describe FILE --as ocr looks at its pages; "
    "for example ocrmypdf in.pdf out.pdf adds a text layer"
)
_MARK, _MARK_WITHIN = b"%PDF-", 1024  # PDF readers look that far (ISO 32000-1, annex H)
_DAMAGED_HINT = "open it in a PDF viewer and save it anew, or copy it again"


def is_pdf(data: bytes) -> bool:
    """Whether the bytes are a PDF, whatever their name says."""
    return _MARK in data[:_MARK_WITHIN]


def read_pdf(
    data: bytes, name: str, *, password: str | None = None, limits: Limits = LIMITS
) -> Document:
    """The pages of a PDF, their text with its layout.

    Raises:
        InputError: encrypted, damaged, too slow or too large to read, or without any text.
    """
    answer = json.loads(run_child(data, name, password, limits))
    if answer.get("error") == "password":
        raise encrypted(name, password)
    if "error" in answer:
        raise damaged(name, answer["detail"])
    pages = tuple(_page(entry) for entry in answer["pages"])
    if not any(page.text for page in pages):
        raise _no_text(name, pages, answer["page_count"])
    return Document(name, pages, _notes(pages, answer, limits))


def damaged(name: str, detail: str) -> InputError:
    """For a PDF that PDFium refuses."""
    return InputError(f"{name} is damaged ({detail})", hint=_DAMAGED_HINT)


def encrypted(name: str, password: str | None) -> InputError:
    """For a PDF that wants a password, or another one."""
    if password is None:
        message = f"{name} is encrypted"
    else:
        message = f"{name} is encrypted, and the password that was given does not open it"
    return InputError(message, hint="--password, or GEMMA_EDGE_PDF_PASSWORD")


def run_child(
    data: bytes,
    name: str,
    password: str | None,
    limits: Limits,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> bytes:
    """What ``pdf.py`` answers to an order; ``more`` is added to it.

    Raises:
        InputError: the child crashed, or took too long or too much memory.
        GemmaEdgeError: no child can be started.
    """
    order = {
        **more,
        "library": _library_folder(),
        "password": password,
        "memory_bytes": limits.memory_bytes + 2 * len(data),
        "cpu_seconds": limits.wall_seconds,
        "seconds": limits.seconds,
        "max_pages": limits.max_pages,
        "max_chars": limits.max_chars,
    }
    try:
        child = subprocess.run(
            child_command("pdf.py"),
            input=json.dumps(order).encode("ascii") + b"\n" + data,
            capture_output=True,
            timeout=limits.wall_seconds,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{name} took longer than {limits.wall_seconds} s to read", hint=_DAMAGED_HINT
        ) from None
    except OSError as error:
        raise not_started(name, error) from None
    if child.returncode == 0:
        return child.stdout
    raise InputError(
        f"{name} cannot be read (the PDF reader stopped: {cause(child.returncode, child.stderr)})",
        hint=_DAMAGED_HINT,
    )


def child_command(program: str) -> list[str]:
    """A file beside this one as a process: -I -S, so that nothing of the working folder, the
    environment or .pth files is imported."""
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name(program))]


def not_started(name: str, error: OSError) -> GemmaEdgeError:
    """For a process that the system refuses."""
    return GemmaEdgeError(
        f"a process to read {name} could not be started ({error.strerror or error})",
        hint="free some memory, or try again",
    )


def _library_folder() -> str:
    """Where pypdfium2 is installed; it is not imported here."""
    spec = importlib.util.find_spec("pypdfium2")
    if spec is None or spec.origin is None:
        raise GemmaEdgeError("pypdfium2 is not installed", hint="pip install gemma-edge")
    return str(Path(spec.origin).parents[1])


def cause(status: int, stderr: bytes) -> str:
    """Why a child ended: a signal's name, or the last line of its traceback."""
    if status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    lines = stderr.decode("utf-8", "replace").split("\n")
    said = [line.strip() for line in lines if line.strip().isprintable() and line.strip()]
    return said[-1][:200] if said else f"status {status}"


def _page(entry: dict[str, Any]) -> Page:
    number = entry["number"]
    if "error" in entry:
        return Page(number, "", "damaged", f"it cannot be loaded ({entry['error']})")
    words = [Word(*word) for word in entry["words"]]
    chars = sum(len(word.text) for word in words)
    share = entry["image_share"]
    if chars < _FEW_CHARS and share >= _FULL_PAGE:
        found = f"{chars} characters" if chars else "no text layer"
        return Page(number, "", "scan", f"an image covers {share:.0%} of it, and it has {found}")
    if not chars and entry["objects"]:
        return Page(number, "", "scan", "it has no text layer, only images or drawings")
    if not chars:
        return Page(number, "", "empty", "nothing is printed on it")
    text = render_layout(words, entry["width"], entry["height"])
    reason = f"{chars:,} characters in the text layer"
    return Page(number, text, "text", reason + ("; cut here" if entry["cut"] else ""))


def _no_text(name: str, pages: tuple[Page, ...], page_count: int) -> InputError:
    first = next((page for page in pages if page.kind == "scan"), pages[0])
    if page_count == 1:
        return InputError(f"{name} has no text: {first.reason}", hint=_hint(first))
    return InputError(
        f"{name} has no text on any of its {page_count:,} pages (page {first.number}: "
        f"{first.reason})",
        hint=_hint(first),
    )


def _hint(page: Page) -> str:
    return _OCR_HINT if page.kind == "scan" else _DAMAGED_HINT


def _notes(pages: tuple[Page, ...], answer: dict[str, Any], limits: Limits) -> tuple[str, ...]:
    """What was not read, and why."""
    notes = []
    for kind in ("scan", "empty", "damaged"):
        left_out = [page for page in pages if page.kind == kind]
        if left_out:
            numbers = _render_numbers([page.number for page in left_out])
            notes.append(f"{numbers} not read, {kind}: {left_out[0].reason}")
    if answer["stopped"]:
        first, last = len(pages) + 1, answer["page_count"]
        notes.append(f"{_render_numbers(range(first, last + 1))} not read: {answer['stopped']}")
    cut = [page for page, entry in zip(pages, answer["pages"], strict=True) if entry.get("cut")]
    notes += [
        f"page {page.number} is cut: {limits.max_chars:,} characters are the most that is read"
        for page in cut
    ]
    return tuple(notes)


def _render_numbers(numbers: list[int] | range) -> str:
    """``page 3``, ``pages 3, 5 and 7 to 9``."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    parts = [str(first) if first == last else f"{first} to {last}" for first, last in spans]
    word = "page" if len(numbers) == 1 else "pages"
    if len(parts) == 1:
        return f"{word} {parts[0]}"
    if len(parts) > _MAX_SPANS:
        parts = [*parts[: _MAX_SPANS - 1], f"{len(parts) - _MAX_SPANS + 1} more ranges"]
    return f"{word} {', '.join(parts[:-1])} and {parts[-1]}"
