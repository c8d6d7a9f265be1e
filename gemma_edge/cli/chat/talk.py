"""A conversation at a terminal as its commands see it: what is loaded, what goes with the next
message, how an answer is shown, and what is done between two messages.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from gemma_edge.chat.history import Attachment
from gemma_edge.chat.journal import Journal
from gemma_edge.chat.session import KEPT, Session
from gemma_edge.cli.chat import keeping
from gemma_edge.cli.chat.attach import attach_named
from gemma_edge.cli.chat.files import Opener
from gemma_edge.cli.chat.settling import Settling
from gemma_edge.cli.chat.show import Show
from gemma_edge.cli.chat.start import Loaded, Told, Wish
from gemma_edge.cli.chat.wishes import ChatWishes
from gemma_edge.cli.context import Context
from gemma_edge.cli.inputs import read_pictures
from gemma_edge.cli.interrupt import cancel_on_interrupt
from gemma_edge.cli.loading.loading import load
from gemma_edge.cli.loading.timing import Timed
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import conclude, render_status
from gemma_edge.documents.picture import Picture
from gemma_edge.engine.protocol import Event, Finished
from gemma_edge.errors import DoesNotFit, EngineStopped, ExitStatus, GemmaEdgeError
from gemma_edge.units import render_tokens

KILO, ROOM = 1024, 1024  # tokens


@dataclass(slots=True, kw_only=True)
class Talk:
    """One conversation. ``pictures`` and ``files`` go with the next message, ``draft`` stands in
    its line already; ``amending`` says that it is the last question in other words. What is
    to be told and was not yet stands in ``notes``."""

    context: Context
    output: Output
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
            loaded = self.wish.load_unasked(self.context, told)
        else:
            loaded = self.wish.load(self.context, self.output)
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
    def engine(self) -> Timed:
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
            keeping.leave(self.session, self.context, self.output.note)
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
            self._loaded = wish.load(self.context, self.output)
            _ = self._loaded.engine.info  # waits; raises why it cannot be loaded
        except (GemmaEdgeError, KeyboardInterrupt):
            if self._loaded is not before:
                self.loaded.engine.close()
            engine = load(before.prepared, self.context, self.output)
            self._loaded = replace(before, engine=engine)
            session.move_to(engine)
            raise
        return session.move_to(self.loaded.engine, self.loaded.prepared.wanted)

    def _open_session(self, journal: Journal | None) -> None:
        loaded = self.loaded
        self._session = keeping.open_session(
            loaded.engine, loaded.prepared.wanted, self.wishes, journal
        )
        if self._session.history.title:
            self.notes.extend(keeping.recall(self._session))
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
        keeping.wake(self._session, told.note)
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
