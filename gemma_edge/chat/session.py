"""A conversation: what was said so far, and the next answer. Pure over the Engine protocol.

Thoughts are shown but not remembered: Gemma 4 is trained without the thoughts of earlier turns
(docs/architecture.md, "Prompts"). Whatever changes the conversation is a record first, which the
journal keeps and ``journal.Teller`` follows, so what is on disk and what is here cannot differ.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gemma_edge.chat.journal import Attachment, History, Journal, Question, Record, Telling
from gemma_edge.documents.document import Picture
from gemma_edge.engine.protocol import (
    GREEDY,
    Chunk,
    Engine,
    Event,
    Finished,
    Message,
    Notice,
    PromptCount,
    Request,
    Restored,
    Sampling,
)
from gemma_edge.errors import DoesNotFit, EngineStopped, GemmaEdgeError, OutOfMemory, UsageError
from gemma_edge.units import render_tokens

# ----------------------------------------------------------------------------
# How full the context is, exactly, and what a message that does not fit would have needed.


CHOICES = "/compact, /drop, or /ctx with a larger number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """``used_tokens`` of ``context_tokens``; ``template_tokens`` of them are turn markers and the
    header of the answer."""

    used_tokens: int
    context_tokens: int
    text_tokens: int
    picture_tokens: int
    template_tokens: int

    @classmethod
    def of(cls, count: PromptCount, context_tokens: int) -> "Meter":
        """A prompt in a context."""
        return cls(
            used_tokens=count.total_tokens,
            context_tokens=context_tokens,
            text_tokens=count.total_tokens - count.picture_tokens - count.template_tokens,
            picture_tokens=count.picture_tokens,
            template_tokens=count.template_tokens,
        )

    @property
    def free_tokens(self) -> int:
        """What is left for an answer; negative where the prompt does not fit."""
        return self.context_tokens - self.used_tokens


def too_large(whole: Meter, before: Meter | None) -> DoesNotFit:
    """A message that makes ``whole`` of what was ``before``: the numbers and the choices."""
    message_tokens = whole.used_tokens - (before.used_tokens if before else 0)
    used = f", {before.used_tokens:,} are used already" if before else ""
    return DoesNotFit(
        f"this message takes {render_tokens(message_tokens)}{used}, and the context holds "
        f"{whole.context_tokens:,}: {1 - whole.free_tokens:,} too many",
        hint=CHOICES if before else "/ctx with a larger number, or less text",
    )


# ----------------------------------------------------------------------------
# A summary in place of older turns: what is asked for, and whether it is worth taking.


SHARE = 8  # of the context: what a summary may take, so that it makes room
MIN_TOKENS = 256


def summary_prompt() -> str:
    """What the model is asked; a file that people edit."""
    return Path(__file__).with_name("summarize.txt").read_text("utf-8")


def most_tokens(context_tokens: int) -> int:
    """What a summary may take."""
    return max(MIN_TOKENS, context_tokens // SHARE)


def judge(summary: str, finished: Finished, *, before: Meter, after: Meter) -> str:
    """Why a summary is not taken, "" if it is. ``before`` is the conversation, ``after`` what it
    would be with the summary."""
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


# Said of an engine that was started again in a conversation.
KEPT = "the conversation is kept"


class Session:
    """Holds a conversation. ``think``, ``max_thought_tokens``, ``sampling``, ``max_tokens`` and
    ``stop`` are of the next answer and may change at any time, and so may ``system``.

    With a ``journal`` that was opened the conversation goes on where it ended, with its own system
    prompt where none is given. If the journal cannot be written any more, one ``Notice`` says so
    and the conversation goes on.
    """

    def __init__(  # noqa: PLR0913  (what an answer depends on)
        self,
        engine: Engine,
        system: str | None = None,
        think: bool = False,
        *,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        journal: Journal | None = None,
        model: str = "",
    ) -> None:
        self.think = think
        self.sampling = sampling or Sampling()
        self.max_tokens = max_tokens
        self.max_thought_tokens: int | None = None
        self.stop: tuple[str, ...] = ()
        self._engine = engine
        self._unseen_told = False
        self._attempts = 0
        self._telling = Telling(journal, model=model, system=system)

    # What was said.

    @property
    def history(self) -> History:
        """The conversation, with what the model does not see any more."""
        return self._telling.history

    @property
    def journal(self) -> Journal | None:
        """Where it is kept, as long as it is."""
        return self._telling.journal

    @property
    def title(self) -> str:
        """What the conversation is called; the first line of its first question, unless set."""
        return self.history.title

    @title.setter
    def title(self, text: str) -> None:
        self._telling.tell({"type": "title", "title": text})

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
        """Who the model is to be."""
        return self.history.system

    @system.setter
    def system(self, text: str | None) -> None:
        self._telling.set_system(text)

    # Asking.

    def say(
        self, text: str, pictures: Sequence[Picture] = (), files: Sequence[Attachment] = ()
    ) -> Iterator[Event]:
        """Ask, and stream the answer. The question is in the journal before the answer begins, and
        each piece of the answer when it comes. When nothing was answered, the question is
        ``history.open`` and can be asked again.

        Raises:
            EngineStopped: the engine died in the answer; what was said is kept.
            DoesNotFit: with the numbers; nothing was evaluated, the conversation is as before.
            ProjectorError, EngineError: from the engine; the conversation is as before.
        """
        question = Question(text, tuple(pictures), tuple(files))
        self._attempts = 0
        return self._ask(self._telling.question(question), self.history.asking(question))

    def say_again(self) -> Iterator[Event]:
        """Ask the last question once more, answered or not. What was answered to it so far is
        forgotten, unless nothing is said this time. Raises like ``say``.

        Raises:
            UsageError: nothing was asked yet.
        """
        return self._ask_again({"type": "again"}, self._last_question())

    def regenerate(self) -> Iterator[Event]:
        """The same, by other dice: a seed that is set counts on."""
        self._attempts += 1
        return self.say_again()

    def edit(
        self, text: str, pictures: Sequence[Picture] = (), files: Sequence[Attachment] = ()
    ) -> Iterator[Event]:
        """Ask the last question in other words, with its pictures and files and with these. Raises
        like ``say_again``."""
        self._attempts = 0
        last, more = self._last_question(), Question(text, tuple(pictures), tuple(files))
        record = {**self._telling.question(more), "type": "again"}
        return self._ask_again(record, last.amended(more))

    def continue_answer(self) -> Iterator[Event]:
        """Go on with the last answer where it ends. Raises like ``say``.

        Raises:
            UsageError: there is no answer to go on with.
        """
        history = self.history
        if history.open is not None or not history.exchanges or not history.exchanges[-1].answer:
            raise UsageError("there is no answer to go on with", hint="ask something first")
        return self._ask({"type": "continue"}, history.messages(), goes_on=True)

    def _last_question(self) -> Question:
        if self.history.open is not None:
            return self.history.open
        if not self.history.exchanges:
            raise UsageError("nothing was asked yet", hint="type a question")
        return self.history.exchanges[-1].question

    def _ask_again(self, record: Record, question: Question) -> Iterator[Event]:
        before = replace(self.history, exchanges=list(self.history.exchanges))
        if self.history.open is None:
            before.exchanges.pop()
        return self._ask(record, before.asking(question))

    def _ask(
        self, record: Record, messages: Sequence[Message], *, goes_on: bool = False
    ) -> Iterator[Event]:
        """Stream the answer; ``record`` says what is asked."""
        yield from map(Notice, self._tell_unseen())
        request = self._request(messages, goes_on=goes_on)
        known = bool(self.history.exchanges)
        self._telling.tell(record, sync=True)
        reason, came, refused = "cancelled", False, False
        events: Iterator[Event] = iter(())
        try:
            events = self._engine.generate(request)
            for event in events:
                came = True
                if problem := self._telling.take_problem():
                    yield Notice(problem)
                if isinstance(event, Chunk) and event.text:
                    kind = "said" if event.channel == "answer" else "thought"
                    self._telling.tell({"type": kind, "text": event.text})
                elif isinstance(event, Finished):
                    reason = event.reason
                elif isinstance(event, Notice) and known:  # the engine was started again
                    event = Notice(f"{event.text}, {KEPT}")  # noqa: PLW2901
                yield event
        except GemmaEdgeError as error:
            reason, refused = "stopped", not came and not isinstance(error, EngineStopped)
            if isinstance(error, DoesNotFit) and not isinstance(error, OutOfMemory):
                raise self._explained(error, messages, goes_on) from None
            raise
        finally:
            if isinstance(events, Generator):
                events.close()  # the engine stops when its listener does
            ended = {"type": "refused"} if refused else {"type": "answered", "reason": reason}
            self._telling.tell(ended, sync=True)

    def _request(self, messages: Sequence[Message], *, goes_on: bool = False) -> Request:
        sampling = self.sampling
        if sampling.seed is not None and self._attempts:
            sampling = replace(sampling, seed=sampling.seed + self._attempts)
        return Request(
            messages=self._seen(messages),
            think=self.think,
            max_tokens=self.max_tokens,
            max_thought_tokens=self.max_thought_tokens,
            sampling=sampling,
            stop=self.stop,
            goes_on=goes_on,
        )

    def _explained(
        self, error: DoesNotFit, messages: Sequence[Message], goes_on: bool
    ) -> DoesNotFit:
        """The numbers of this message, where it is the message that is too large."""
        if goes_on:
            return DoesNotFit(error.message, hint=CHOICES)
        whole = self._measure(messages)
        before = self._measure(messages[:-1]) if self.history.exchanges else None
        return error if whole.free_tokens > 0 else too_large(whole, before)

    # Changing what was said.

    def undo(self) -> bool:
        """Take the last question and its answer back; False where there is none."""
        if self.history.open is None and not self.history.exchanges:
            return False
        self._telling.tell({"type": "undo"}, sync=True)
        return True

    def drop(self, count: int) -> int:
        """Leave the oldest ``count`` questions and their answers out of the prompt; return how many
        there were. The journal keeps them."""
        count = max(0, min(count, len(self.history.exchanges)))
        if count:
            self._telling.tell({"type": "drop", "count": count}, sync=True)
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
            messages=self._seen(older.asking(Question(summary_prompt()))),
            think=self.think,  # else the prompt would differ from its first token on
            max_thought_tokens=0,
            sampling=GREEDY,
            max_tokens=most_tokens(self._engine.info.context_tokens),
        )
        said: list[str] = []
        finished = None
        for event in self._engine.generate(request):
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
        if problem := judge(summary, finished, before=before, after=after):
            yield Notice(f"{problem}: the conversation is as before")
        else:
            record = {"type": "compact", "count": count, "summary": summary}
            self._telling.tell(record, sync=True)
        yield finished

    def clear(self) -> None:
        """Forget the turns; the system prompt stays, and so does the journal."""
        if self.history.exchanges or self.history.open or self.history.summary:
            self._telling.tell({"type": "clear"}, sync=True)

    def move_to(self, engine: Engine, model: str = "") -> tuple[str, ...]:
        """Go on with another model; return what that changes, in sentences. Waits for it."""
        self._engine = engine
        self._telling.set_model(model)
        self._unseen_told = False
        return tuple(self._tell_unseen())

    # The context.

    def meter(
        self,
        draft: str | None = None,
        pictures: Sequence[Picture] = (),
        files: Sequence[Attachment] = (),
    ) -> Meter:
        """How full the context is, with ``draft`` and what goes with it as the next question.

        Raises:
            ProjectorError, EngineError: from the engine.
        """
        asked = draft is not None or pictures or files or not self.history.exchanges
        if not asked:
            return self._measure(self.history.messages())
        question = Question(draft or "", tuple(pictures), tuple(files))
        return self._measure(self.history.asking(question))

    def attach(self, name: str, text: str) -> Attachment:
        """A text file with the tokens that it takes in a question."""
        file = Attachment(name, text)
        bare, whole = (
            self._measure([Question("x", files=taken).message()]) for taken in ((), (file,))
        )
        return replace(file, tokens=whole.used_tokens - bare.used_tokens)

    def settle(self) -> Iterator[Event]:
        """Read the conversation into the cache, so that the next question costs its own tokens
        only; for when the person reads. ``engine.cancel`` ends it."""
        if not self.history.exchanges:
            return iter(())
        return self._engine.warm(self._request(self.history.messages()))

    def save_cache(self) -> int:
        """Keep what the engine holds beside the journal; 0 bytes where there is nothing to keep.

        Raises:
            EngineError: the disk refuses.
        """
        if self.journal is None or not self.journal.exists or not self.history.exchanges:
            return 0
        return self._engine.save(self.journal.kv_path)

    def restore_cache(self) -> Restored:
        """Take back what was kept, or say why the conversation is to be read again."""
        if self.journal is None or not self.journal.exists:
            return Restored(0, "nothing was saved")
        return self._engine.restore(self.journal.kv_path)

    def _measure(self, messages: Sequence[Message]) -> Meter:
        count = self._engine.count(self._request(messages))
        return Meter.of(count, self._engine.info.context_tokens)

    def _seen(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """For a model without eyes, the names of pictures instead; those of the last message stay,
        so that the engine refuses them."""
        *before, last = messages
        if any(message.pictures for message in before) and not self._engine.info.vision:
            before = [_told(message) for message in before]
        return (*before, last)

    def _tell_unseen(self) -> Iterator[str]:
        """Once: that a model without eyes has pictures in its conversation."""
        count = sum(len(exchange.question.pictures) for exchange in self.history.exchanges)
        if count and not self._unseen_told and not self._engine.info.vision:
            self._unseen_told = True
            images = f"{count} image{'s' if count > 1 else ''}"
            yield f"{images} of this conversation: this model sees none, only their names"


def _told(message: Message) -> Message:
    names = [f"[{p.name or 'an image'}: an image that you cannot see]" for p in message.pictures]
    return replace(message, text="\n\n".join([*names, message.text]), pictures=())
