"""The images or documents that a command line names: files, folders, patterns, stdin, the
clipboard."""

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gemma_edge.cli.context import Context
from gemma_edge.cli.inputs import read_stdin
from gemma_edge.cli.output import Output
from gemma_edge.documents.clipboard import NAME, read_clipboard
from gemma_edge.documents.files import read_file, shown
from gemma_edge.documents.images import MAX_IMAGE_BYTES
from gemma_edge.errors import InputError, UsageError

STDIN = Path("-")
# What is taken from a folder; a file that is named is read whatever its name ends with.
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
    + (".heic", ".heif", ".jp2", ".ppm", ".pgm", ".pbm")
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command reads: its name, the endings that are taken from a folder, and an ending for
    examples."""

    name: str
    command: str
    suffixes: frozenset[str]
    example: str


IMAGES = Wanted("image", "describe", SUFFIXES, "jpg")
DOCUMENTS = Wanted(
    "document",
    "extract",
    SUFFIXES - {".gif", ".bmp", ".ppm", ".pgm", ".pbm"}
    | {".pdf", ".docx", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".csv", ".tsv", ".html", ".htm"}
    | {".xhtml", ".eml", ".txt", ".text", ".md", ".markdown"},
    "pdf",
)


@dataclass(frozen=True, slots=True)
class Source:
    """One file, or bytes that are there already. ``name`` is what lines about it begin with."""

    name: str
    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)

    def read(self) -> bytes:
        """All bytes.

        Raises:
            InputError: missing, empty, or too large.
        """
        if self.path is None:
            return self.data or b""
        return read_file(self.path, max_bytes=MAX_IMAGE_BYTES)


@dataclass(frozen=True, slots=True)
class Sources:
    """``many`` is whether a folder or a pattern was named: then each file stands for itself."""

    each: tuple[Source, ...]
    many: bool


def find_sources(
    files: Sequence[Path],
    *,
    clipboard: bool,
    context: Context,
    output: Output,
    wanted: Wanted = IMAGES,
) -> Sources:
    """What was named, in that order; a folder's files by their names.

    Raises:
        UsageError: nothing was named, or stdin is a terminal.
        InputError: a folder or a pattern without what is wanted, a pipe that cannot be read.
    """
    found: list[Source] = []
    many = False
    for path in files:
        if path == STDIN:
            found.append(Source("stdin", data=_piped(context, wanted)))
        elif path.is_dir():
            many = True
            found += _in_folder(path, wanted, output)
        elif not os.path.lexists(path) and glob.has_magic(str(path)):
            many = True
            found += _matching(path)
        elif _is_plain(path):
            found.append(Source(shown(path), path))
        else:  # a pipe such as <(command): it can be read once
            data = read_file(path, max_bytes=MAX_IMAGE_BYTES)
            found.append(Source(shown(path), data=data))
    if clipboard:
        found += _copied()
    if not found:
        raise UsageError("missing argument `FILE`", hint=f"gemma-edge {wanted.command} --help")
    return Sources(tuple(found), many)


def _piped(context: Context, wanted: Wanted) -> bytes:
    if context.stdin_is_terminal:
        article = "an" if wanted.name[0] in "aeiou" else "a"
        raise UsageError(
            f"`-` reads {article} {wanted.name} from stdin, and stdin is a terminal",
            hint="name a file",
        )
    return read_stdin(context)


def _in_folder(folder: Path, wanted: Wanted, output: Output) -> Iterator[Source]:
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"{shown(folder)} cannot be read ({error.strerror or error})", hint="check its mode"
        ) from None
    taken = {path for path in paths if path.suffix.lower() in wanted.suffixes and _is_plain(path)}
    if not taken:
        raise InputError(
            f"{shown(folder)} has no {wanted.name} in it",
            hint=f"name files, or '{shown(folder)}/**/*.{wanted.example}'",
        )
    others = Counter(
        "folder" if path.is_dir() else path.suffix.lower() or "no ending"
        for path in paths
        if path not in taken
    )
    if others:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(others.items()))
        output.note(f"{shown(folder)}: {len(taken):,} {wanted.name}s; left out: {kinds}")
    return (Source(shown(path), path) for path in paths if path in taken)


def _matching(pattern: Path) -> Iterator[Source]:
    names = sorted(glob.glob(str(pattern.expanduser()), recursive=True))
    paths = [path for path in map(Path, names) if _is_plain(path)]
    if not paths:
        raise InputError(f"nothing matches {shown(pattern)}", hint="check the pattern")
    return (Source(shown(path), path) for path in paths)


def _is_plain(path: Path) -> bool:
    """A file, or a link to nothing, which is an error worth a line; no folder, and no pipe that
    nobody writes to."""
    return path.is_file() or not path.exists()


def _copied() -> Iterator[Source]:
    found = read_clipboard()
    if isinstance(found, bytes):
        return iter([Source(NAME, data=found)])
    return (Source(shown(name), Path(name)) for name in found)
