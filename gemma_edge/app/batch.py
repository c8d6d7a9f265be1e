"""Many files through one model: found, read ahead in threads, answered one after another.

Each answer is a record, written whole before the next begins, and known again when the batch is
run again. What is wrong with one file is an error of that file; the rest goes on. The pipeline
knows nothing of documents or images: a ``RecordFormat`` says how a record looks in a file.
"""

import errno
import glob
import json
import os
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import field, replace
from functools import partial
from hashlib import sha256
from itertools import islice, takewhile
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from gemma_edge.app.request import BatchRequest, Form
from gemma_edge.app.runtime import Bug, Failure, Problem, Runtime, Step, Told, uncancelled
from gemma_edge.disk import (
    Taken,
    append,
    encode,
    holding,
    open_plain,
    sync_folder,
    try_lock,
    write_atomically,
)
from gemma_edge.documents.document import (
    CLIPBOARD,
    IMAGE_SUFFIXES,
    MAX_IMAGE_BYTES,
    Lines,
    read_file,
    shown,
    whole_lines,
)
from gemma_edge.errors import (
    BuildError,
    DoesNotFit,
    EngineError,
    EngineStopped,
    ExitStatus,
    GemmaEdgeError,
    InputError,
    Interrupted,
    ProjectorError,
    UsageError,
)
from gemma_edge.records import dataclass
from gemma_edge.trust import is_network, leads_into_network, lies_below

if TYPE_CHECKING:
    from gemma_edge.app.loaded import LoadedEngine, Prepared
    from gemma_edge.isolation import Once

# ----------------------------------------------------------------------------
# The files that somebody named: paths, folders, patterns, stdin, the clipboard.


STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a command reads: its name, the endings that are taken from a folder, and an ending for
    examples."""

    name: str
    command: str
    suffixes: frozenset[str]
    example: str


IMAGES = FileKind("image", "describe", IMAGE_SUFFIXES, "jpg")
DOCUMENTS = FileKind(
    "document", "extract",
    IMAGE_SUFFIXES - {".gif", ".bmp", ".ppm", ".pgm", ".pbm"}
    | {".pdf", ".docx", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".csv", ".tsv", ".html", ".htm"}
    | {".xhtml", ".eml", ".txt", ".text", ".md", ".markdown"}, "pdf",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """One file, or bytes that are there already. ``name`` is what lines about it begin with. One
    that was found in ``folder`` is read only from there: a folder may bring links to anything."""

    name: str
    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    folder: Path | None = None

    def read(self) -> bytes:
        """All bytes.
        Raises InputError: missing, empty, too large, or a link that leads out of the folder."""
        if self.path is None:
            return self.data or b""
        if self.folder is not None and not lies_below(self.path, self.folder):
            target = shown(os.path.realpath(self.path))
            problem = f"{self.name} leads out of {shown(self.folder)}, to {target}"
            raise InputError(problem, hint="name the file itself, if it is meant")
        return read_file(self.path, max_bytes=MAX_IMAGE_BYTES)


@dataclass(frozen=True, slots=True)
class Sources:
    """``many`` is whether a folder or a pattern was named: then each file stands for itself."""

    each: tuple[Source, ...]
    many: bool


def find_sources(
    files: Sequence[Path], kind: FileKind, *, clipboard: bool = False,
    read_stdin: Callable[[], bytes] | None = None, note: Callable[[str], None],
) -> Sources:  # fmt: skip
    """What was named, in that order; a folder's files by their names. ``read_stdin`` is None where
    stdin is a terminal.
    Raises UsageError: nothing was named, or stdin is a terminal; InputError: a folder or a pattern
    without what is wanted, a pipe that cannot be read."""
    found: list[Source] = []
    many = False
    for path in files:
        if path == STDIN:
            found.append(Source("stdin", data=_piped(read_stdin, kind)))
        elif os.path.isdir(path):
            many = True
            found += _in_folder(path, kind, note)
        elif not os.path.lexists(path) and glob.has_magic(str(path)):
            many = True
            found += _matching(path)
        elif _is_plain(path):
            found.append(Source(shown(path), path))
        else:  # a pipe such as <(command): it can be read once
            found.append(Source(shown(path), data=read_file(path, max_bytes=MAX_IMAGE_BYTES)))
    if clipboard:
        found += _copied()
    if not found:
        raise UsageError("missing argument `FILE`", hint=f"gemma-edge {kind.command} --help")
    return Sources(tuple(found), many)


def _piped(read_stdin: Callable[[], bytes] | None, kind: FileKind) -> bytes:
    if read_stdin is None:
        article = "an" if kind.name[0] in "aeiou" else "a"
        problem = f"`-` reads {article} {kind.name} from stdin, and stdin is a terminal"
        raise UsageError(problem, hint="name a file")
    return read_stdin()


def _in_folder(folder: Path, kind: FileKind, note: Callable[[str], None]) -> Iterator[Source]:
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        problem = f"{shown(folder)} cannot be read ({error.strerror or error})"
        raise InputError(problem, hint="check its mode") from None
    taken = {path for path in paths if path.suffix.lower() in kind.suffixes and _is_plain(path)}
    if not taken:
        hint = f"name files, or '{shown(folder)}/**/*.{kind.example}'"
        raise InputError(f"{shown(folder)} has no {kind.name} in it", hint=hint)
    left_out = [path for path in paths if path not in taken]
    others = Counter(map(_kind_of, left_out))
    if others:
        kinds = ", ".join(f"{count:,} {ending}" for ending, count in sorted(others.items()))
        note(f"{shown(folder)}: {len(taken):,} {kind.name}s; left out: {kinds}")
    return (Source(shown(path), path, folder=folder) for path in paths if path in taken)


def _kind_of(path: Path) -> str:
    if os.path.islink(path) and leads_into_network(path):
        return "link into the network"
    return "folder" if os.path.isdir(path) else path.suffix.lower() or "no ending"


def _matching(pattern: Path) -> Iterator[Source]:
    names = sorted(glob.glob(str(pattern.expanduser()), recursive=True))
    paths = [path for path in map(Path, names) if _is_plain(path)]
    if not paths:
        raise InputError(f"nothing matches {shown(pattern)}", hint="check the pattern")
    fixed = takewhile(lambda part: not glob.has_magic(part), pattern.expanduser().parts)
    folder = Path(*fixed)
    return (Source(shown(path), path, folder=folder) for path in paths)


def _is_plain(path: Path) -> bool:
    """A file, or a link to nothing, which is an error worth a line; no folder, and no pipe that
    nobody writes to. A link into the network, which a folder may bring, is not followed."""
    if os.path.islink(path) and not is_network(path) and leads_into_network(path):
        return False
    # What cannot be asked is read, and told.
    return os.path.isfile(path) or not os.path.exists(path)


def _copied() -> Iterator[Source]:
    from gemma_edge.documents.images import read_clipboard  # noqa: PLC0415

    found = read_clipboard()
    if isinstance(found, bytes):
        return iter([Source(CLIPBOARD, data=found)])
    return (Source(shown(name), Path(name)) for name in found)


# ----------------------------------------------------------------------------
# Where records go: to whoever asked, or to the end of a file that is gone on with.


class BatchRecord(Protocol):
    """What the pipeline knows of a record: the file that it is about, and why there is no answer
    ("" where there is one)."""

    @property
    def file(self) -> str: ...
    @property
    def error(self) -> str: ...


Kept = TypeVar("Kept", bound=BatchRecord)
Content = TypeVar("Content")
Said = TypeVar("Said")


class Before:
    """What a file of records held: ``done`` are the answers that are whole, by key, ``lines`` how
    they stand there; ``told`` are files with their error, which is not told again."""

    def __init__(self) -> None:
        self.done: dict[Hashable, Any] = {}
        self.lines: dict[Hashable, str] = {}
        self.told: set[tuple[str, str]] = set()
        self._rows: Counter[tuple[str, Hashable]] = Counter()
        self._claims: dict[tuple[int, Hashable], bool] = {}
        self._lock = Lock()

    def add(self, file: str, key: Hashable, answer: Any = None, line: str = "") -> None:
        """There is a row about ``file``."""
        self.done[key], self.lines[key] = answer, line
        self._rows[_place(file), key] += 1

    def become(self, other: "Before") -> None:
        """What the other holds, in its place."""
        with self._lock:
            self.done, self.lines, self.told = other.done, other.lines, other.told
            self._rows, self._claims = other._rows, other._claims

    def has_row(self, source: "Source", key: Hashable) -> bool:
        """Whether one of the rows is that of this source: of two with the same content and name
        each has its own. The same whenever it is asked, from any thread."""
        with self._lock:
            claim = id(source), key
            if claim not in self._claims:
                row = _place(source.name), key
                self._claims[claim] = self._rows[row] > 0
                self._rows[row] -= self._claims[claim]
            return self._claims[claim]


def _place(file: str) -> str:
    """`a.txt`, `./a.txt` and the whole path are one file."""
    return os.path.normcase(os.path.abspath(file.replace("\0", "?")))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFormat(Generic[Kept]):
    """How records look: lines of JSON, made of ``document``, or rows of a table below ``head``.
    ``title`` names the format in an error, ``rows`` reads a text back, ``cells`` renders what it
    gives again, and ``answer`` gives the key and the answer of what was read, None where it is no
    whole answer."""

    document: Callable[[Kept], Mapping[str, Any]]
    rows: Callable[[str], Iterable[Mapping[str, Any]]]
    answer: Callable[[Mapping[str, Any]], tuple[Hashable, Any] | None]
    lines: Lines = "json"
    title: str = "lines of JSON"
    head: str = ""
    row: Callable[[Kept], str] | None = None
    cells: Callable[[Mapping[str, Any]], str] = partial(json.dumps, ensure_ascii=False)

    def render(self, record: Kept) -> str:
        if self.row is not None:
            return self.row(record)
        return json.dumps(self.document(record), ensure_ascii=False)

    def read(self, text: str) -> Before:
        """What a text holds. A line that is no record counts for nothing."""
        before = Before()
        for row in self.rows(text):
            if row.get("error"):
                before.told.add((str(row.get("file")), str(row["error"])))
            elif found := self.answer(row):
                before.add(str(row.get("file")), *found, self.cells(row))
        return before

    def renamed(self, line: str, file: str) -> str:
        """The same line about another file."""
        row = next(iter(self.rows(f"{self.head}\n{line}\n")))
        return self.cells({**row, "file": file})

    def begins(self, line: str) -> bool:
        """Whether a file of this format may begin with the line."""
        return line == self.head.partition("\n")[0] if self.head else line.startswith("{")


@dataclass(frozen=True, slots=True)
class Sink(Generic[Kept]):
    """Takes records. ``before`` is what its file held; ``keeps`` is whether there is one. ``copy``
    writes the answer of a key once more, as that of another file; ``end`` is called when every file
    has its row. ``look_again`` brings ``before`` up to date with what others wrote meanwhile."""

    put: Callable[[Kept], object]
    before: Before = field(default_factory=Before)
    keeps: bool = False
    copy: Callable[[Hashable, str], object] = lambda _key, _file: None
    end: Callable[[], object] = lambda: None
    look_again: Callable[[], object] = lambda: None

    def write(self, record: Kept) -> None:
        """Keep one record; an error that the file tells already is not told again.
        Raises DoesNotFit: it cannot be written."""
        if (record.file, record.error) not in self.before.told:
            self.put(record)

    def give_row(self, source: "Source", key: Hashable) -> bool:
        """See to it that the source has its row, where there is an answer about its content.
        Raises DoesNotFit: it cannot be written."""
        if key not in self.before.done:
            return False
        if not self.before.has_row(source, key):
            self.copy(key, source.name)
        return True


# Takes a record on its way to whoever asked: data, or a line of a table.
Emit = Callable[[Mapping[str, Any] | str], None]

_ENDINGS: dict[str, Form] = {
    ".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv", ".md": "markdown",
    ".markdown": "markdown", ".db": "sqlite", ".sqlite": "sqlite", ".sqlite3": "sqlite",
}  # fmt: skip


def form_of(out: Path | None, asked: Form | None = None) -> Form:
    """What was asked for, or what the file's name says, or lines of JSON."""
    return asked or _ENDINGS.get(out.suffix.lower() if out else "", "json")


@contextmanager
def open_sink(
    out: Path | None, look: RecordFormat[Kept], emit: Emit, runtime: Runtime
) -> Iterator[Sink[Kept]]:
    """Records go to ``emit``, or behind the last whole record of the file ``out``, each on the disk
    before the next is asked for.
    Raises InputError: the file holds something else, cannot be read, is a link, or another run
    writes it; DoesNotFit: it cannot be written."""
    if out is None:
        yield Sink(_emitting(look, emit))
        return
    with open_out(out, runtime) as number:
        _refuse_shared(number, out)
        held = _held(out, look)
        text = whole_lines(held, look.lines)

        def put(line: str) -> None:
            try:
                append(number, encode(line + "\n"), durable=True)
            except OSError as error:
                raise unwritable(out, error) from None

        if len(text) < len(held):
            runtime.note(f"{shown(out)} ended in the middle of a record, which is cut off")
            os.ftruncate(number, len(text.encode("utf-8")))
        if not text and look.head:
            put(look.head)
        before = look.read(text)

        def copy(key: Hashable, file: str) -> None:
            put(look.renamed(before.lines[key], file))

        yield Sink(lambda each: put(look.render(each)), before, True, copy)


@contextmanager
def open_out(out: Path, runtime: Runtime) -> Iterator[int]:
    """The number of the file ``out``, open at its end, for this run alone.
    Raises InputError: it is a link, or another run writes it, which is named; DoesNotFit: it
    cannot be written."""
    try:
        number = open_plain(out, os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        is_device = out.exists() and not out.is_file()
        if error.errno != errno.ELOOP or is_device:
            raise unwritable(out, error) from None
        real = shown(os.path.realpath(out))
        problem = f"{shown(out)} is a link to {real}, and nothing is written through a link"
        is_stdout = str(out) in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
        hint = "without --out the answers go to stdout" if is_stdout else f"--out {real}"
        raise InputError(problem, hint=hint) from None
    with ExitStack() as stack:
        stack.callback(os.close, number)
        found = os.fstat(number)
        name = sha256(f"{found.st_dev} {found.st_ino}".encode()).hexdigest()[:32]
        lock = runtime.store.data_dir / "writing" / f"{name}.lock"
        since = time.strftime("%H:%M", time.localtime(runtime.store.clock()))
        try:
            stack.enter_context(holding(lock, f"process {os.getpid()}, since {since}"))
        except Taken as other:
            who = shown(str(other)) if str(other) else "it has just begun"
            problem = f"another run is writing {shown(out)} ({who})"
            raise InputError(problem, hint="wait for its end, or name another file") from None
        except OSError as error:
            reason = error.strerror or error
            runtime.note(f"another run on {shown(out)} would not be noticed ({reason})")
        if not found.st_size:  # the name of a new one is to last, too
            with suppress(OSError):
                sync_folder(out.parent)
        yield number


def _refuse_shared(number: int, out: Path) -> None:
    """The file itself is locked, too: the lock that names its holder lies in a folder that another
    user, or a container, does not have. Windows would let nobody read it meanwhile."""
    if os.name != "nt":
        with suppress(OSError):  # a file system without locks
            if not try_lock(number):
                problem = f"another run is writing {shown(out)}, with a data folder of its own"
                raise InputError(problem, hint="wait for its end, or name another file")


def _emitting(look: RecordFormat[Kept], emit: Emit) -> Callable[[Kept], None]:
    begun = not look.head

    def put(record: Kept) -> None:
        nonlocal begun
        if not begun:
            emit(look.head)
            begun = True
        emit(look.document(record) if look.row is None else look.row(record))

    return put


class NameRefused(DoesNotFit):
    """One file cannot be written, for its name, its folder or what is there; others may be."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EMFILE)


def write_whole(path: Path, text: str) -> None:
    """A file that is there whole, or not at all.
    Raises DoesNotFit: it cannot be written; NameRefused: but another could."""
    try:
        write_atomically(path, text)
    except OSError as error:
        refused = unwritable(path, error)
        if error.errno in _FULL:
            raise refused from None
        raise NameRefused(refused.message, hint=refused.hint) from None


def unwritable(path: Path, error: OSError) -> DoesNotFit:
    return DoesNotFit(
        f"{shown(path)} cannot be written ({error.strerror or error})",
        hint="check the folder, its mode and the disk, or name another file",
    )


def _held(out: Path, look: RecordFormat[Kept]) -> str:
    """What the file holds, if that is records of this format."""
    problem = f"{shown(out)} does not hold {look.title}; nothing was written"
    other = InputError(problem, hint="name another file")
    try:
        text = out.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise other from None
    except OSError as error:
        raise unwritable(out, error) from None
    if text and not look.begins(text.partition("\n")[0]):
        raise other
    return text


# ----------------------------------------------------------------------------
# The batch itself.


# No answer is worse than one that is not whole; what is wrong with all is worst.
_SEVERITY = (
    ExitStatus.OK, ExitStatus.RESULT, ExitStatus.INPUT, ExitStatus.USAGE, ExitStatus.DOES_NOT_FIT,
    ExitStatus.MODEL, ExitStatus.FAILED, ExitStatus.UNFINISHED, ExitStatus.INTERRUPTED,
)  # fmt: skip

_SAID_OF_BUG = 200  # characters

# What may be wrong with one file; the others may do all the same.
FILE_ERRORS = (InputError, UsageError, DoesNotFit, EngineError, ProjectorError)


@dataclass(slots=True)
class Counts:
    """How it went with ``files``: ``done`` now, ``kept`` from before, ``failed``; ``invalid``
    answers, images that ``lost`` detail, the ``kinds`` of documents that were recognized, and the
    worst that happened as an exit status."""

    files: int = 0
    done: int = 0
    kept: int = 0
    failed: int = 0
    invalid: int = 0
    lost: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    status: ExitStatus = ExitStatus.OK

    def worsen(self, status: ExitStatus) -> None:
        self.status = max(self.status, status, key=_SEVERITY.index)

    def add(self, other: "Counts") -> None:
        """Those of one file more."""
        self.done, self.kept = self.done + other.done, self.kept + other.kept
        self.failed, self.invalid = self.failed + other.failed, self.invalid + other.invalid
        self.lost += other.lost
        self.kinds.update(other.kinds)
        self.worsen(other.status)


class Answering(Protocol):
    """Answers some files; ``again`` where another process may have begun with them."""

    def __call__(self, sources: Sequence["Source"], *, again: bool = False) -> Counts: ...


class _Aside(threading.local, Generic[Kept]):
    """Where the effects of a file go that is answered beside others: into ``later``, in the place
    of the batch. They take place when it is the file's turn."""

    def __init__(self) -> None:
        self.later: list[Callable[[], object]] | None = None
        self.counts = Counts()
        self.sink: Sink[Kept] | None = None
        self.runtime: Runtime | None = None


class Batch(Generic[Kept]):
    """One batch on its way into ``sink``. The model is loaded when the first file needs it, and
    closed by ``open_batch``. Where the plan pays for several answers at once, files are used in
    threads, and what comes of each takes place in their order."""

    def __init__(
        self, sink: Sink[Kept], prepared: "Prepared", runtime: Runtime, stack: ExitStack
    ) -> None:
        self._sink, self.prepared, self._runtime = sink, prepared, runtime
        self._counts, self._stack = Counts(), stack
        self._engine: LoadedEngine | None = None
        self._engine_error: Exception | None = None
        self._engine_lock = Lock()
        self._is_loading = False
        self._noted: set[str] = set()
        self._aside: _Aside[Kept] = _Aside()

    @property
    def sink(self) -> Sink[Kept]:
        return self._aside.sink or self._sink

    @property
    def runtime(self) -> Runtime:
        return self._aside.runtime or self._runtime

    @property
    def counts(self) -> Counts:
        return self._counts if self._aside.later is None else self._aside.counts

    def do(self, effect: Callable[[], object]) -> None:
        """Now, or when it is the file's turn."""
        if self._aside.later is None:
            effect()
        else:
            self._aside.later.append(effect)

    @property
    def engine(self) -> "LoadedEngine":
        """The model; what is wrong with it is wrong with all files, and raised."""
        with self._engine_lock:
            if self._engine_error is not None:
                raise self._engine_error
            if self._engine is None:
                from gemma_edge.app.standby import open_engine  # noqa: PLC0415

                self._is_loading = True
                try:
                    opening = open_engine(self.prepared, self._runtime)
                    self._engine = self._stack.enter_context(opening)
                except Exception as error:
                    self._engine_error = error
                    raise
                self._is_loading = False
                self._runtime.note(self.prepared.render(self._engine.info))
            return self._engine

    def answering(
        self, read: Callable[[Source], Content | None], use: Callable[[Source, Content], None],
        failed: Callable[[Source, GemmaEdgeError], Kept], request: BatchRequest,
    ) -> Answering:  # fmt: skip
        """``run`` for some files and then for some more."""

        def answer(sources: Sequence[Source], *, again: bool = False) -> Counts:
            if again:
                self._sink.look_again()
            return self.run(sources, read, use, failed, request)

        return answer

    def run(
        self, sources: Sequence[Source], read: Callable[[Source], Content | None],
        use: Callable[[Source, Content], None], failed: Callable[[Source, GemmaEdgeError], Kept],
        request: BatchRequest,
    ) -> Counts:  # fmt: skip
        """Read each source in a thread, None where it is done already, and use it, until the last
        or until someone stops it: then no thread is waited for. What ``read`` and ``use``
        raise about one file, foreseen or not, becomes the record that ``failed`` makes.
        Raises GemmaEdgeError: what is wrong with all of them: no model, no room for the answers."""
        self._counts = Counts()
        # A folder may hold what was written there.
        sources = [each for each in sources if not _is_same(each.path, request.out)]
        self.counts.files = len(sources)
        at_once = self.prepared.plan.sequences
        try:
            jobs, many = max(request.jobs, at_once), at_once > 1
            ahead = self._until_told(read_ahead(read, sources, jobs, waits=not many), request)
            used = self._use_aside(ahead, use, at_once) if many else self._use(ahead, use)
            for number, (source, error, kept) in enumerate(used, 1):
                if error is not None:
                    self.fail(failed(source, error), error)
                self.runtime.on_event(Step(number, len(sources), self.counts.failed, kept))
            if self.counts.status != ExitStatus.UNFINISHED:
                self.sink.end()
        except (Interrupted, KeyboardInterrupt):
            self.counts.worsen(ExitStatus.INTERRUPTED)
        return self.counts

    def _until_told(
        self, ahead: Iterator[tuple[Source, Callable[[], Content | None]]], request: BatchRequest
    ) -> Iterator[tuple[Source, Callable[[], Content | None]]]:
        """The same, until there is a reason to begin no further file."""
        for number, each in enumerate(ahead):
            if why := request.stopped():
                self.counts.worsen(ExitStatus.UNFINISHED)
                left = self.counts.files - number
                self.runtime.note(f"{why}: {count_left(left)}; run it again to go on")
                return
            yield each

    def _use(
        self, ahead: Iterable[tuple[Source, Callable[[], Content | None]]],
        use: Callable[[Source, Content], None],
    ) -> Iterator[tuple[Source, GemmaEdgeError | None, bool]]:  # fmt: skip
        """Each source with what is wrong with it, and whether it was done before."""
        for source, content in ahead:
            kept = self.counts.kept
            error = self._trying(partial(self._go_through, source, content, use))
            yield source, error, self.counts.kept > kept

    def _use_aside(
        self, ahead: Iterable[tuple[Source, Callable[[], Content | None]]],
        use: Callable[[Source, Content], None], at_once: int,
    ) -> Iterator[tuple[Source, GemmaEdgeError | None, bool]]:  # fmt: skip
        """The same, so many at once. Where somebody stops it, what is answered already is kept."""
        from gemma_edge.app.at_once import answer_at_once  # noqa: PLC0415  (not for a help page)

        works = (
            partial(self._go_aside, source, partial(self._go_through, source, content, use))
            for source, content in ahead
        )
        with ExitStack() as stack:
            listens = False

            def wait(ended: threading.Event, seconds: float) -> None:
                nonlocal listens
                if self._engine is not None and not listens:
                    stack.enter_context(self._runtime.cancelling(self._engine))
                    listens = True
                ended.wait(seconds)
                if self._engine is not None and self._engine.cancelled:
                    raise Interrupted("stopped")  # also where all of them are still being read

            for source, error, effects in answer_at_once(works, at_once, wait):
                wrong = self._trying(effects.take_place) or error
                self._counts.add(effects.counts)
                yield source, wrong, effects.counts.kept > 0

    def _go_aside(
        self, source: Source, work: Callable[[], None]
    ) -> tuple[Source, GemmaEdgeError | None, "_Effects"]:
        """In a thread: what is wrong with the file, and what is to take place."""
        aside, sink = self._aside, self._sink
        later: list[Callable[[], object]] = []
        aside.later, aside.counts = later, Counts()

        def note(text: str) -> None:
            later.append(partial(self._runtime.note, text))

        def tell(event: Told) -> None:
            if isinstance(event, Problem | Failure | Bug):  # no words: they come of several files
                later.append(partial(self._runtime.on_event, event))

        def copy(key: Hashable, file: str) -> None:
            later.append(partial(sink.copy, key, file))

        def put(record: Kept) -> None:
            later.append(partial(sink.put, record))

        aside.runtime = replace(self._runtime, note=note, on_event=tell, cancelling=uncancelled)
        aside.sink = replace(sink, put=put, copy=copy)
        return source, self._trying(work), _Effects(later, aside.counts)

    def _go_through(
        self, source: Source, content: Callable[[], Content | None],
        use: Callable[[Source, Content], None],
    ) -> None:  # fmt: skip
        try:
            found = content()
        except Interrupted:
            raise
        except GemmaEdgeError as error:  # whatever it is, only this file was read
            raise _OfOne(error) from None
        if found is None:
            self.counts.kept += 1
        else:
            use(source, found)

    def _trying(self, work: Callable[[], None]) -> GemmaEdgeError | None:
        """What is wrong with this file alone, None where nothing is.
        Raises GemmaEdgeError: what is wrong with all."""
        try:
            work()
        except _OfOne as found:
            return found.error
        except (InputError, UsageError, NameRefused) as error:
            return error
        except (GemmaEdgeError, BrokenPipeError):  # of all of them; nobody reads the answers
            raise
        # The one place beside `main` that takes whatever comes: what nobody foresaw in one
        # stranger's document must not cost the answers about ten thousand others.
        except Exception as error:  # noqa: BLE001
            if self._is_loading:  # a bug that each of the files would meet
                raise
            return self._explain_bug(error)
        return None

    def _explain_bug(self, error: Exception) -> GemmaEdgeError:
        """One line with its place; the rest for whoever asks for it."""
        self.runtime.on_event(Bug("".join(traceback.format_exception(error))))
        places = traceback.extract_tb(error.__traceback__)
        traceback.clear_frames(error.__traceback__)  # an answer that was being made ends here
        where = f" at {Path(places[-1].filename).name}:{places[-1].lineno}" if places else ""
        said = shown(" ".join(str(error).split()))[:_SAID_OF_BUG] if str(error) else "no message"
        problem = f"a bug in gemma-edge: {type(error).__name__}: {said}{where}"
        return GemmaEdgeError(problem, hint="GEMMA_EDGE_DEBUG=1 shows all of it; please report it")

    def ask(self, question: "Callable[[LoadedEngine], Said]") -> Said:
        """One answer; asked again where the engine stopped in the middle of it."""
        engine = self.engine
        try:
            return question(engine)
        except EngineStopped as stop:
            self.runtime.note(f"{stop.message}; asking again")
            return question(engine)

    def tell(self, name: str, problems: Iterable[str]) -> None:
        """What is wrong with an answer, to whoever listens; the record has it too."""
        for problem in problems:
            self.counts.worsen(ExitStatus.RESULT)
            self.runtime.on_event(Problem(f"{name}: {problem}"))

    def fail(self, record: Kept, error: GemmaEdgeError) -> None:
        """Raises BuildError: no file can be answered."""
        if isinstance(error, BuildError):
            raise error
        self.counts.failed += 1
        self.counts.worsen(error.exit_status)
        said = error.message
        self.runtime.on_event(Failure(said if record.file in said else f"{record.file}: {said}"))
        self.sink.write(record)

    def note_once(self, note: str, said: str = "") -> None:
        """What may be so of every file is said of the first only."""

        def tell() -> None:
            if note not in self._noted:
                self._noted.add(note)
                self._runtime.note(said or note)

        self.do(tell)


class _OfOne(Exception):
    """What is wrong with one file, whatever it is."""

    def __init__(self, error: GemmaEdgeError) -> None:
        self.error = error


def count_left(files: int) -> str:
    return "1 file is left" if files == 1 else f"{files:,} files are left"


@dataclass(frozen=True, slots=True)
class _Effects:
    """What comes of a file when it is its turn."""

    later: Sequence[Callable[[], object]]
    counts: Counts

    def take_place(self) -> None:
        for effect in self.later:
            effect()


def _is_same(path: Path | None, out: Path | None) -> bool:
    if path is None or out is None:
        return False
    try:
        return os.path.samefile(path, out)
    except (OSError, ValueError):  # one of them is not there, or cannot be
        return False


@contextmanager
def open_batch(sink: Sink[Kept], prepared: "Prepared", runtime: Runtime) -> Iterator[Batch[Kept]]:
    """Many files are read once each: what is remembered of documents serves them, and none of them
    is added."""
    from gemma_edge.planning.plan import with_fallbacks  # noqa: PLC0415

    plan = with_fallbacks(prepared.plan, remember_bytes=0, patient=True)
    prepared = replace(prepared, plan=plan)
    with ExitStack() as stack:
        yield Batch(sink, prepared, runtime, stack)


# Far longer than any document takes whose parts are read within limits of their own.
READ_SECONDS = 1800.0


def read_ahead(
    read: Callable[[Source], Content], sources: Sequence[Source], jobs: int,
    seconds: float = READ_SECONDS, *, waits: bool = True,
) -> Iterator[tuple[Source, Callable[[], Content]]]:  # fmt: skip
    """Each source with what gives its content, or raises why there is none; ``jobs`` are read
    while one is used, and no more, so memory does not grow with their number. One that takes longer
    than ``seconds`` is left alone, and no thread is waited for at the end. Where this does not
    wait for the content, whoever takes it does."""
    from gemma_edge.isolation import Once  # noqa: PLC0415  (not for a help page)

    waiting: deque[tuple[Source, Once[Content]]] = deque()
    rest = iter(sources)

    def begin(count: int) -> None:
        for source in islice(rest, count):
            waiting.append((source, Once(partial(read, source))))
            waiting[-1][1].begin()

    begin(jobs)
    while waiting:
        source, content = waiting.popleft()
        if waits:
            content.wait(seconds)
        begin(1)
        yield source, partial(_take, source, content, seconds, 0.0 if waits else seconds)


def _take(source: Source, content: "Once[Content]", seconds: float, left: float) -> Content:
    if content.wait(left):
        return content()
    problem = f"{source.name} was not read within {seconds / 60:,.0f} minutes"
    raise InputError(problem, hint="look at the disk that it is on, or leave it out")
