"""A conversation: what was said so far, and the next answer. Over the Engine protocol alone.

    with gemma_edge.load("demo") as engine:
        talk = gemma_edge.Conversation(engine, system="Be short.")
        print(talk.ask("Hello!"))

Thoughts are shown but not remembered: Gemma 4 is trained without the thoughts of earlier turns
(docs/architecture.md, "Prompts"). Whatever changes the conversation is a record first, which the
journal keeps and ``journal.Replay`` follows, so what is on disk and what is here cannot differ.
"""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from gemma_edge.chat.journal import Attachment, History, Journal, Question, Record, Recorder
from gemma_edge.chat.persona import Persona, load_persona, merge_sampling
from gemma_edge.documents.document import CLIPBOARD, IMAGE_SUFFIXES, Picture, render_cost
from gemma_edge.engine.protocol import (
    GREEDY,
    Chunk,
    Engine,
    Event,
    Finished,
    Message,
    Notice,
    Prefill,
    Request,
    Restored,
    Sampling,
)
from gemma_edge.errors import (
    DoesNotFit,
    EngineError,
    EngineStopped,
    GemmaEdgeError,
    InputError,
    OutOfMemory,
    ProjectorError,
    UsageError,
)
from gemma_edge.records import dataclass
from gemma_edge.units import render_tokens

CHOICES = "/compact, /drop, or /ctx with a larger number"  # where a message does not fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """``used_tokens`` of ``context_tokens``; ``template_tokens`` of them are turn markers and the
    header of the answer."""

    used_tokens: int
    context_tokens: int
    picture_tokens: int
    template_tokens: int

    @property
    def text_tokens(self) -> int:
        return self.used_tokens - self.picture_tokens - self.template_tokens

    @property
    def free_tokens(self) -> int:
        """What is left for an answer; negative where the prompt does not fit."""
        return self.context_tokens - self.used_tokens


SHARE = 8  # of the context: what a summary may take, so that it makes room
MIN_TOKENS = 256
SUMMARY_PROMPT = Path(__file__).with_name("summarize.txt")  # a file that people edit


def _refuse_summary(summary: str, finished: Finished, before: Meter, after: Meter) -> str:
    """Why it is not taken, "" if it is: ``before`` is the conversation, ``after`` what it would
    be with the summary."""
    if finished.reason == "cancelled":
        return "the summary was stopped"
    if finished.reason not in ("end", "stop_text") or not summary:
        tokens = render_tokens(finished.usage.generated_tokens)
        return f"the summary came to no end within {tokens}"
    if after.used_tokens < before.used_tokens:
        return ""
    return (
        f"with the summary it would take {render_tokens(after.used_tokens)}, "
        f"now it takes {before.used_tokens:,}"
    )


KEPT = "the conversation is kept"  # said of an engine that was started again in it
PAGE_TOKENS = 1120  # of a scanned page: 166 dpi of a letter, which small print needs
IMAGE_TOKENS = 280  # of a picture, where nobody says more: the middle of what Gemma 4 knows
_SEEN = ("scan", "mixed")  # pages whose text stands in a picture
_LOOK_SECONDS, _END_SECONDS = 0.02, 2.0


class Conversation:
    """What was said, what goes with the next message, and how it is answered.

    ``system`` is who the model is to be; a ``persona`` (a name of those that are shipped, the path
    of a TOML file, or a ``Persona``) says that too, with its settings, and what is given beside it
    comes first. ``think``, ``max_thought_tokens``, ``sampling``, ``max_tokens``, ``stop`` and
    ``system`` are of the next answer and may change at any time. ``pictures`` and ``files`` go
    with the next message; ``finished`` is how the last answer ended. ``image_tokens`` is the budget
    of a picture (default: 280, and for a page that is one what the engine's plan has room for).

    With a ``journal`` (or a folder for one) that was written before, the conversation goes on where
    it ended, with its own system prompt where none is given; ``restore_cache`` saves reading it
    again. ``model`` is what the journal notes of who answers. If it cannot be written any more, one
    ``Notice`` says so and the conversation goes on. Close it, or use it in a ``with``: what the
    engine holds is kept beside the journal. The engine stays open.

    Raises:
        InputError: the persona or the journal cannot be read, or the journal is open elsewhere.
    """

    def __init__(  # noqa: PLR0913  (what an answer depends on)
        self,
        engine: Engine,
        system: str | None = None,
        *,
        persona: Persona | str | None = None,
        think: bool | None = None,
        max_thought_tokens: int | None = None,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        journal: Journal | str | Path | None = None,
        model: str = "",
        image_tokens: int | None = None,
    ) -> None:
        if isinstance(persona, str):
            persona = load_persona(persona, [])
        if isinstance(journal, str | Path):
            path = Path(journal)
            known = Journal(path).exists
            journal = Journal.open(path) if known else Journal.create(path.parent, path.name)
        own = persona or Persona(name="")
        self.think = bool(own.think) if think is None else think
        self.max_thought_tokens = max_thought_tokens
        self.sampling = merge_sampling(own.sampling, sampling or Sampling())
        self.max_tokens = own.max_tokens if max_tokens is None else max_tokens
        self.stop = tuple(stop)
        self.image_tokens = image_tokens
        self.pictures: tuple[Picture, ...] = ()
        self.files: tuple[Attachment, ...] = ()
        self.finished: Finished | None = None
        self._engine = engine
        self._model = model
        self._unseen_told = False
        self._attempts = 0
        self._recorder = Recorder(journal, model=model, system=system or own.system or None)
        self.first: Callable[[], None] | None = None
        self.changed: Callable[[], None] = lambda: None
        self.reading: Prefill | None = None
        self.used: Meter | None = None
        self._thread: threading.Thread | None = None
        self._idle = False
        self._error: GemmaEdgeError | None = None

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> tuple[str, ...]:
        """Keep what the engine holds beside the journal, so that the conversation is back in a
        moment, and let go of the journal. Returns what could not be kept, in sentences."""
        journal, problems = self.journal, list[str]()
        if journal is None:
            return ()
        try:
            if not self.pending:  # nobody waits for a model that is still loading
                self.save_cache()
        except EngineError as error:
            problems.append(f"{KEPT}, the engine's memory of it is not: {error.message}")
        journal.close()
        return tuple(problems)

    # What was said.

    @property
    def history(self) -> History:
        """The conversation, with what the model does not see any more."""
        return self._recorder.history

    @property
    def journal(self) -> Journal | None:
        return self._recorder.journal

    @property
    def engine(self) -> Engine:
        """Where the answers come from, free for a request: nothing is read ahead any more.

        Raises:
            GemmaEdgeError: what ``first`` raised, as everything that needs the engine.
        """
        self.stop_prefill()
        return self._engine

    @property
    def title(self) -> str:
        """What the conversation is called; the first line of its first question, unless set."""
        return self.history.title

    @title.setter
    def title(self, text: str) -> None:
        self._record({"type": "title", "title": text})

    @property
    def last_question(self) -> Question:
        """What was asked last, answered or not.

        Raises:
            UsageError: nothing was asked yet.
        """
        question = self.history.last_question
        if question is None:
            raise UsageError("nothing was asked yet", hint="type a question")
        return question

    @property
    def turns(self) -> list[Message]:
        """All turns that the model sees, without the system prompt."""
        return [message for message in self.messages if message.role != "system"]

    @property
    def messages(self) -> tuple[Message, ...]:
        """The system turn, if there is one, and all turns that the model sees."""
        messages = self.history.messages()
        return self._seen(messages) if messages else ()

    @property
    def system(self) -> str | None:
        return self.history.system

    @system.setter
    def system(self, text: str | None) -> None:
        self.stop_prefill()
        self._recorder.set_system(text)

    # What goes with the next message.

    def attach(self, path: str | Path) -> tuple[str, ...]:
        """An image to look at (by the ending of its name), or any document to read, whole; what
        each takes of the context, in sentences. Waits for the engine.

        Raises:
            InputError: it cannot be read, or has nothing in it.
            ProjectorError: an image, and the model sees none.
        """
        path = Path(path)
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        return (self.attach_image(path),) if is_image else self.attach_file(path)

    def attach_image(self, image: Path | bytes) -> str:
        """A file, or the bytes of one, as an image; raises like ``attach``."""
        if not self._engine.info.vision:
            raise ProjectorError(
                "this model was loaded without a projector, it sees no images", hint="--mmproj FILE"
            )
        from gemma_edge.documents.images import fit_picture, open_image, read_image  # noqa: PLC0415

        name = CLIPBOARD if isinstance(image, bytes) else image.name
        opened = read_image(image, name) if isinstance(image, bytes) else open_image(image)
        picture = fit_picture(opened, name, self.image_tokens or min(IMAGE_TOKENS, self._room()))
        self.add(picture)
        return _cost(picture)

    def attach_file(self, path: Path) -> tuple[str, ...]:
        """A document: its text, and as images its pages that are pictures of text; raises like
        ``attach``. A model that sees none is told the text alone, and a sentence says so."""
        from gemma_edge.documents.images import render_page  # noqa: PLC0415
        from gemma_edge.documents.open import open_document  # noqa: PLC0415

        document = open_document(path)
        notes, parts = list(document.notes), list[Picture | Attachment]()
        scans = [page.number for page in document.pages if page.kind in _SEEN]
        if document.text.strip():
            file = self.count_file(path.name, document.text)
            parts.append(file)
            count = len(document.pages)
            pages = f"{count} pages, " if count > 1 else ""
            notes.append(f"{path.name}: {pages}{render_tokens(file.tokens)}")
        elif not scans:
            raise InputError(
                f"{path.name} has nothing to read in it", hint="check how it was saved"
            )
        if scans and self._engine.info.vision:
            budget = min(PAGE_TOKENS, self.image_tokens or self._room())
            for page in scans:
                drawn = render_page(document, page, max_tokens=budget)
                parts += drawn
                notes += map(_cost, drawn)
        elif scans:
            named = ", ".join(map(str, scans))
            pages = f"page{'s' if len(scans) > 1 else ''} {named} of {document.name}"
            notes.append(f"{pages}: pictures of text, which this model does not see")
        self.add(*parts)
        return tuple(notes)

    def add(self, *parts: Picture | Attachment) -> "Conversation":
        """Pictures and files that are at hand go with the next message; returns itself."""
        self.pictures += tuple(each for each in parts if isinstance(each, Picture))
        self.files += tuple(each for each in parts if isinstance(each, Attachment))
        return self

    def count_file(self, name: str, text: str) -> Attachment:
        file = Attachment(name, text)
        bare, whole = (self._measure([Question("x", files=f).message()]) for f in ((), (file,)))
        return replace(file, tokens=whole.used_tokens - bare.used_tokens)

    def _room(self) -> int:
        plan = self._engine.info.plan
        return (plan and plan.image_tokens) or IMAGE_TOKENS

    # Asking.

    def ask(self, text: str) -> str:
        """Ask, and wait for the whole answer; ``finished`` says how it ended. If the engine dies
        it is started again and asked once more, until it refuses. Raises like ``say``."""
        events = self.say(text)
        while True:
            try:
                return "".join(
                    event.text
                    for event in events
                    if isinstance(event, Chunk) and event.channel == "answer"
                )
            except EngineStopped:
                events = self.say_again()

    def say(self, text: str) -> Iterator[Event]:
        """Ask, with what was attached, and stream the answer. The question is in the journal
        before the answer begins, and each piece of the answer when it comes. When nothing was
        answered, the question is ``history.open`` and can be asked again.

        Raises:
            EngineStopped: the engine died in the answer; what was said is kept.
            DoesNotFit: with the numbers; nothing was evaluated, the conversation is as before.
            ProjectorError, EngineError: from the engine; the conversation is as before.
        """
        self._attempts, question = 0, Question(text, self.pictures, self.files)
        record = self._recorder.question(question)
        return self._ask(record, self.history.asking(question), sends=True)

    def say_again(self) -> Iterator[Event]:
        """Ask the last question once more, answered or not. What was answered to it so far is
        forgotten, unless nothing is said this time. Raises like ``say``.

        Raises:
            UsageError: nothing was asked yet.
        """
        return self._ask_again({"type": "again"}, self.last_question)

    def regenerate(self) -> Iterator[Event]:
        """The same, by other dice: a seed that is set counts on."""
        self._attempts += 1
        return self.say_again()

    def edit(self, text: str) -> Iterator[Event]:
        """Ask the last question in other words, with what went with it and what was attached since.
        Raises like ``say_again``."""
        self._attempts = 0
        last, more = self.last_question, Question(text, self.pictures, self.files)
        record = {**self._recorder.question(more), "type": "again"}
        return self._ask_again(record, last.amended(more), sends=True)

    def continue_answer(self) -> Iterator[Event]:
        """Go on with the last answer where it ends. Raises like ``say``.

        Raises:
            UsageError: there is no answer to go on with.
        """
        history = self.history
        if history.open is not None or not history.exchanges or not history.exchanges[-1].answer:
            raise UsageError("there is no answer to go on with", hint="ask something first")
        return self._ask({"type": "continue"}, history.messages(), goes_on=True)

    def _ask_again(
        self, record: Record, question: Question, *, sends: bool = False
    ) -> Iterator[Event]:
        before = replace(self.history, exchanges=list(self.history.exchanges))
        if self.history.open is None:
            before.exchanges.pop()
        return self._ask(record, before.asking(question), sends=sends)

    def _ask(
        self, record: Record, messages: Sequence[Message], goes_on: bool = False,
        sends: bool = False,
    ) -> Iterator[Event]:  # fmt: skip
        """Stream the answer; ``record`` says what is asked, ``sends`` that it takes what was
        attached along."""
        yield from map(Notice, self._tell_unseen())
        request = self._request(messages, goes_on=goes_on)
        known = bool(self.history.exchanges)
        self._record(record, sync=True)
        reason, taken, refused = "cancelled", False, False
        events: Iterator[Event] = iter(())
        try:
            events = self.engine.generate(request)
            for event in events:
                taken = taken or not isinstance(event, Notice)
                if problem := self._recorder.take_problem():
                    yield Notice(problem)
                if isinstance(event, Chunk) and event.text:
                    kind = "said" if event.channel == "answer" else "thought"
                    self._record({"type": kind, "text": event.text})
                elif isinstance(event, Finished):
                    reason, self.finished = event.reason, event
                elif isinstance(event, Notice) and known:  # the engine was started again
                    event = Notice(f"{event.text}, {KEPT}")  # noqa: PLW2901
                yield event
        except GemmaEdgeError as error:
            reason, refused = "stopped", not taken and not isinstance(error, EngineStopped)
            if isinstance(error, DoesNotFit) and not isinstance(error, OutOfMemory):
                raise self._explained(error, messages, goes_on) from None
            raise
        finally:
            if isinstance(events, Generator):
                events.close()  # the engine stops when its listener does
            ended = {"type": "refused"} if refused else {"type": "answered", "reason": reason}
            self._record(ended, sync=True)
            if sends and not refused:
                self.pictures, self.files = (), ()

    def _record(self, record: Record, *, sync: bool = False) -> None:
        self.stop_prefill()
        self._recorder.record(record, sync=sync)

    def _request(self, messages: Sequence[Message], *, goes_on: bool = False) -> Request:
        sampling = self.sampling
        if sampling.seed is not None and self._attempts:
            sampling = replace(sampling, seed=sampling.seed + self._attempts)
        return Request(
            messages=self._seen(messages), think=self.think, max_tokens=self.max_tokens,
            max_thought_tokens=self.max_thought_tokens, sampling=sampling, stop=self.stop,
            goes_on=goes_on,
        )  # fmt: skip

    def _explained(
        self, error: DoesNotFit, messages: Sequence[Message], goes_on: bool
    ) -> DoesNotFit:
        if goes_on:
            return DoesNotFit(error.message, hint=CHOICES)
        whole = self._measure(messages)
        if whole.free_tokens > 0:
            return error
        used = self._measure(messages[:-1]).used_tokens if self.history.exchanges else 0
        already = f", {used:,} are used already" if used else ""
        return DoesNotFit(
            f"this message takes {render_tokens(whole.used_tokens - used)}{already}, and the "
            f"context holds {whole.context_tokens:,}: {1 - whole.free_tokens:,} too many",
            hint=CHOICES if used else "/ctx with a larger number, or less text",
        )

    # Changing what was said.

    def undo(self) -> Question | None:
        """Take the last question and its answer back; what went with it goes with the next
        message. None where nothing was asked."""
        question = self.history.last_question
        if question is not None:
            self._record({"type": "undo"}, sync=True)
            self.pictures, self.files = question.pictures, question.files
        return question

    def drop(self, count: int) -> int:
        """Leave the oldest ``count`` questions and their answers out of the prompt; return how many
        there were. The journal keeps them."""
        count = max(0, min(count, len(self.history.exchanges)))
        if count:
            self._record({"type": "drop", "count": count}, sync=True)
        return count

    def compact(self, keep: int = 1) -> Iterator[Event]:
        """Let the model sum up all turns but the last ``keep``; its summary, which is what is
        streamed, stands for them in the prompt from then on. With fewer turns, all of them.

        A summary that was cancelled, that has no end or is no shorter changes nothing; a
        ``Notice`` says so.

        Raises:
            UsageError: there is nothing to sum up.
            DoesNotFit, EngineError: from the engine; the conversation is as before.
        """
        history = self.history
        if not history.exchanges:
            raise UsageError("there is nothing to sum up yet", hint="ask something first")
        count = len(history.exchanges)
        count -= keep if count > keep else 0
        older = replace(history, exchanges=history.exchanges[:count])
        request = Request(
            messages=self._seen(older.asking(Question(SUMMARY_PROMPT.read_text("utf-8")))),
            think=self.think,  # else the prompt would differ from its first token on
            max_thought_tokens=0,
            sampling=GREEDY,
            max_tokens=max(MIN_TOKENS, self._engine.info.context_tokens // SHARE),
        )
        said: list[str] = []
        finished = None
        for event in self.engine.generate(request):
            if isinstance(event, Finished):  # kept back: the engine cannot count before its end
                finished = event
                continue
            if isinstance(event, Chunk) and event.channel == "answer":
                said.append(event.text)
            yield event
        assert finished is not None
        summary = "".join(said).strip()
        shorter = replace(history, summary=summary, exchanges=history.exchanges[count:])
        after, before = (self._measure(h.asking(Question(""))) for h in (shorter, history))
        if problem := _refuse_summary(summary, finished, before, after):
            yield Notice(f"{problem}: the conversation is as before")
        else:
            self._record({"type": "compact", "count": count, "summary": summary}, sync=True)
        yield finished

    def clear(self) -> None:
        """Forget the turns and what was attached; the system prompt stays, and so does the
        journal."""
        self.pictures, self.files, self.finished = (), (), None
        if self.history.exchanges or self.history.open or self.history.summary:
            self._record({"type": "clear"}, sync=True)

    def move_to(
        self, engine: Engine, model: str = "", image_tokens: int | None = None
    ) -> tuple[str, ...]:
        """Go on with another model; return what that changes, in sentences. Waits for it."""
        self.stop_prefill()
        self._engine, self.image_tokens = engine, image_tokens
        self._model = model or self._model
        self._recorder.set_model(model)
        self._unseen_told = False
        return tuple(self._tell_unseen())

    def switch_to(self, journal: Journal | None) -> None:
        """Go on with another conversation of the same model and settings, with the system prompt
        that it has. Close this one before."""
        self.stop_prefill()
        self._recorder = Recorder(journal, model=self._model, system=None)
        self.pictures, self.files, self.finished, self.used = (), (), None, None
        self._unseen_told, self._attempts = False, 0

    # The context.

    def meter(self, draft: str | None = None) -> Meter:
        """How full the context is, with ``draft`` and what was attached as the next question.

        Raises:
            ProjectorError, EngineError: from the engine.
        """
        if draft is None and self.history.exchanges:
            return self._measure(self.history.messages())
        question = Question("") if draft is None else Question(draft, self.pictures, self.files)
        return self._measure(self.history.asking(question))

    def prefill(self) -> Iterator[Event]:
        """Read the conversation into the cache, so that the next question costs its own tokens
        only. ``engine.cancel`` ends it."""
        if not self.history.exchanges:
            return iter(())
        return self.engine.warm(self._request(self.history.messages()))

    def save_cache(self) -> int:
        """Keep what the engine holds beside the journal; 0 bytes where there is nothing to keep.

        Raises:
            EngineError: the disk refuses.
        """
        if self.journal is None or not self.journal.exists or not self.history.exchanges:
            return 0
        return self.engine.save(self.journal.kv_path)

    def restore_cache(self) -> Restored:
        """Take back what was kept, or say why the conversation is to be read again."""
        if self.journal is None or not self.journal.exists:
            return Restored(0, "nothing was saved")
        return self.engine.restore(self.journal.kv_path)

    # Between two messages: what was said is read into the cache while the person reads it.

    def start_prefill(self) -> None:
        """Count and read the conversation in a thread, after ``first``, which is done once (a model
        loads, its cache is taken back). ``changed`` is called from the thread whenever ``used`` or
        ``reading`` are new. Whatever needs the engine ends it, and waits for ``first`` alone."""
        self.stop_prefill()
        self._idle = True
        self._thread = threading.Thread(target=self._prefill_idle, daemon=True)
        self._thread.start()

    def stop_prefill(self) -> None:
        """The engine is free after this. A reading that has not begun yet has nothing to cancel,
        so it is asked again.

        Raises:
            GemmaEdgeError: what ``first`` raised, once.
        """
        if self._thread is None or self._thread is threading.current_thread():
            return
        self._idle = False
        while self._thread.is_alive():
            if not self.pending:
                self._engine.cancel()
            self._thread.join(_LOOK_SECONDS)
        self._thread = self.reading = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def end_prefill(self) -> None:
        """The engine is closed: what still waits for it meets an error, and ends."""
        self._idle = False
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    @property
    def pending(self) -> bool:
        return self.first is not None

    @property
    def failed(self) -> bool:
        return self._error is not None

    def _prefill_idle(self) -> None:
        try:
            if self.first is not None:
                self.first()
        except GemmaEdgeError as error:
            self._error = error
            self.changed()
            return
        self.first = None
        try:
            if self._idle:
                self.used = self.meter() if self.history.exchanges else None
                self.changed()
            for event in self.prefill() if self._idle else ():
                if isinstance(event, Prefill):
                    self.reading = event
                    self.changed()
        except GemmaEdgeError:
            return  # the next message meets it, and tells
        finally:
            self.reading = None
            self.changed()

    def _measure(self, messages: Sequence[Message]) -> Meter:
        count = self.engine.count(self._request(messages))
        return Meter(
            used_tokens=count.total_tokens,
            context_tokens=self._engine.info.context_tokens,
            picture_tokens=count.picture_tokens,
            template_tokens=count.template_tokens,
        )

    def _seen(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """For a model without eyes, the names of pictures instead; those of the last message stay,
        so that the engine refuses them."""
        *before, last = messages
        if any(message.pictures for message in before) and not self._engine.info.vision:
            before = [_without_pictures(message) for message in before]
        return (*before, last)

    def _tell_unseen(self) -> Iterator[str]:
        """Once: that a model without eyes has pictures in its conversation."""
        count = sum(len(exchange.question.pictures) for exchange in self.history.exchanges)
        if count and not self._unseen_told and not self._engine.info.vision:
            self._unseen_told = True
            images = f"{count} image{'s' if count > 1 else ''}"
            yield f"{images} of this conversation: this model sees none, only their names"


def _cost(picture: Picture) -> str:
    """Its size and its tokens, without what another budget would do."""
    return render_cost(picture).partition(";")[0]


def _without_pictures(message: Message) -> Message:
    names = [f"[{p.name or 'an image'}: an image that you cannot see]" for p in message.pictures]
    return replace(message, text="\n\n".join([*names, message.text]), pictures=())
