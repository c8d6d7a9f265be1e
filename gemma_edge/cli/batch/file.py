"""The file that a batch writes records to, one whole line after another, and goes on with when it
is run again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from gemma_edge.cli.output import Output
from gemma_edge.documents.files import shown
from gemma_edge.documents.record_lines import Lines, whole_lines
from gemma_edge.errors import DoesNotFit, InputError


@dataclass(frozen=True, slots=True)
class Shape:
    """How a file of records looks: ``head`` stands before the first of them, ``says`` names the
    shape in an error, and ``is_first`` knows a first line that is of it."""

    form: Lines
    head: str
    says: str
    is_first: Callable[[str], bool]


@contextmanager
def open_at_end(out: Path, shape: Shape, output: Output) -> Iterator[tuple[TextIO, str]]:
    """The file, open behind its last whole record, and what it holds up to there.

    Raises:
        InputError: the file holds something else, or cannot be read.
        DoesNotFit: it cannot be written.
    """
    held = _before(out, shape)
    text = whole_lines(held, shape.form)
    if len(text) < len(held):
        output.note(f"{shown(out)} ended in the middle of a record, which is cut off")
    try:
        with out.open("a", encoding="utf-8", newline="") as file:
            file.truncate(len(text.encode("utf-8")))
            if not text and shape.head:
                write_line(file, shape.head)
            yield file, text
    except OSError as error:
        raise unwritable(out, error) from None


def write_line(file: TextIO, line: str) -> None:
    """One line, on the disk when this returns.

    Raises:
        DoesNotFit: the disk is full or gone.
    """
    try:
        file.write(line + "\n")
        file.flush()
    except OSError as error:
        raise unwritable(Path(file.name), error) from None


def unwritable(path: Path, error: OSError) -> DoesNotFit:
    """For a file that is not to be written."""
    return DoesNotFit(
        f"{shown(path)} cannot be written ({error.strerror or error})",
        hint="check the folder, its mode and the disk, or name another file",
    )


def _before(out: Path, shape: Shape) -> str:
    """What the file holds."""
    try:
        text = out.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise _other(out, shape) from None
    except OSError as error:
        raise unwritable(out, error) from None
    if text and not shape.is_first(text.partition("\n")[0]):
        raise _other(out, shape)
    return text


def _other(out: Path, shape: Shape) -> InputError:
    return InputError(
        f"{shown(out)} does not hold {shape.says}; nothing was written", hint="name another file"
    )
