"""What was said in a conversation, and how a journal's records make it again. Pure.

Nothing is ever taken out of the records: a turn that was undone, dropped or summarized is still in
them, and in ``earlier``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gemma_edge.documents.picture import Picture
from gemma_edge.engine.protocol import Message

TITLE_CHARS = 60

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
        """Of what goes with it."""
        named = [*(picture.name for picture in self.pictures), *(file.name for file in self.files)]
        return ", ".join(filter(None, [*named, *self.lost]))

    def amended(self, other: "Question") -> "Question":
        """In the words of ``other``, with what goes with both."""
        return Question(
            other.text,
            self.pictures + other.pictures,
            self.files + other.files,
            self.lost + other.lost,
        )

    def message(self, before: str = "") -> Message:
        """For the model: files first, each under its name, then the text."""
        parts = [before, *map(render_file, self.files)]
        parts += [f"[{name}: an image that cannot be shown any more]" for name in self.lost]
        return Message("user", "\n\n".join(filter(None, [*parts, self.text])), self.pictures)


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

    def messages(self) -> list[Message]:
        """The system turn, if there is one, and all turns that the model sees."""
        messages = [Message("system", self.system)] if self.system else []
        for index, exchange in enumerate(self.exchanges):
            messages.append(exchange.question.message("" if index else self.preface()))
            messages.append(Message("model", exchange.answer))
        return messages

    def asking(self, question: Question) -> list[Message]:
        """The same with one more question."""
        before = "" if self.exchanges else self.preface()
        return [*self.messages(), question.message(before)]

    def preface(self) -> str:
        """What the first question says of the turns before it."""
        return f"[What was said before, in short:\n{self.summary}]" if self.summary else ""

    def take_out(self, count: int, fate: str) -> None:
        """Move the oldest exchanges to those that the model does not see any more."""
        self.earlier += [replace(exchange, fate=fate) for exchange in self.exchanges[:count]]
        del self.exchanges[:count]

    def take_back(self, fate: str) -> Exchange:
        """Move the last one there; return it as it was."""
        last = self.exchanges.pop()
        self.earlier.append(replace(last, fate=fate))
        return last

    def shorten(self, count: int, summary: str) -> None:
        """The summary stands for the oldest ``count`` exchanges."""
        self.take_out(count, "summarized")
        self.summary = summary

    def clear(self) -> None:
        """The model sees nothing of it any more; the system prompt stays."""
        self.take_out(len(self.exchanges), "cleared")
        self.summary, self.open = "", None


def render_file(file: Attachment) -> str:
    """A file in a prompt and in an export: its name, and its text in a fence that it does not
    hold itself."""
    fence = "```"
    while fence in file.text:
        fence += "`"
    return f"{file.name}:\n{fence}\n{file.text.rstrip()}\n{fence}"


def title_of(text: str) -> str:
    """The first line that says something, shortened at a word."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if len(line) <= TITLE_CHARS:
        return line
    cut = line[: TITLE_CHARS - 1]
    return cut[: cut.rfind(" ") if cut.rfind(" ") > TITLE_CHARS // 2 else None].rstrip() + "…"


class Teller:
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

    def take(self, record: Record) -> None:
        """Follow one record; one of an unknown kind is noted."""
        kind = str(record.get("type", ""))
        tell: Callable[[Record], None] | None = getattr(self, f"_tell_{kind}", None)
        if tell is None:
            note = f"a line of the session file is of an unknown kind: `{kind}`"
            if note not in self.history.notes:
                self.history.notes.append(note)
            return
        if kind not in _DURING_ANSWER:
            self.end()
        try:
            tell(record)
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
        self._said, self._thought = [said], []

    def _take_back(self) -> bool:
        """The answer that stood here before, if there was one."""
        before, self._before = self._before, None
        if before is None:
            return False
        del self.history.earlier[-1:]
        self.history.exchanges.append(before)
        return True

    def _tell_session(self, record: Record) -> None:
        self.history.created = float(record.get("at", 0.0))
        self._tell_model(record)
        self._tell_system(record)

    def _tell_model(self, record: Record) -> None:
        self.history.model = record.get("model", "")

    def _tell_system(self, record: Record) -> None:
        self.history.system = record.get("system") or None

    def _tell_title(self, record: Record) -> None:
        self.history.title = record["title"]

    def _tell_question(self, record: Record) -> None:
        question = self._question(record)
        self.history.title = self.history.title or title_of(question.text) or question.names
        self._ask(question)

    def _question(self, record: Record) -> Question:
        pictures, lost = [], []
        for saved in record.get("pictures", ()):
            picture = self.find_picture(saved)
            if picture is None:
                lost.append(saved.get("name") or "a picture")
                self.history.notes.append(f"{lost[-1]} is not beside the session file any more")
            else:
                pictures.append(picture)
        files = [Attachment(f["name"], f["text"], f["tokens"]) for f in record.get("files", ())]
        return Question(record["text"], tuple(pictures), tuple(files), tuple(lost))

    def _tell_again(self, record: Record) -> None:
        """The last question is asked once more, perhaps in other words: its answer is undone."""
        history = self.history
        more = self._question(record) if "text" in record else None
        if history.open is not None:
            question, before = history.open, None
        else:
            before = history.take_back("undone")
            question = before.question
        self._ask(question.amended(more) if more else question, before)

    def _tell_continue(self, record: Record) -> None:
        """The last answer goes on."""
        last = self.history.take_back("")
        self._ask(last.question, last, last.answer)
        self._thought = [last.thought]

    def _tell_said(self, record: Record) -> None:
        self._said.append(record["text"])

    def _tell_thought(self, record: Record) -> None:
        self._thought.append(record["text"])

    def _tell_answered(self, record: Record) -> None:
        self.end(record["reason"])

    def _tell_refused(self, record: Record) -> None:
        """The engine did not take it: all is as before it was asked."""
        if self._asked is not None and not self._take_back():
            self.history.open = self._open
        self._asked = None

    def _tell_undo(self, record: Record) -> None:
        history = self.history
        if history.open is not None:
            history.open = None
        else:
            history.take_back("undone")

    def _tell_drop(self, record: Record) -> None:
        self.history.take_out(record["count"], "dropped")

    def _tell_compact(self, record: Record) -> None:
        self.history.shorten(record["count"], record["summary"])

    def _tell_clear(self, record: Record) -> None:
        self.history.clear()


_DURING_ANSWER = ("said", "thought", "answered", "refused", "title")
