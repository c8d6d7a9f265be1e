"""What a person hands in besides flags: piped text, ``@FILE`` values, pictures."""

from collections.abc import Sequence
from pathlib import Path

from gemma_edge.cli.context import Context
from gemma_edge.cli.options import whole_text
from gemma_edge.cli.output import Output
from gemma_edge.documents.document import Picture, decode_text, read_file, shown
from gemma_edge.documents.images import fit_picture, open_image
from gemma_edge.errors import InputError, UsageError
from gemma_edge.units import render_bytes, render_tokens

MAX_PIPED_BYTES = 64 << 20  # far above any context; a pipe may never end


def read_piped(context: Context, output: Output) -> str:
    """All of stdin as text, "" on a terminal.

    Raises:
        InputError: binary data, or more than any model could read.
    """
    if context.stdin_is_terminal:
        return ""
    data = read_stdin(context)
    return _decode(data, "stdin", output) if data.strip() else ""


def read_stdin(context: Context) -> bytes:
    """All bytes of stdin.

    Raises:
        InputError: more than any model could read.
    """
    stream = getattr(context.stdin, "buffer", None)
    data: bytes = stream.read(MAX_PIPED_BYTES + 1) if stream else context.stdin.read().encode()
    if len(data) > MAX_PIPED_BYTES:
        raise InputError(
            f"stdin holds more than {render_bytes(MAX_PIPED_BYTES)}", hint="pipe in less"
        )
    return data


def read_value(text: str, output: Output) -> str:
    """A flag's value, or the contents of the file it names as ``@FILE``.

    Raises:
        InputError: the file cannot be read or is not text.
    """
    if not text.startswith("@"):
        return whole_text(text)
    path = Path(text[1:]).expanduser()
    return _decode(read_file(path, max_bytes=MAX_PIPED_BYTES), shown(path), output).strip()


def read_pictures(paths: Sequence[Path], max_tokens: int, output: Output) -> tuple[Picture, ...]:
    """Open and fit images; a line for each says what resizing cost.

    Raises:
        InputError: one of them cannot be read.
    """
    pictures = []
    for path in paths:
        picture = fit_picture(open_image(path), path.name, max_tokens)
        size = picture.lost or f"{picture.width}x{picture.height}"
        output.note(f"{picture.name} {size}, {render_tokens(picture.tokens)}")
        pictures.append(picture)
    return tuple(pictures)


def parse_path(text: str) -> Path:
    """A path as a person types or drags it: quotes around it, ``~`` before it.

    Raises:
        UsageError: nothing was named.
    """
    cleaned = text.strip()
    for quote in ('"', "'"):
        if len(cleaned) > 1 and cleaned[0] == cleaned[-1] == quote:
            cleaned = cleaned[1:-1]
    if not cleaned:
        raise UsageError("no file was named", hint="/image FILE")
    return Path(cleaned).expanduser()


def _decode(data: bytes, name: str, output: Output) -> str:
    text, notes = decode_text(data, name)
    for note in notes:
        output.note(note)
    return text
