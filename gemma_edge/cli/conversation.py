"""A conversation at a terminal as its commands see it: what is loaded, what goes with the next
message, how an answer is shown, and what is done between two messages.
"""

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gemma_edge.app.load import LoadedEngine, Prepared, VisionMode, load, prepare
from gemma_edge.app.request import AUTO, ModelRequest
from gemma_edge.app.runtime import Runtime
from gemma_edge.catalog import kind_of
from gemma_edge.chat.journal import Attachment, Journal, check_name, load_history
from gemma_edge.chat.session import KEPT, Session
from gemma_edge.chat.sessions import find_journal, list_journals, prune
from gemma_edge.cli.context import Context, sessions_dir
from gemma_edge.cli.inputs import read_pictures
from gemma_edge.cli.output import Output, cancel_on_interrupt
from gemma_edge.cli.progress import show_progress
from gemma_edge.cli.streaming import conclude, ended, ending, render_status, show_aside, stream_text
from gemma_edge.documents.document import Document, Picture, render_cost, shown
from gemma_edge.documents.images import (
    NAME,
    SUFFIXES,
    fit_picture,
    open_image,
    read_clipboard,
    read_image,
)
from gemma_edge.documents.open import open_document
from gemma_edge.engine.protocol import Chunk, Engine, Event, Finished, Notice, Reading, Sampling
from gemma_edge.errors import (
    DoesNotFit,
    EngineError,
    EngineStopped,
    ExitStatus,
    GemmaEdgeError,
    InputError,
    ProjectorError,
    UsageError,
)
from gemma_edge.units import render_tokens

# ----------------------------------------------------------------------------
# Planning and loading behind the first prompt: a person types while the machine is looked at.
# What has to be asked (a download) ends the attempt in the background and is done again where the
# person can answer; what is refused is told when it comes.


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is loading, or loaded, and the plan and the wish that it came from."""

    prepared: Prepared
    engine: LoadedEngine
    request: ModelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What ``prepare`` needs to know. ``images`` are those that the first message shows."""

    request: ModelRequest
    sight: VisionMode
    images: Sequence[Path] = ()

    def load(self, runtime: Runtime) -> Loaded:
        """Here and now; what has to be asked is asked.

        Raises:
            GemmaEdgeError: as ``prepare``.
        """
        prepared = prepare(self.request, runtime, vision=self.sight, images=self.images)
        return Loaded(prepared, load(prepared, runtime), self.request)

    def load_unasked(self, runtime: Runtime, told: "Told") -> Loaded | None:
        """The same from a thread, in silence. None where a person has to be asked: nothing is
        fetched without a yes, and its progress needs the screen.

        Raises:
            GemmaEdgeError: as ``prepare``.
        """
        silent = runtime.told_to(told.note, lambda: show_progress(told, runtime.clock))
        if runtime.confirm is None:  # then a yes was given before, or it is refused
            return self.load(silent)
        try:
            return self.load(silent.asking(_refuse_to_ask))
        except _Asked:
            return None


class _Asked(Exception):
    """A question came up where nobody can answer."""


def _refuse_to_ask(question: str) -> bool:
    raise _Asked(question)


class Told(Output):
    """Keeps notes for later."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Kept."""
        self.notes.append(text)

    def draw(self, text: str) -> None:
        """There is nowhere to draw."""

    @property
    def draws(self) -> bool:
        """Nothing is drawn over."""
        return False


# ----------------------------------------------------------------------------
# What a command line asks of a chat.


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatWishes:
    """``question`` empty means a conversation, or stdin. ``think_tokens`` is the budget of a
    thought, None for as much as there is room. ``session`` names one, ``resume`` is the last one;
    ``private`` writes nothing down. ``plain`` shows Markdown as it was written."""

    question: str = ""
    system: str = ""
    think: bool = False
    think_tokens: int | None = None
    images: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    resume: bool = False
    session: str = ""
    private: bool = False
    plain: bool = False


# ----------------------------------------------------------------------------
# Between two messages: the conversation is read into the cache, so that the next message costs no
# more than its own tokens. The person never waits for it.


_LOOK_SECONDS, _END_SECONDS = 0.02, 2.0


def _nothing() -> None:
    """The usual first step."""


class Settling:
    """One thread at a time. ``first`` is done once, before the next reading. ``changed`` is called
    in the thread when there is something new to show."""

    def __init__(self) -> None:
        self.reading: Reading | None = None
        self._error: GemmaEdgeError | None = None
        self.first: Callable[[], None] = _nothing
        self.changed: Callable[[], None] = _nothing
        self._thread: threading.Thread | None = None
        self._wanted = True

    def begin(self, session: Session, measure: Callable[[], None]) -> None:
        """``measure`` runs in the thread too: what asks the engine must not do so beside it."""
        self._wanted = True
        self._thread = threading.Thread(target=self._work, args=(session, measure), daemon=True)
        self._thread.start()

    def stop(self, engine: Engine) -> None:
        """The engine is free after this. A reading that has not begun yet has nothing to cancel,
        so it is asked again.

        Raises:
            GemmaEdgeError: what ``first`` raised.
        """
        self._wanted = False
        while self._thread is not None and self._thread.is_alive():
            if not self.pending:  # else it is still loading, which is waited for
                engine.cancel()
            self._thread.join(_LOOK_SECONDS)
        self._thread = self.reading = None
        self.check()

    def end(self) -> None:
        """The engine is closed: what still waits for it meets an error, and ends."""
        self._wanted = False
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    @property
    def pending(self) -> bool:
        """Whether ``first`` is still to be done: the model is loading."""
        return self.first is not _nothing

    @property
    def failed(self) -> bool:
        """Whether ``check`` raises."""
        return self._error is not None

    def check(self) -> None:
        """Raise, once, what ``first`` raised."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self, session: Session, measure: Callable[[], None]) -> None:
        try:
            self.first()
        except GemmaEdgeError as error:
            self._error = error
            self.changed()
            return
        self.first = _nothing
        if not self._wanted:
            return
        try:
            measure()
            self.changed()
            for event in session.settle() if self._wanted else ():
                if isinstance(event, Reading):
                    self.reading = event
                    self.changed()
        except GemmaEdgeError:
            return  # the next message meets it, and tells
        finally:
            self.reading = None
            self.changed()


# ----------------------------------------------------------------------------
# Which conversation this is: a new one, the last one, one by its name, or one that is not kept.


def choose_journal(wishes: ChatWishes, context: Context) -> Journal | None:
    """The journal to write, which may be there already; None for a private conversation.

    Raises:
        InputError: there is none to go on with, several are meant, or it is open elsewhere.
        UsageError: not a name.
    """
    if wishes.private:
        return None
    folder = sessions_dir(context)
    if wishes.resume:
        return Journal.open(find_journal(folder), clock=context.now)
    if not wishes.session:
        return Journal.create(folder, clock=context.now)
    if _is_known(folder, wishes.session):
        return Journal.open(find_journal(folder, wishes.session), clock=context.now)
    check_name(wishes.session)
    return Journal.create(folder, wishes.session, clock=context.now)


def _is_known(folder: Path, name: str) -> bool:
    """Whether a session is meant that is there; what is near to several is not new either."""
    if not list_journals(folder):
        return False
    try:
        find_journal(folder, name)
    except InputError as error:
        return not error.message.startswith("there is no")
    return True


def with_its_model(
    request: ModelRequest, journal: Journal | None, tell: Callable[[str], None]
) -> ModelRequest:
    """A conversation that goes on does so with its own model, where none is named."""
    if request.model != AUTO or journal is None or not journal.exists:
        return request
    model = load_history(journal.path).model
    if kind_of(model) == "path" and not Path(model).is_file():
        tell(f"the model of this conversation is not there any more: {model}")
        return request
    return replace(request, model=model) if model else request


def open_session(
    engine: Engine, model: str, wishes: ChatWishes, journal: Journal | None
) -> Session:
    """The conversation of ``journal``, ready for the next question."""
    session = Session(
        engine,
        wishes.system or None,
        wishes.think,
        sampling=wishes.sampling,
        max_tokens=wishes.max_tokens,
        journal=journal,
        model=model,
    )
    session.max_thought_tokens = wishes.think_tokens
    session.stop = wishes.stop
    return session


def wake(session: Session, tell: Callable[[str], None]) -> None:
    """Take the cache of a conversation that goes on back from disk, or say that it is read
    again."""
    if session.journal is None or not session.history.exchanges:
        return
    restored = session.restore_cache()
    if not restored.tokens:
        tell(f"the conversation is read again: {restored.reason}")


def recall(session: Session) -> list[str]:
    """What a person sees of a conversation that goes on: what it is, and the last words of it."""
    history = session.history
    count = len(history.exchanges) + len(history.earlier)
    lines = [
        f"{history.title} · {count} question{'' if count == 1 else 's'} so far",
        *history.notes,
    ]
    if history.open is not None:
        lines.append(f"not answered yet: {history.open.text} (/regen asks it again)")
    elif history.exchanges:
        last = history.exchanges[-1]
        lines.append(f"› {_short(last.question.text)}")
        lines.append(_short(last.answer, end=True))
        if last.reason in (None, "stopped", "length"):
            lines.append("that answer is not complete; /continue goes on, /regen asks again")
    return lines


def _short(text: str, *, end: bool = False, characters: int = 300) -> str:
    text = text.strip()
    if len(text) <= characters:
        return text
    return f"… {text[-characters:]}" if end else f"{text[:characters]} …"


def leave(session: Session, context: Context, tell: Callable[[str], None]) -> None:
    """Keep what the engine holds, so that the conversation is back in a moment, and keep all
    sessions within their cap."""
    journal = session.journal
    if journal is None:
        return
    try:
        session.save_cache()
    except EngineError as error:
        tell(f"the conversation is kept, the engine's memory of it is not: {error.message}")
    journal.close()
    for sentence in prune(sessions_dir(context), keep=[journal.path]):
        tell(sentence)


# ----------------------------------------------------------------------------
# How the answers of a conversation look: Markdown and folded thoughts where a terminal can draw,
# text as it comes everywhere else.


FRAME_SECONDS = 0.1  # of the line that says how long a thought is


class Show:
    """``thought`` is the last one, whole; ``folds`` shows one line for it where that can be
    drawn."""

    def __init__(
        self, context: Context, output: Output, *, plain: bool, folds: bool = True
    ) -> None:
        self.thought = ""
        self._folds = folds
        self._context = context
        self._draws = not plain and output.draws and output.renders

    def answer(self, events: Iterable[Event], output: Output) -> Finished:
        """Show an answer to its end, and say how it ended."""
        self.thought = ""
        if self._draws:
            return self._draw(events, output)
        return stream_text(self._listen(events), output)

    def _listen(self, events: Iterable[Event]) -> Iterable[Event]:
        with ending(events):
            for event in events:
                if isinstance(event, Chunk) and event.channel == "thought":
                    self.thought += event.text
                yield event

    def _draw(self, events: Iterable[Event], output: Output) -> Finished:
        from gemma_edge.cli.markdown import (
            AnswerView,  # noqa: PLC0415  (rich's Markdown)
            Live,  # noqa: PLC0415
        )

        assert self._context.size is not None
        live = Live(output.raw, self._context.size, reflows=_reflows(self._context))
        view = AnswerView(
            live, self._context.environment, self._context.clock, colour=output.colours
        )
        fold = _Fold(self._context, output)
        finished, said = None, False
        late: list[Notice] = []  # said of an answer that is still growing: they come below it
        try:
            with ending(events):
                for event in events:
                    if isinstance(event, Finished):
                        finished = event
                    elif isinstance(event, Chunk) and event.channel == "thought":
                        self.thought += event.text
                        if self._folds:
                            fold.add()
                        else:
                            output.thought(event.text)
                    elif isinstance(event, Chunk):
                        fold.close()
                        view.add(output.visible(event.text))
                        said = True
                    elif said and isinstance(event, Notice):
                        late.append(event)
                    else:
                        show_aside(event, output)
        finally:
            fold.close()
            view.finish()
            for notice in late:
                show_aside(notice, output)
        return ended(finished)


class _Fold:
    """One line for a thought: how long it is while it grows, and then how long it took."""

    def __init__(self, context: Context, output: Output) -> None:
        self._clock = context.clock
        self._output = output
        self._began: float | None = None
        self._drawn = float("-inf")

    def add(self) -> None:
        now = self._clock()
        if self._began is None:
            self._began = now
        if now - self._drawn >= FRAME_SECONDS:
            self._drawn = now
            self._output.draw(f"  ▸ thinking, {now - self._began:.0f} s")

    def close(self) -> None:
        if self._began is not None:
            seconds = self._clock() - self._began
            self._output.dim(f"  ▸ thought for {seconds:.1f} s (/show thought)")
            self._began = None


def _reflows(context: Context) -> bool:
    """Whether the terminal folds what stands on it again when it becomes narrower: nearly all do,
    xterm and the consoles of Linux and the BSDs do not."""
    told = context.environment.get
    return not told("XTERM_VERSION") and told("TERM") not in ("linux", "vt100", "vt220")


# ----------------------------------------------------------------------------
# Files as parts of a message: text whole, with what it takes of the context; pages that are
# pictures of text as pictures.


PAGE_TOKENS = 1120  # of a scanned page: 166 dpi of a letter, which small print needs
_SEEN = ("scan", "mixed")  # pages whose text stands in a picture


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens for one conversation; a line tells the cost of each. ``image_tokens`` is the budget of
    an image, ``page_tokens`` the largest that the plan has paid for."""

    session: Session
    engine: Engine
    output: Output
    image_tokens: int
    page_tokens: int

    def image(self, path: Path) -> Picture:
        """An image, fitted.

        Raises:
            InputError: it cannot be read.
            ProjectorError: the model sees nothing.
        """
        self.check_sight()
        return self.told(fit_picture(open_image(path), path.name, self.image_tokens))

    def file(self, path: Path) -> tuple[tuple[Attachment, ...], tuple[Picture, ...]]:
        """A document: its text, and its pages that are pictures.

        Raises:
            InputError: it cannot be read, or has nothing in it.
        """
        document = open_document(path)
        for note in document.notes:
            self.output.note(note)
        scans = [page.number for page in document.pages if page.kind in _SEEN]
        files: tuple[Attachment, ...] = ()
        if document.text.strip():
            files = (self.session.attach(path.name, document.text),)
            count = len(document.pages)
            pages = f"{count} pages, " if count > 1 else ""
            self.output.note(f"{path.name}: {pages}{render_tokens(files[0].tokens)}")
        elif not scans:
            raise InputError(
                f"{path.name} has nothing to read in it", hint="check how it was saved"
            )
        return files, self._pages(document, scans) if scans else ()

    def check_sight(self) -> None:
        """Raise where the model sees no images."""
        if not self.engine.info.vision:
            raise ProjectorError(
                "this model was loaded without a projector, it sees no images",
                hint="--mmproj FILE",
            )

    def told(self, picture: Picture) -> Picture:
        """The picture; a line says what it costs."""
        self.output.note(render_cost(picture).partition(";")[0])
        return picture

    def _pages(self, document: Document, numbers: list[int]) -> tuple[Picture, ...]:
        """Pages that are pictures are looked at, where the model can."""
        if not self.engine.info.vision:
            named = ", ".join(map(str, numbers))
            pages = f"page{'s' if len(numbers) > 1 else ''} {named} of {document.name}"
            self.output.note(f"{pages}: pictures of text, which this model does not see")
            return ()
        from gemma_edge.documents.render import (  # noqa: PLC0415  (starts a child process)
            render_page,
        )

        tokens = min(PAGE_TOKENS, self.page_tokens)
        return tuple(
            self.told(picture)
            for number in numbers
            for picture in render_page(document, number, max_tokens=tokens)
        )


# ----------------------------------------------------------------------------
# Files that are named in a message: typed or dragged in, quoted, with `~`, spaces, `file://`. A
# name is only taken for a file when it is one, and when its ending is one that can be read; a
# document must be named by a path, since a bare name is often just talked about. In a long text,
# which was pasted, all names are talked about.


DOCUMENTS = frozenset(
    (".pdf", ".docx", ".xlsx", ".xls", ".ods", ".eml", ".html", ".htm", ".csv", ".tsv")
    + (".txt", ".md", ".rst", ".log", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".xml", ".ini")
    + (".py", ".js", ".ts", ".c", ".h", ".cpp", ".rs", ".go", ".java", ".sh", ".sql", ".css")
)
MAX_WORDS = 24  # of an unquoted path with spaces in it
_QUOTED = re.compile(r"\"([^\"\n]+)\"|'([^'\n]+)'")
_WORD = re.compile(r"(?:\\.|[^\s\\]|\\(?=\s*$))+")
_ESCAPED = re.compile(r"\\(.)")
_STARTS = re.compile(r"(?:~?/|\.{1,2}/|file://|[A-Za-z]:[\\/]|\\\\)")


@dataclass(frozen=True, slots=True)
class Named:
    """A file that stands in a text at ``start:end``."""

    path: Path
    start: int
    end: int

    @property
    def is_image(self) -> bool:
        """Whether it is to be looked at; else it is to be read."""
        return self.path.suffix.lower() in SUFFIXES


def find_files(text: str, home: Path) -> tuple[Named, ...]:
    """The files that ``text`` names, in order."""
    found: list[Named] = []
    place = 0
    for start, spellings in _candidates(text):
        if start < place:
            continue
        for end, spelling in spellings:
            path = as_path(spelling, home)
            if _is_meant(path, spelling):
                found.append(Named(path, start, end))
                place = end
                break
    return tuple(found)


def name_files(text: str, found: tuple[Named, ...]) -> str:
    """The text with each file's name in the place of its path."""
    for each in reversed(found):
        text = text[: each.start] + each.path.name + text[each.end :]
    return text.strip()


def as_path(spelling: str, home: Path) -> Path:
    """A path as a person types or drags it."""
    text = spelling.strip()
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
        text = text[1:-1]
    if text.startswith("file://"):
        parts = urlsplit(text)
        name = unquote(parts.path)
        if re.match(r"/[A-Za-z]:", name):  # file:///C:/...
            name = name[1:]
        return Path(f"//{parts.netloc}{name}" if parts.netloc not in ("", "localhost") else name)
    if text == "~" or text.startswith(("~/", "~\\")):
        return home / text[2:]
    path = Path(text)
    if "\\" in text and not _exists(path):  # as a shell would read it
        unescaped = Path(_ESCAPED.sub(r"\1", text)).as_posix()
        return home / unescaped[2:] if unescaped.startswith("~/") else Path(unescaped)
    return path


def _candidates(text: str) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """Where a name may begin, with its possible ends, the longest spelling last."""
    starts: list[tuple[int, list[tuple[int, str]]]] = []
    for found in _QUOTED.finditer(text):
        starts.append((found.start(), [(found.end(), found.group(1) or found.group(2))]))
    words = list(_WORD.finditer(text))
    for number, word in enumerate(words):
        spellings = [(word.end(), word.group())]
        stripped = word.group().rstrip(".,;:!?)")
        if stripped != word.group():
            spellings.append((word.start() + len(stripped), stripped))
        if _STARTS.match(word.group()):
            for later in words[number + 1 : number + MAX_WORDS]:
                if "\n" in text[word.start() : later.start()]:
                    break
                whole = text[word.start() : later.end()]
                spellings.append((later.end(), whole))
                if whole.rstrip(".,;:!?)") != whole:
                    whole = whole.rstrip(".,;:!?)")
                    spellings.append((word.start() + len(whole), whole))
        starts.append((word.start(), spellings))
    return iter(sorted(starts, key=lambda each: each[0]))


def _is_meant(path: Path, spelling: str) -> bool:
    suffix = path.suffix.lower()
    if suffix in DOCUMENTS:
        return bool(_STARTS.match(spelling)) and _exists(path)
    return suffix in SUFFIXES and _exists(path)


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return False


# ----------------------------------------------------------------------------
# What goes with a message: images, and files whole, by command, by a path in it, by paste.


NONE = "-"


def image(talk: "Talk", value: str) -> None:
    """An image for the next message; ``-`` takes back what waits for it."""
    if value == NONE:
        talk.pictures = ()
        talk.output.note("no image goes with the next message")
        return
    _attach(talk, _path(talk, value, "/image FILE"), as_image=True)


def file(talk: "Talk", value: str) -> None:
    """A file for the next message, whole; ``-`` takes back what waits for it."""
    if value == NONE:
        talk.files = ()
        talk.output.note("no file goes with the next message")
        return
    _attach(talk, _path(talk, value, "/file FILE"), as_image=False)


def paste(talk: "Talk", _value: str) -> None:
    """What is in the clipboard: an image, or files."""
    found = read_clipboard()
    if isinstance(found, bytes):
        opener = talk.opener(talk.session, talk.output)
        opener.check_sight()
        picture = fit_picture(read_image(found, NAME), NAME, talk.image_tokens)
        talk.pictures += (opener.told(picture),)
        return
    for name in found:
        path = Path(name)
        _attach(talk, path, as_image=Named(path, 0, 0).is_image)


_TYPED = 5  # lines; a longer message was pasted, and what it names is not meant
_SEARCHED = 50


def attach_named(talk: "Talk", text: str) -> str:
    """The message with names in the place of paths; what the paths lead to goes with it.

    Raises:
        InputError: it cannot be read.
        ProjectorError: it is to be looked at, and the model sees nothing.
    """
    lines = text.split("\n")
    found = find_files("\n".join(lines[:_SEARCHED]), talk.context.home)
    if len(lines) > _TYPED:
        if found:
            talk.output.note(
                f"{shown(found[0].path)} in so long a text is not attached; /file does"
            )
        return text
    for each in found:
        _attach(talk, each.path, as_image=each.is_image)
    return name_files(text, found)


def _attach(talk: "Talk", path: Path, *, as_image: bool) -> None:
    opener = talk.opener(talk.session, talk.output)
    if as_image:
        talk.pictures += (opener.image(path),)
    else:
        files, pictures = opener.file(path)
        talk.files, talk.pictures = talk.files + files, talk.pictures + pictures


def _path(talk: "Talk", value: str, usage: str) -> Path:
    if not value.strip("'\" "):
        raise UsageError("no file was named", hint=usage)
    return as_path(value, talk.context.home)


KILO, ROOM = 1024, 1024  # tokens


@dataclass(slots=True, kw_only=True)
class Talk:
    """One conversation. ``pictures`` and ``files`` go with the next message, ``draft`` stands in
    its line already; ``amending`` says that it is the last question in other words. What is
    to be told and was not yet stands in ``notes``."""

    context: Context
    output: Output
    runtime: Runtime
    show: Show
    wishes: ChatWishes
    journal: Journal | None
    wish: Wish
    settling: Settling = field(default_factory=Settling)
    pictures: tuple[Picture, ...] = ()
    files: tuple[Attachment, ...] = ()
    draft: str = ""
    amending: bool = False
    last: Finished | None = None
    notes: deque[str] = field(default_factory=deque)
    _loaded: Loaded | None = None
    _session: Session | None = None
    _used: str = ""

    # What is loaded.

    def arrive(self, *, behind_prompt: bool) -> bool:
        """Plan, begin to load, and open the conversation; what is to be said is in ``notes``.
        Behind a prompt it is done in silence; False says that a person has to be asked.

        Raises:
            GemmaEdgeError: there is no model, and so no conversation.
        """
        told = Told(self.context)
        if behind_prompt:
            loaded = self.wish.load_unasked(self.runtime, told)
        else:
            loaded = self.wish.load(self.runtime)
        if loaded is None:
            return False
        self._loaded, prepared = loaded, loaded.prepared
        told.note(f"{prepared.render()} · /help")
        self.pictures += read_pictures(self.wish.images, prepared.image_tokens, told)
        self.notes.extend(told.notes)
        self._open_session(self.journal)
        return True

    @property
    def arrived(self) -> bool:
        """Whether the conversation is open; the model may still be loading."""
        return self._session is not None

    @property
    def loaded(self) -> Loaded:
        """The model, which may still be loading."""
        assert self._loaded is not None  # nothing is carried out before
        return self._loaded

    @property
    def engine(self) -> LoadedEngine:
        """Where the answers come from; nothing is read beside what is asked of it."""
        self.settling.stop(self.loaded.engine)
        return self.loaded.engine

    @property
    def session(self) -> Session:
        """What was said so far."""
        assert self._session is not None
        self.settling.stop(self.loaded.engine)
        return self._session

    @property
    def image_tokens(self) -> int:
        """The budget of a picture."""
        return self.loaded.prepared.image_tokens

    def opener(self, session: Session, output: Output) -> Opener:
        """For files that go with a message of ``session``."""
        prepared = self.loaded.prepared
        return Opener(
            session, self.loaded.engine, output, prepared.image_tokens,
            prepared.plan.image_tokens or prepared.image_tokens,
        )  # fmt: skip

    def switch_session(self, path: Path) -> None:
        """Go on with another conversation.

        Raises:
            InputError: it is open elsewhere, or cannot be read.
        """
        if self.session.journal is not None and self.session.journal.path == path:
            return  # it is this one
        journal = Journal.open(path, clock=self.context.now)
        self.leave()
        self.journal = journal
        self.wishes = replace(self.wishes, system="")  # it has its own
        self._open_session(journal)
        self.pictures, self.files, self.last = (), (), None

    def leave(self) -> None:
        """Keep what a later run can use; nobody waits for a model that is still loading."""
        if self._session is not None and not self.settling.pending:
            leave(self.session, self.context, self.output.note)
        elif self.journal is not None:
            self.journal.close()

    def close(self) -> None:
        """Free the model."""
        if self._loaded is not None:
            self._loaded.engine.close()
        self.settling.end()

    def reload(self, wish: Wish) -> tuple[str, ...]:
        """Another model or another place for it, under the same conversation; what that changes,
        in sentences. Memory is free for the new one; if it is refused, the old one comes back.

        Raises:
            GemmaEdgeError: it is refused.
        """
        session, before = self.session, self.loaded
        self.engine.close()
        try:
            self._loaded = wish.load(self.runtime)
            _ = self._loaded.engine.info  # waits; raises why it cannot be loaded
        except (GemmaEdgeError, KeyboardInterrupt):
            if self._loaded is not before:
                self.loaded.engine.close()
            engine = load(before.prepared, self.runtime)
            self._loaded = replace(before, engine=engine)
            session.move_to(engine)
            raise
        return session.move_to(self.loaded.engine, self.loaded.prepared.wanted)

    def _open_session(self, journal: Journal | None) -> None:
        loaded = self.loaded
        self._session = open_session(loaded.engine, loaded.prepared.wanted, self.wishes, journal)
        if self._session.history.title:
            self.notes.extend(recall(self._session))
        self.settling.first = self._wake

    # What is said.

    def tell(self) -> None:
        """What was noted in the background."""
        while self.notes:
            self.output.note(self.notes.popleft())

    def say(self, text: str) -> None:
        """A message, with the files that it names and all else that goes with it. If it is refused
        it is the next draft, and what went with it goes with that."""
        before = self.pictures, self.files
        try:
            message = attach_named(self, text)
            ask = self.session.edit if self.amending else self.session.say
            self.answer(ask(message, self.pictures, self.files))
            self.amending, self.pictures, self.files = False, (), ()
        except GemmaEdgeError as error:
            if isinstance(error, DoesNotFit):
                error.hint = self._choices(text)
            self.draft, (self.pictures, self.files) = text, before
            raise

    def _choices(self, text: str) -> str:
        """What can be done about a message that is too long; with a context that would hold it,
        and an answer of ``ROOM`` tokens, where the model was trained for that."""
        more = sum(file.tokens for file in self.files)
        more += sum(picture.tokens for picture in self.pictures)
        needed = self.session.meter(text).used_tokens + more + ROOM
        trained = self.engine.info.trained_context_tokens
        larger = (
            f"/ctx {-(-needed // KILO)}k if there is memory for it, " if needed <= trained else ""
        )
        shorter = "/compact, /drop, " if self.session.history.exchanges else ""
        return f"{larger}{shorter}or less text".removeprefix("or ")

    def answer(self, events: Iterator[Event]) -> None:
        """Show an answer to its end, and the line about it; one whose engine dies is asked for
        again. The engine counts how often and at last refuses, so this ends."""
        engine = self.engine
        with cancel_on_interrupt(engine):
            while True:
                try:
                    self.last = finished = self.show.answer(events, self.output)
                    break
                except EngineStopped as stop:
                    self.output.note(f"{stop.message}, {KEPT}")
                    events = self.session.say_again()
        if conclude(finished, self.output) is ExitStatus.INTERRUPTED:
            self.output.note("stopped; what was said is kept")
        elif finished.reason in ("length", "repetition"):
            self.output.note("/continue goes on")
        self.output.status(render_status(finished, engine.info))

    # Between two messages.

    def settle(self) -> None:
        """Read what was said into the cache while the person reads it."""
        assert self._session is not None
        self.settling.begin(self._session, self._measure)

    def status(self) -> str:
        """The quiet line under the one that is typed."""
        if self._loaded is None:
            return ""
        parts = [self._used]
        if (reading := self.settling.reading) is not None:
            parts.append(f"reading {reading.done_tokens:,} of {reading.total_tokens:,}")
        if self.amending:
            parts.append("changing the last question")
        if self.pictures:
            parts.append(f"{len(self.pictures)} image{'s' if len(self.pictures) > 1 else ''}")
        parts += [f"{file.name} {render_tokens(file.tokens)}" for file in self.files]
        parts.append(self._loaded.prepared.brief)
        return self.output.cut(" · ".join(filter(None, parts)))

    def _wake(self) -> None:
        """Once, when the model is loaded; in the settling thread."""
        assert self._session is not None
        told = Told(self.context)
        for note in self.loaded.engine.info.notes:
            told.note(note)
        wake(self._session, told.note)
        opener = self.opener(self._session, told)
        named, self.wishes = self.wishes.files, replace(self.wishes, files=())
        for path in named:
            files, pictures = opener.file(path)
            self.files, self.pictures = self.files + files, self.pictures + pictures
        self.notes.extend(told.notes)

    def _measure(self) -> None:
        assert self._session is not None
        if not self._session.history.exchanges:
            self._used = ""
            return
        meter = self._session.meter()
        self._used = f"{meter.used_tokens:,} of {meter.context_tokens:,}"
