"""A conversation on disk: a folder with an append-only file, the pictures, and the KV cache.

    NAME/journal.jsonl    a record a line, written as it happens; nothing is ever taken out but a
                          question that was refused
    NAME/pictures/HASH    pixels, by their content
    NAME/cache.kv         what the engine held, to go on at once; can always be read again
    NAME/lock             held by the process that has the conversation open

Everything is for its owner alone. A process that is killed loses nothing that was written; what
must survive a loss of power too is synced: the question, and the end of an answer.
"""

import contextlib
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma_edge.disk import append, open_plain, sync_folder, write_atomically
from gemma_edge.documents.document import Picture, shown
from gemma_edge.engine.protocol import Message
from gemma_edge.errors import GemmaEdgeError, InputError, UsageError
from gemma_edge.records import dataclass
from gemma_edge.trust import visible

if TYPE_CHECKING:
    from filelock import BaseFileLock

Record = Mapping[str, Any]
FindPicture = Callable[[Record], Picture | None]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A text file that goes with a question, whole; ``tokens`` is what it takes of the context."""

    name: str
    text: str = field(repr=False)
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """What a person asked: ``text`` as it was typed, what goes with it, and the names of pictures
    that are not there any more."""

    text: str
    pictures: tuple[Picture, ...] = ()
    files: tuple[Attachment, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def names(self) -> str:
        named = [*(picture.name for picture in self.pictures), *(file.name for file in self.files)]
        return ", ".join(filter(None, [*named, *self.lost]))

    def amended(self, other: "Question") -> "Question":
        pictures, files = self.pictures + other.pictures, self.files + other.files
        return Question(other.text, pictures, files, self.lost + other.lost)

    def message(self, before: str = "") -> Message:
        files = [*map(render_file, self.files)]
        parts = [before, *files]
        parts += [f"[{name}: an image that cannot be shown any more]" for name in self.lost]
        text = "\n\n".join(filter(None, [*parts, self.text]))
        ends = () if before else accumulate(len(file) + len("\n\n") for file in files)
        return Message("user", text, self.pictures, documents=tuple(ends))


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and what was answered to it. ``reason`` is how the answer ended: a
    ``FinishReason``, "stopped" where the engine died, ``None`` where the program did. ``fate`` is
    why the model does not see it any more: "undone", "dropped", "summarized", "cleared"."""

    question: Question
    answer: str = ""
    thought: str = field(default="", repr=False)
    reason: str | None = None
    fate: str = ""

    @property
    def answered(self) -> bool:
        """Something was said, or the model ended by itself with nothing to say."""
        return bool(self.answer) or self.reason not in (None, "cancelled", "stopped")


@dataclass(slots=True)
class History:
    """A conversation. ``exchanges`` is what the model sees, after ``summary`` of what came before;
    ``earlier`` is what it does not see any more; ``open`` was asked and never answered."""

    title: str = ""
    model: str = ""
    created: float = 0.0
    system: str | None = None
    summary: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    earlier: list[Exchange] = field(default_factory=list)
    open: Question | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def last_question(self) -> Question | None:
        return self.open or (self.exchanges[-1].question if self.exchanges else None)

    @property
    def questions(self) -> int:
        earlier = sum(exchange.fate != "undone" for exchange in self.earlier)
        return earlier + len(self.exchanges) + (self.open is not None)

    def messages(self) -> list[Message]:
        """The system turn, if there is one, and all turns that the model sees."""
        messages = [Message("system", self.system)] if self.system else []
        for index, exchange in enumerate(self.exchanges):
            messages.append(exchange.question.message("" if index else self.preface()))
            messages.append(Message("model", exchange.answer))
        return messages

    def asking(self, question: Question) -> list[Message]:
        before = "" if self.exchanges else self.preface()
        return [*self.messages(), question.message(before)]

    def preface(self) -> str:
        """What the first question says of the turns before it."""
        return f"[What was said before, in short:\n{self.summary}]" if self.summary else ""

    def take_out(self, count: int, fate: str) -> None:
        self.earlier += [replace(exchange, fate=fate) for exchange in self.exchanges[:count]]
        del self.exchanges[:count]

    def take_back(self, fate: str) -> Exchange:
        """Move the last one there; return it as it was."""
        last = self.exchanges.pop()
        self.earlier.append(replace(last, fate=fate))
        return last


def render_file(file: Attachment) -> str:
    """A file in a prompt and in an export: its name, and its text in a fence that it does not
    hold itself."""
    fence = "```"
    while fence in file.text:
        fence += "`"
    return f"{file.name}:\n{fence}\n{file.text.rstrip()}\n{fence}"


def title_of(text: str) -> str:
    """The first line that says something, of 60 characters at most, shortened at a word."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if len(line) <= 60:  # noqa: PLR2004
        return line
    space = line.rfind(" ", 31, 59)
    return line[: space if space > 0 else 59].rstrip() + "…"


class Replay:
    """Makes a conversation from records, one by one: those of a session as it happens, and those
    of its journal later, so both are the same. An answer is open until its end is told.

    A question that was taken back, or asked again without a word said to it, leaves all as it was.
    """

    def __init__(self, find_picture: FindPicture) -> None:
        self.history = History()
        self.find_picture = find_picture
        self._asked: Question | None = None
        self._said: list[str] = []
        self._thought: list[str] = []
        self._before: Exchange | None = None  # comes back if nothing is said
        self._open: Question | None = None  # comes back if the question is refused
        self._title = ""  # so does this

    def take(self, record: Record) -> None:
        """Follow one record; one of an unknown kind is noted."""
        kind = str(record.get("type", ""))
        follow: Callable[[Record], None] | None = getattr(self, f"_on_{kind}", None)
        if follow is None:
            note = f"a line of the session file is of an unknown kind: `{shown(kind)[:40]}`"
            self.history.notes += [note] if note not in self.history.notes else []
            return
        if kind not in _DURING_ANSWER:
            self.end()
        try:
            follow(record)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            self.history.notes.append(f"a line of the session file is damaged: `{kind}`")

    def end(self, reason: str | None = None) -> None:
        """What was asked last is over, told or not. Idempotent."""
        if self._asked is None:
            return
        thought = "".join(self._thought)
        exchange = Exchange(self._asked, "".join(self._said), thought, reason)
        if exchange.answered:
            self.history.exchanges.append(exchange)
            if self._before is not None and not self.history.earlier[-1].fate:
                del self.history.earlier[-1]  # it went on: this is the same answer, longer
        elif not self._take_back():
            self.history.open = exchange.question
        self._asked = self._before = self._open = None

    def _ask(self, question: Question, before: Exchange | None = None, said: str = "") -> None:
        self._asked, self._before = question, before
        self._open, self.history.open = self.history.open, None
        self._title = self.history.title
        self._said, self._thought = [said], []

    def _take_back(self) -> bool:
        """The answer that stood here before, if there was one."""
        before, self._before = self._before, None
        if before is None:
            return False
        del self.history.earlier[-1:]
        self.history.exchanges.append(before)
        return True

    def _on_session(self, record: Record) -> None:
        at = float(record.get("at", 0.0))
        self.history.created = at if 0 <= at < _YEAR_10000 else 0.0
        self.history.model = _text(record, "model") if "model" in record else ""
        self._on_system(record)

    def _on_model(self, record: Record) -> None:
        self.history.model = _text(record, "model")

    def _on_system(self, record: Record) -> None:
        self.history.system = _text(record, "system") if record.get("system") else None

    def _on_title(self, record: Record) -> None:
        self.history.title = _text(record, "title")

    def _on_question(self, record: Record) -> None:
        question = self._question(record)
        self._ask(question)
        self.history.title = self.history.title or title_of(question.text) or question.names

    def _question(self, record: Record) -> Question:
        pictures, lost = [], []
        for saved in record.get("pictures", ()):
            picture = self.find_picture(saved)
            if picture is None:
                lost.append(_text(saved, "name") if saved.get("name") else "a picture")
                self.history.notes.append(f"{lost[-1]} is not beside the session file any more")
            else:
                pictures.append(picture)
        files = [
            Attachment(_text(file, "name"), _text(file, "text"), _count(file, "tokens"))
            for file in record.get("files", ())
        ]
        return Question(_text(record, "text"), tuple(pictures), tuple(files), tuple(lost))

    def _on_again(self, record: Record) -> None:
        """The last question is asked once more, perhaps in other words: its answer is undone."""
        history = self.history
        more = self._question(record) if "text" in record else None
        if history.open is not None:
            question, before = history.open, None
        else:
            before = history.take_back("undone")
            question = before.question
        self._ask(question.amended(more) if more else question, before)

    def _on_continue(self, record: Record) -> None:
        last = self.history.take_back("")
        self._ask(last.question, last, last.answer)
        self._thought = [last.thought]

    def _on_said(self, record: Record) -> None:
        self._said.append(_text(record, "text"))

    def _on_thought(self, record: Record) -> None:
        self._thought.append(_text(record, "text"))

    def _on_answered(self, record: Record) -> None:
        self.end(None if record["reason"] is None else _text(record, "reason"))

    def _on_refused(self, record: Record) -> None:
        """The engine did not take it: all is as before it was asked."""
        if self._asked is not None:
            self.history.title = self._title
            if not self._take_back():
                self.history.open = self._open
        self._asked = None

    def _on_undo(self, record: Record) -> None:
        if self.history.open is None:
            self.history.take_back("undone")
        self.history.open = None

    def _on_drop(self, record: Record) -> None:
        self.history.take_out(_count(record, "count"), "dropped")

    def _on_compact(self, record: Record) -> None:
        count, self.history.summary = _count(record, "count"), _text(record, "summary")
        self.history.take_out(count, "summarized")

    def _on_clear(self, record: Record) -> None:
        self.history.take_out(len(self.history.exchanges), "cleared")
        self.history.summary, self.history.open = "", None


def _text(record: Record, name: str) -> str:
    """Raises KeyError, TypeError: there is none."""
    value = record[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _count(record: Record, name: str) -> int:
    """Raises KeyError, TypeError: it is no number from 0 on."""
    value = record[name]
    if type(value) is not int or value < 0:
        raise TypeError(name)
    return value


_DURING_ANSWER = ("said", "thought", "answered", "refused", "title")
FILE, PICTURES, CACHE, LOCK = "journal.jsonl", "pictures", "cache.kv", "lock"
VERSION = 1
_YEAR_10000 = 253_402_300_800.0  # in seconds since 1970; no calendar here goes further
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PICTURE = ("width", "height", "name", "lost", "whole_tokens")  # what a record says of one


@contextlib.contextmanager
def _explained(what: str, place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GemmaEdgeError(
            f"{what} cannot be kept in {place}: {error.strerror or error}",
            hint="free some space, or --private",
        ) from None


class Journal:
    """One conversation's folder. Use ``create`` or ``open``; close it.

    Nothing is on disk before the first record, so a conversation without a word leaves nothing."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._file = -1
        self._lock: BaseFileLock | None = None
        self._named, self._is_new = True, False

    @classmethod
    def create(
        cls, folder: Path, name: str = "", *, clock: Callable[[], float] = time.time
    ) -> "Journal":
        """A new conversation in ``folder``, called ``name``, or by date and time.
        Raises UsageError: there is one of that name, or it is no name."""
        if name:
            check_name(name)
        if name and is_session(folder / name):
            hint = f"gemma-edge chat --session {name}"
            raise UsageError(f"there is a session `{name}` already", hint=hint)
        own = name or time.strftime("%Y%m%d-%H%M%S", time.localtime(clock()))
        journal = cls(folder / own, clock)
        journal._named, journal._is_new = bool(name), True
        return journal

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> "Journal":
        """A conversation that is there, to go on with; ``load`` reads it.
        Raises InputError: there is none, or another process has it open."""
        if not is_session(path):
            raise InputError(f"there is no session `{path.name}`", hint="gemma-edge sessions")
        journal = cls(path, clock)
        try:
            journal._start()
        except OSError as error:
            problem = f"the session `{path.name}` cannot be opened: {error.strerror or error}"
            raise InputError(problem, hint="gemma-edge sessions") from None
        return journal

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def exists(self) -> bool:
        return (self.path / FILE).is_file()

    @property
    def kv_path(self) -> Path:
        return self.path / CACHE

    def now(self) -> float:
        return round(self._clock(), 3)

    def load(self) -> Replay:
        return _replay(self.path, self._picture)

    def append(self, record: Record, *, sync: bool = False) -> None:
        """Write a record; to all but pieces of an answer ``at`` is added, in seconds since 1970.
        Raises GemmaEdgeError: the disk refuses, or another process has it open."""
        piece = record["type"] in ("said", "thought")
        stamped = record if piece else {**record, "at": self.now()}
        line = json.dumps(stamped, ensure_ascii=False) + "\n"
        with _explained("the session", self.path):
            self._start()
            append(self._file, line.encode("utf-8", "surrogatepass"), durable=sync)

    def keep_picture(self, picture: Picture) -> bool:
        """Write its pixels, once; whether they were not there before.
        Raises GemmaEdgeError: the disk refuses."""
        with _explained(picture.name or "an image", self.path / PICTURES):
            self._start()  # which may rename the folder
            path = self.path / PICTURES / picture.digest
            if path.exists():
                return False
            path.parent.mkdir(exist_ok=True, mode=0o700)
            write_atomically(path, zlib.compress(picture.rgb, 1), mode=0o600, durable=True)
            return True

    @property
    def size_bytes(self) -> int:
        """Of its file, as it was written so far."""
        return os.fstat(self._file).st_size if self._file >= 0 else 0

    def take_back(self, size_bytes: int, digests: Iterable[str] = ()) -> None:
        """Take out what was written since the file was of ``size_bytes``, and these pictures; of a
        conversation in which nothing else was said nothing is left.
        Raises GemmaEdgeError: the disk refuses."""
        with _explained("the session", self.path):
            for digest in digests:
                (self.path / PICTURES / digest).unlink(missing_ok=True)
            os.ftruncate(self._file, size_bytes)
            os.fsync(self._file)
            if self._is_new and not size_bytes:
                self._leave_nothing()

    def _leave_nothing(self) -> None:
        (self.path / FILE).unlink()
        self.close()
        with contextlib.suppress(OSError):  # what is not ours stays
            (self.path / LOCK).unlink(missing_ok=True)
            if (self.path / PICTURES).is_dir():
                (self.path / PICTURES).rmdir()
            self.path.rmdir()

    def _picture(self, record: Record) -> Picture | None:
        """A picture that was kept, if it is there and the same."""
        try:
            digest = _DIGEST.fullmatch(_text(record, "digest"))
            packed = (self.path / PICTURES / digest[0]).read_bytes() if digest else b""
            width, height = _count(record, "width"), _count(record, "height")
            lost = _text(record, "lost") if "lost" in record else ""
            whole = _count(record, "whole_tokens") if "whole_tokens" in record else 0
            rgb = zlib.decompressobj().decompress(packed, 3 * width * height + 1)
            picture = Picture(rgb, width, height, _text(record, "name"), lost, whole)
        except (OSError, OverflowError, ValueError, zlib.error, KeyError, TypeError):
            return None
        return picture if picture.digest == record["digest"] else None

    def _start(self) -> None:
        """Take the folder for this process and open the file at its end. Idempotent."""
        if self._file >= 0:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        stem, number = self.path.name, 1
        while not self._make_folder() and not self._named:  # begun in the same second as another
            number += 1
            self.path = self.path.with_name(f"{stem}-{number}")
        self._lock = take_lock(self.path)
        path = self.path / FILE
        fresh = not path.exists()
        if self._is_new and not fresh:  # what was said here meanwhile is of another conversation
            self._release()
            raise InputError(f"another conversation has begun as `{self.path.name}` meanwhile")
        self._named = True
        try:
            self._file = open_plain(path, os.O_CREAT | os.O_APPEND)
        except OSError:
            self._release()
            raise
        size = os.fstat(self._file).st_size
        if size:  # the last line may be half of one
            os.lseek(self._file, size - 1, os.SEEK_SET)
            if os.read(self._file, 1) != b"\n":
                append(self._file, b"\n")
        if fresh:
            sync_folder(self.path)

    def _make_folder(self) -> bool:
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            return False
        return True

    def close(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.fsync(self._file)
            os.close(self._file)
            self._file = -1
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def read_records(path: Path, notes: list[str]) -> Iterator[Record]:
    """The records of a session's folder. What is no record is noted; the last line may be half of
    one, where the machine stopped.
    Raises InputError: it cannot be read."""
    try:
        lines = (path / FILE).read_bytes().split(b"\n")
    except OSError as error:
        problem = f"the session `{path.name}` cannot be read: {error.strerror}"
        raise InputError(problem, hint="gemma-edge sessions") from None
    damaged = 0
    for line in filter(None, lines):
        try:
            record = json.loads(line.decode("utf-8", "surrogatepass"))
            if not isinstance(record, dict):
                raise ValueError
        except (ValueError, RecursionError):
            damaged += 1
        else:
            yield record
    if damaged:
        notes.append(f"{damaged} unreadable line{'s' * (damaged > 1)} in the session file")


def read_history(path: Path, find_picture: FindPicture | None = None) -> History:
    """What was said in a session, without opening it to go on.
    Raises InputError: it cannot be read."""
    return _replay(path, find_picture or Journal(path)._picture).history


def _replay(path: Path, find_picture: FindPicture) -> Replay:
    replay = Replay(find_picture)
    for record in read_records(path, replay.history.notes):
        replay.take(record)
    replay.end()
    return replay


MOST_NAME_BYTES = 140  # encrypted file systems take no more (eCryptfs: 143)
_OF_WINDOWS = re.compile(r"(?i:con|prn|aux|nul|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])")  # devices


def check_name(name: str) -> None:
    """A new session's name must be one of a folder, on every system, and one that can be typed.
    Raises UsageError: it is not."""
    hint = "letters, digits, - _"
    if not is_one_name(name) or any(c in ':*?"<>|' for c in name) or _is_odd(name):
        problem = f"`{shown(name[:60])}` cannot be the name of a session"
        raise UsageError(problem, hint=hint)
    if len(name.encode("utf-8", "surrogatepass")) > MOST_NAME_BYTES:
        problem = f"`{name[:20]}…` is too long for the name of a session"
        raise UsageError(problem, hint=f"{MOST_NAME_BYTES} letters at most")


def _is_odd(name: str) -> bool:
    """Hidden, taken for a flag, of Windows' own, or with what no terminal shows."""
    ends = name[0] in ".-" or name[-1] in ". " or name[0].isspace()
    return bool(
        ends or visible(name) != name or not set("\n\t").isdisjoint(name)
        or _OF_WINDOWS.fullmatch(name.partition(".")[0].strip())
    )  # fmt: skip


def is_one_name(name: str) -> bool:
    """Whether it names something in a folder, and not the folder or another."""
    return bool(name.strip()) and name not in (".", "..") and not set("/\\\0") & set(name)


def is_session(path: Path) -> bool:
    """Whether anything of a conversation lies there, in whatever state."""
    return os.path.lexists(path / FILE) or os.path.isdir(path / PICTURES)


def take_lock(path: Path) -> "BaseFileLock":
    """The folder of a session for this process alone; release it.
    Raises InputError: another has it."""
    from filelock import FileLock, Timeout  # noqa: PLC0415  (0.1 s, and only a writer needs it)

    try:
        lock = FileLock(path / LOCK, timeout=0, mode=0o600)
        lock.acquire()
    except Timeout:
        problem = f"the session `{path.name}` is open in another terminal"
        raise InputError(problem, hint="close it there") from None
    except OSError as error:
        raise InputError(f"the session `{path.name}` cannot be locked: {error.strerror}") from None
    return lock


@dataclass(frozen=True, slots=True)
class _Before:
    """What the journal was before a question, and what of it waited; ``digests`` are of pictures
    that came with it."""

    size_bytes: int = 0
    waiting: list[Record] | None = None
    digests: list[str] = field(default_factory=list)


class Recorder:
    """A conversation with its journal, if it has one; both are told each record. A journal that
    was opened goes on where it ended; a new one waits for the first question, so a conversation
    without a word leaves nothing. One that cannot be written any more ends no conversation:
    ``take_problem`` says so, once, and from then on nothing is kept."""

    def __init__(self, journal: Journal | None, *, model: str, system: str | None) -> None:
        self.journal = journal
        self._pictures: dict[str, Picture] = {}
        self._problem = ""
        self._waiting: list[Record] | None = None
        self._before = _Before()
        if journal is not None and journal.exists:
            self._replay = journal.load()
            self._replay.find_picture = self._picture
            self.set_system(self.history.system if system is None else system)
            self.set_model(model)
        else:
            self._replay = Replay(self._picture)
            self._waiting = []
            self.record({
                "type": "session", "version": VERSION, "model": model, "system": system or "",
                "at": journal.now() if journal else 0.0,
            })  # fmt: skip

    @property
    def history(self) -> History:
        return self._replay.history

    def record(self, record: Record, *, sync: bool = False) -> None:
        """Something happened. With ``sync`` it survives a loss of power too."""
        self._replay.take(record)
        journal, kind = self.journal, record["type"]
        if journal is None:
            return
        if self._waiting is not None and kind != "question":
            self._waiting.append(record)
            return
        try:
            if kind == "refused":  # what was refused was not said
                before, self._waiting = self._before, self._before.waiting
                journal.take_back(before.size_bytes, before.digests)
                return
            if kind in ("question", "again", "continue"):
                self._before = _Before(journal.size_bytes, self._waiting)
            for early in self._waiting or ():
                journal.append(early)
            self._waiting = None
            for saved in record.get("pictures", ()):
                if journal.keep_picture(self._pictures[saved["digest"]]):
                    self._before.digests.append(saved["digest"])
            journal.append(record, sync=sync)
        except GemmaEdgeError as error:
            self._give_up(error)

    def set_system(self, text: str | None) -> None:
        if (text or None) != self.history.system:
            self.record({"type": "system", "system": text or ""})

    def set_model(self, name: str) -> None:
        if name and name != self.history.model:
            self.record({"type": "model", "model": name})

    def question(self, question: Question) -> Record:
        """The record that asks it; ``record`` keeps its pictures."""
        self._pictures |= {picture.digest: picture for picture in question.pictures}
        return {
            "type": "question",
            "text": question.text,
            "pictures": [
                {name: getattr(picture, name) for name in ("digest", *_PICTURE)}
                for picture in question.pictures
            ],
            "files": [{"name": f.name, "tokens": f.tokens, "text": f.text} for f in question.files],
        }

    def take_problem(self) -> str:
        """Why nothing is kept any more; "" if it is, or if that was said."""
        problem, self._problem = self._problem, ""
        return problem

    def _give_up(self, error: GemmaEdgeError) -> None:
        assert self.journal is not None
        self.journal.close()
        self.journal = None
        self._problem = f"{error.message}; from here on nothing is kept"

    def _picture(self, record: Record) -> Picture | None:
        return self._pictures.get(record["digest"])
