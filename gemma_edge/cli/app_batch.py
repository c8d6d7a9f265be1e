"""The images or documents that a command line names: files, folders, patterns, stdin, the
clipboard.
"""

import glob
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TextIO, TypeVar

from gemma_edge.cli.context import Context
from gemma_edge.cli.inputs import read_stdin
from gemma_edge.cli.output import Output
from gemma_edge.cli.progress import EVERY_SECONDS, render_seconds
from gemma_edge.description import (
    Before,
    Format,
    Kind,
    Record,
    as_document,
    read_before,
    render_head,
    render_record,
)
from gemma_edge.disk import write_atomically
from gemma_edge.documents.document import Lines, read_file, shown, whole_lines
from gemma_edge.documents.images import MAX_IMAGE_BYTES, NAME, SUFFIXES, read_clipboard
from gemma_edge.errors import (
    DoesNotFit,
    ExitStatus,
    GemmaEdgeError,
    InputError,
    Interrupted,
    UsageError,
)

STDIN = Path("-")


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


# ----------------------------------------------------------------------------
# The file that a batch writes records to, one whole line after another, and goes on with when it
# is run again.


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


# ----------------------------------------------------------------------------
# Where the records of a batch go: stdout, a file that can be gone on with, texts beside images.


NOTHING = Before()
_SAYS: dict[Format, str] = {"csv": "CSV with our columns", "json": "lines of JSON"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """Where the answers go, and how many images are decoded at once."""

    each: bool = False
    out: Path | None = None
    csv: bool = False
    sidecar: bool = False
    replace: bool = False
    jobs: int = 2

    @property
    def is_asked(self) -> bool:
        """Whether any of it means one image after another."""
        return self.each or self.out is not None or self.csv or self.sidecar

    @property
    def form(self) -> Format:
        """CSV where it is asked for, or where the file's name says so."""
        named = self.out is not None and self.out.suffix.lower() == ".csv"
        return "csv" if self.csv or named else "json"


class Records:
    """Writes records, each whole before the next begins. ``before`` is what the file had;
    ``keeps`` says that there is a file."""

    def __init__(
        self, form: Format, output: Output, *, file: TextIO | None = None,
        before: Before = NOTHING, silent: bool = False,
    ) -> None:  # fmt: skip
        self.before = before
        self.keeps = file is not None
        self._form, self._output, self._file = form, output, file
        self._silent = silent and file is None
        self._begun = file is not None  # open_records wrote its head

    def write(self, record: Record) -> None:
        """Append one; an error that the file tells already is not told again.

        Raises:
            DoesNotFit: it cannot be written.
        """
        if (record.file, record.error) in self.before.told:
            return
        if self._file is not None:
            write_line(self._file, render_record(record, self._form))
        elif self._silent:
            return
        elif self._form == "json":
            self._output.event(as_document(record))
        else:
            if not self._begun:
                self._output.data(render_head("csv"))
                self._begun = True
            self._output.data(render_record(record, "csv"))


@contextmanager
def open_records(
    out: Path | None, form: Format, output: Output, *, silent: bool
) -> Iterator[Records]:
    """Records on stdout, nowhere (``silent``), or at the end of the file ``out``.

    Raises:
        InputError: the file holds something else, or cannot be read.
        DoesNotFit: it cannot be written.
    """
    if out is None:
        yield Records(form, output, silent=silent)
        return
    shape = Shape(
        form, render_head(form), _SAYS[form],
        lambda first: first == render_head(form) if form == "csv" else first.startswith("{"),
    )  # fmt: skip
    with open_at_end(out, shape, output) as (file, text):
        yield Records(form, output, file=file, before=read_before(text, form))


class Sidecars:
    """One text beside each image: ``photo.jpg.alt.txt``, ``photo.jpg.json``."""

    def __init__(self, kind: Kind, *, replace: bool) -> None:
        self._kind, self._replace = kind, replace

    def is_there(self, source: Source, page: int) -> bool:
        """Whether the image has its text already, and it is to be kept."""
        return not self._replace and self.path(source, page).exists()

    def write(self, source: Source, page: int, text: str) -> None:
        """Write it, whole or not at all; one that is there is kept unless it is to be replaced.

        Raises:
            DoesNotFit: it cannot be written.
        """
        path = self.path(source, page)
        if self.is_there(source, page):
            return
        try:
            write_atomically(path, text + "\n")
        except OSError as error:
            raise unwritable(path, error) from None

    def path(self, source: Source, page: int) -> Path:
        """Where the text goes.

        Raises:
            UsageError: the image is no file.
        """
        if source.path is None:
            raise UsageError(f"there is no file beside {source.name}", hint="leave out --sidecar")
        ending = "json" if self._kind == "json" else f"{self._kind}.txt"
        number = f".page{page}" if page else ""
        return source.path.with_name(f"{source.path.name}{number}.{ending}")


# ----------------------------------------------------------------------------
# How far a batch is, with the time left: a line that is drawn over on a terminal, one now and
# then elsewhere.


_HOUR = 3600.0  # seconds


class Going:
    """Counts ``total`` files; ``clock`` is in seconds. With a ``unit`` the speed is said too."""

    def __init__(
        self, output: Output, clock: Callable[[], float], total: int, unit: str = ""
    ) -> None:
        self._output, self._clock, self._total, self._unit = output, clock, total, unit
        self._done = self._failed = self._kept = 0
        self._started = self._told = clock()

    def step(self, *, failed: int, kept: bool = False) -> None:
        """One file more is done; ``failed`` of all could not be; ``kept`` took no time."""
        self._done, self._failed = self._done + 1, failed
        self._kept += kept
        if self._done == self._total:
            return
        if self._output.draws:
            self._output.draw(self.render())
        elif self._clock() - self._told >= EVERY_SECONDS:
            self._told = self._clock()
            self._output.note(self.render())

    def render(self) -> str:
        """``12 of 300, 1 failed, 4:10 left, 240 documents an hour``."""
        parts = [f"{self._done:,} of {self._total:,}"]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        spent, worked = self._clock() - self._started, self._done - self._kept
        if spent > 0 and worked:
            left = spent / worked * (self._total - self._done)
            parts.append(f"{render_seconds(left)} left")
        return ", ".join([*parts, *self._speed(worked - self._failed)])

    def render_end(self, *, done: str, kept: int, failed: int, remark: str = "") -> str:
        """``300 files: 280 images described, 15 done before, 5 failed · REMARK · 2:10``."""
        said = [done]
        said += [f"{kept:,} done before"] if kept else []
        said += [f"{failed:,} failed"] if failed else []
        files = f"{self._total:,} file{'' if self._total == 1 else 's'}"
        parts = [f"{files}: {', '.join(said)}", *filter(None, [remark])]
        parts += self._speed(self._done - self._kept - failed)
        return " · ".join([*parts, render_seconds(self._clock() - self._started)])

    def _speed(self, worked: int) -> list[str]:
        spent = self._clock() - self._started
        if not self._unit or worked < 1 or spent < EVERY_SECONDS:  # before, it is a guess
            return []
        return [f"{worked / spent * _HOUR:,.0f} {self._unit} an hour"]


# ----------------------------------------------------------------------------
# Files read and decoded in threads, a few ahead of the model, which is one.


Content = TypeVar("Content")


def read_ahead(
    read: Callable[[Source], Content], sources: Sequence[Source], jobs: int
) -> Iterator[tuple[Source, Callable[[], Content]]]:
    """Each source with what gives its content, or raises why there is none; ``jobs`` are read
    while one is used, and no more, so memory does not grow with their number."""
    waiting: deque[tuple[Source, Future[Content]]] = deque()
    rest = iter(sources)
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="decode")
    try:
        for source in islice(rest, jobs):
            waiting.append((source, pool.submit(read, source)))
        while waiting:
            source, future = waiting.popleft()
            future.exception()  # wait
            for following in islice(rest, 1):
                waiting.append((following, pool.submit(read, following)))
            yield source, future.result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# ----------------------------------------------------------------------------
# Files one after another, read ahead of the model: what goes wrong with one is that one's, and
# the exit status is that of the worst.


# No answer is worse than one that is not whole; what is wrong with all is worst.
_SEVERITY = (
    ExitStatus.OK, ExitStatus.RESULT, ExitStatus.INPUT, ExitStatus.USAGE, ExitStatus.DOES_NOT_FIT,
    ExitStatus.MODEL, ExitStatus.FAILED, ExitStatus.INTERRUPTED,
)  # fmt: skip


@dataclass(slots=True)
class Counts:
    """How it went: ``done`` now, ``kept`` from before, ``failed``; ``lost`` lost detail."""

    done: int = 0
    kept: int = 0
    failed: int = 0
    lost: int = 0
    status: ExitStatus = ExitStatus.OK

    def worsen(self, status: ExitStatus) -> None:
        """Remember the worst."""
        self.status = max(self.status, status, key=_SEVERITY.index)


def go_through(  # noqa: PLR0913, PLR0917  (the steps of a batch, and what they count)
    sources: Sequence[Source],
    read: Callable[[Source], Content],
    use: Callable[[Source, Content], None],
    fail: Callable[[Source, GemmaEdgeError], None],
    jobs: int,
    going: Going,
    counts: Counts,
) -> None:
    """Read each source in a thread and use it here, until the last or until someone stops it.
    ``use`` raises what is wrong with one file, and that goes to ``fail``; what is wrong with all
    of them is raised."""
    try:
        for source, content in read_ahead(read, sources, jobs):
            kept = counts.kept
            try:
                use(source, content())
            except (InputError, UsageError) as error:
                fail(source, error)
            going.step(failed=counts.failed, kept=counts.kept > kept)
    except (Interrupted, KeyboardInterrupt):
        counts.worsen(ExitStatus.INTERRUPTED)
