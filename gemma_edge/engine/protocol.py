"""The Engine protocol: requests and events, as plain data.

Everything that crosses it is frozen and plain, so an engine can live in another process.
Shapes: a prompt is ``Message``s, which carry ``Picture``s already resized to whole patches.
Quantities carry their unit in the name.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Protocol

from gemma_edge.documents.document import Picture
from gemma_edge.planning.plan import (
    Account,
    Adapter,
    Allocated,
    Attempt,
    Ledger,
    MemoryPart,
    Plan,
    Speed,
)
from gemma_edge.records import dataclass

Role = Literal["system", "user", "model"]
Channel = Literal["thought", "answer", "call"]
FinishReason = Literal["end", "stop_text", "length", "repetition", "cancelled"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. Pictures stand before the text, as the model was trained. ``parts``, where there
    are any, stand for the text: at even places what people wrote, at odd ones markup of the model's
    own (a call of a function), whose control tokens are real. ``documents`` are the places in the
    text, in characters, up to which other questions may have the same: the ends of documents."""

    role: Role
    text: str
    pictures: tuple[Picture, ...] = ()
    parts: tuple[str, ...] = ()
    documents: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen. ``None`` keeps the model's own default (``general.sampling.*``)."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None


GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedRow:
    """A row of a table with the lines that go on with it; ``text`` and ``candidates`` as those of
    ``Grounding``. ``columns`` are what single fields of an entry can be, by where they stand in it
    (``price.amount``); those in ``sure`` are printed here, and not null. ``cells`` are all of its
    cells. ``begins``: it is the first of a table; ``bound``: where the row above it is an entry, it
    is the next one."""

    text: str
    candidates: tuple[tuple[str, tuple[str, ...]], ...] = ()
    columns: tuple[tuple[str, "PrintedRow"], ...] = ()
    sure: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    begins: bool = False
    bound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounding:
    """What copied values are held to: ``text`` is what the pages of the prompt print,
    ``candidates`` are the values found in it, by the name of their kind, as they are printed;
    numbers as JSON writes them. ``rows`` are the printed rows that the entries of a list can be,
    down the page, by the ``row_key`` of the list."""

    text: str
    candidates: tuple[tuple[str, tuple[str, ...]], ...] = ()
    rows: tuple[tuple[str, tuple[PrintedRow, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonConstraint:
    """Hold the answer to a JSON Schema while decoding, on one line with ``", "`` and ``": "``.
    ``schema`` is the schema as JSON text, prepared by the caller (closed objects, nullable leaves);
    ``relaxed`` is how far llguidance may relax it: "", "coerce_one_of" or "lenient". With
    ``grounding`` the leaves that the schema marks can only be what is printed."""

    schema: str
    relaxed: Literal["", "coerce_one_of", "lenient"] = ""
    grounding: Grounding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallConstraint:
    """Hold the answer to a grammar of llguidance (``lark``) in which functions can be called: a
    call is written between ``<|tool_call>`` and ``<tool_call|>``, comes on the channel ``call``
    with these marks, and an answer that is cut may end in one. Control tokens of the model are
    named as they are written. With an ``answer`` the grammar's rule of that name is this one, from
    the first to the last token, and ends as one alone would."""

    lark: str
    answer: JsonConstraint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One answer asked for. ``max_tokens`` counts what is generated, thoughts included;
    ``None`` means whatever the context leaves. ``think`` opens the thought channel, for at most
    ``max_thought_tokens`` (``None``: three quarters of all), so that it cannot eat the answer.
    ``goes_on``: the last message is the model's, and the answer goes on where it ends. ``raw``: the
    one message is the prompt as it is, without a template, its text or its parts.
    ``fresh``: nothing of the prompt is taken from the cache.
    ``scored``: each answer ``Chunk`` carries how sure the model was of its tokens, and of the
    ``top`` likeliest ones in the place of each that it chose."""

    messages: tuple[Message, ...]
    think: bool = False
    max_tokens: int | None = None
    max_thought_tokens: int | None = None
    sampling: Sampling = Sampling()
    constraint: JsonConstraint | CallConstraint | None = None
    stop: tuple[str, ...] = ()
    goes_on: bool = False
    raw: bool = False
    scored: bool = False
    top: int = 0
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One token of an answer. ``probability`` is the model's own for it, at temperature 1 and
    before any mask; ``legal`` is the mass of all tokens that the constraint allowed there (1.0
    without one). A ``forced`` token was not chosen: both are 1.0. ``top`` are the likeliest tokens
    of all there, the first first, each with its probability; bytes that are no character of their
    own are surrogates, as Python's ``surrogateescape`` writes them."""

    text: str
    probability: float
    legal: float
    forced: bool = False
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of text, whole characters only, on one channel. The texts of all ``scores`` of an
    answer, joined, are the texts of its chunks, joined; borders may differ."""

    text: str
    channel: Channel
    scores: tuple[TokenScore, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens, exactly. ``prompt = cached + evaluated``, unless reading it was cancelled;
    ``forced`` and ``thought`` are part of ``generated``. ``encoded_pictures`` is how often the
    vision encoder ran: not for a picture that was remembered. Of the ``drafted`` choices so many
    were ``accepted``; a drafter ``guessed`` some of them, in ``guess_seconds``. Of the ``cached``
    tokens so many were ``restored`` from the disk."""

    prompt_tokens: int
    cached_tokens: int
    evaluated_tokens: int
    generated_tokens: int
    restored_tokens: int = 0
    thought_tokens: int = 0
    forced_tokens: int = 0
    encoded_pictures: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    guessed_tokens: int = 0
    guesses_accepted: int = 0
    guess_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds by the wall clock. ``mask_seconds`` are a part of ``decode_seconds``: what it took to
    hold the choices to a constraint. ``saved_seconds`` is what reading took that was restored from
    the disk, less what that took."""

    prompt_seconds: float
    first_token_seconds: float
    decode_seconds: float
    mask_seconds: float = 0.0
    saved_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of an answer. ``closed_early`` says that the constraint steered to the
    shortest valid end because the token budget ran out, or because the model repeated itself (the
    JSON is valid but not complete)."""

    reason: FinishReason
    usage: Usage
    timings: Timings
    closed_early: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence that a person should read: what happened to the engine, what was changed."""

    text: str


@dataclass(frozen=True, slots=True)
class Prefill:
    """How far a long prompt is read, in tokens; at most four a second, none in the first second."""

    done_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class Loading:
    """How far a load is: the ``share`` of the weights that is in place, from 0 to 1, None where
    llama.cpp has not said yet; after so many ``seconds``."""

    share: float | None
    seconds: float


Event = Chunk | Prefill | Notice | Finished


class Answer(Generator[Event, None, None]):
    """The events of one answer, which can be stopped apart from others. ``events`` may give None
    where a step brought none; ``cancel`` is what stops it."""

    def __init__(
        self, events: Generator[Event | None, None, None], cancel: Callable[[], None]
    ) -> None:
        self._events = events
        self.cancel = cancel
        """Ask it to end with ``Finished("cancelled")``; others go on. Safe from any thread."""

    def poll(self) -> Event | None:
        """The next event, or None after a step without one."""
        return next(self._events)

    def send(self, _value: None) -> Event:
        while (event := next(self._events)) is None:
            pass
        return event

    def throw(self, *error: Any) -> Event:
        event = self._events.throw(*error)
        return self.send(None) if event is None else event

    def close(self) -> None:
        """Cancel it, and take no more of its events."""
        self._events.close()


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back from a file: ``tokens`` stand in the cache now. With 0 nothing came, and
    ``reason`` says why ("the weights are another file than when it was saved"). ``read_seconds`` is
    what reading them took, where that was noted."""

    tokens: int
    reason: str = ""
    read_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCount:
    """Exact size of a prompt before anything is evaluated. ``template_tokens`` is the part that
    no message wrote: turn markers, role names, the generation header."""

    total_tokens: int
    picture_tokens: int
    template_tokens: int


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """The ``ids`` of a prompt, -1 for each token of a picture, and their ``pieces``, where they
    were asked for; bytes that are no character of their own are surrogates, as Python's
    ``surrogateescape`` writes them. The first ``added`` of them nobody wrote: they begin a text."""

    count: PromptCount
    ids: tuple[int, ...]
    added: int
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What was loaded, in words and numbers. ``thinks``: it has a channel for thoughts, and a
    template that opens it; ``calls``: it has the marks that calls of functions stand between.
    ``gpu_layers`` of ``layers`` are on a GPU; ``allocated`` is what llama.cpp reports, buffer by
    buffer; ``plan`` is the one that was loaded at last, which may be a fallback of the one that was
    asked for."""

    name: str
    architecture: str
    context_tokens: int
    trained_context_tokens: int
    vision: bool
    device: str
    gpu_layers: int
    layers: int
    sampling: Sampling
    thinks: bool = False
    calls: bool = False
    notes: tuple[str, ...] = ()
    allocated: tuple[Allocated, ...] = ()
    plan: Plan | None = None


class Engine(Protocol):
    """One model. As many answers are under way at once as its plan has ``sequences``, each asked
    for by a thread of its own; others wait their turn."""

    @property
    def info(self) -> EngineInfo:
        """What was loaded; waits for it.
        Raises ModelError: a file cannot be loaded, or its chat template is broken;
        ProjectorError: the projector is not of this model; DoesNotFit: memory is too small, also
        for every fallback of the plan; EngineError: the build of llama.cpp cannot do what the
        plan asks, or stopped."""

    def loading(self, seconds: float = 0.0) -> Loading | None:
        """How far it is, after waiting for at most so long; None once it is loaded, or is not."""

    def count(self, request: Request) -> PromptCount:
        """Exact prompt size; nothing is evaluated. Raises ProjectorError: a picture, but no
        projector was loaded; DoesNotFit: a picture is larger than what was planned for."""

    def generate(self, request: Request) -> Iterator[Event]:
        """``Chunk``s, among them ``Notice``s, before them ``Prefill``s, then exactly one
        ``Finished``. Closing the iterator early cancels. The engine's own iterators are
        ``Answer``s, which can be cancelled one by one.
        Raises DoesNotFit: the prompt, or the prompt with the answer, is larger than the context;
        ProjectorError: a picture, but no projector was loaded; SchemaError: the constraint cannot
        be compiled; EngineStopped: its process died after the first chunk, it is being started
        again; EngineError: llama.cpp failed."""

    def warm(self, request: Request) -> Iterator[Event]:
        """Read the messages into the cache, up to the end of the last one: no header of an answer,
        no answer. ``Prefill``s, then one ``Finished`` with nothing generated; ``cancel`` ends it
        early and keeps what was read. Of ``request`` the messages and ``think`` count. After an
        answer the history with it, warmed, makes the next turn evaluate only its own tokens: the
        header of an answer has an empty thought channel that the history has not. Raises
        DoesNotFit: the messages are larger than the context; ProjectorError, EngineError: like
        ``generate``."""

    def save(self, path: Path) -> int:
        """Write what the cache holds to a file, whole or not at all; return its size in bytes.
        Other threads may ask for answers meanwhile: only the copy out of the cache holds them up,
        not the disk. Raises EngineError: the disk refuses, or the cache is empty."""

    def restore(self, path: Path) -> Restored:
        """Take a saved cache back, if it is of these weights, projector, adapters, template and
        this llama.cpp, whole, and fits the context; else nothing of it is used.
        Raises EngineError: the engine cannot be asked."""

    def measure(self, tokens: int = 32, *, filled: bool = False) -> float:
        """Tokens a second of plain decoding, after a warm-up: from an empty cache, or ``filled``,
        behind what it holds, which has to leave room for them. What the cache held is lost.
        Raises EngineError: llama.cpp failed."""

    def cancel(self) -> None:
        """Ask the running answer to stop; it ends with ``Finished("cancelled")``. Safe from a
        signal handler and from another thread."""

    def close(self) -> None:
        """Free the model. Idempotent."""


class Counter(Protocol):
    """Counts prompts; a context manager that closes it."""

    def count(self, request: Request) -> PromptCount:
        """Exact prompt size, equal to ``Engine.count`` of the same model and projector; nothing is
        evaluated, and no picture is too large.
        Raises ModelError: the file has no vocabulary that can be read, or a broken template;
        ProjectorError: a picture, but the plan has no projector; EngineError: the process
        stopped."""

    def tokenize(self, request: Request, *, pieces: bool = False) -> PromptTokens:
        """The tokens of a prompt; raises like ``count``."""

    def detokenize(self, tokens: tuple[int, ...]) -> str:
        """Their text, control tokens as they are written.
        Raises UsageError: there is no such token; EngineError: the process stopped."""

    def close(self) -> None:
        """End the process. Idempotent."""

    def __enter__(self) -> "Counter":
        """Itself."""

    def __exit__(self, *_: object) -> None:
        """Close it."""


# How these values travel to another process: as JSON, and bytes beside it. Nothing that comes from
# there is executed.
_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        Message, Picture, Sampling, PrintedRow, Grounding, JsonConstraint, CallConstraint, Request,
        TokenScore, Chunk, Usage, Timings, Finished, Notice, Prefill, Restored, PromptCount,
        PromptTokens, EngineInfo, Allocated, Plan, Adapter, Speed, Attempt, Ledger, Account,
        MemoryPart,
    )
}  # fmt: skip

_NAMES = {kind: tuple(each.name for each in fields(kind)) for kind in _KINDS.values()}


def pack(value: Any, parts: list[bytes]) -> Any:
    """A value of this protocol as JSON; its bytes are added to ``parts``. Anything else is a
    ``KeyError``."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple):
        return [pack(each, parts) for each in value]
    if isinstance(value, bytes):
        known = next((at for at, part in enumerate(parts) if part is value), len(parts))
        if known == len(parts):  # a picture that is shown twice travels once
            parts.append(value)
        return {"bytes": known}
    if isinstance(value, Path):
        return {"Path": str(value.absolute())}  # the process is in another folder
    kind = type(value)
    return {kind.__name__: [pack(getattr(value, name), parts) for name in _NAMES[kind]]}


def unpack(value: Any, parts: Sequence[bytes]) -> Any:
    if isinstance(value, list):
        return tuple(unpack(each, parts) for each in value)
    if not isinstance(value, dict):
        return value
    ((name, content),) = value.items()
    if name == "bytes":
        return parts[content]
    if name == "Path":
        return Path(content)
    kind = _KINDS[name]
    made: Any = object.__new__(kind)  # as it was: the digest of a picture is not computed again
    for field, each in zip(_NAMES[kind], content, strict=True):
        object.__setattr__(made, field, unpack(each, parts))
    return made
