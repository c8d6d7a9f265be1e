"""The Engine seam: plain data in, events out.

Everything that crosses it is frozen and picklable, so an engine can live in another process.
Shapes: a prompt is ``Message``s, which carry ``Picture``s already resized to whole patches.
Quantities carry their unit in the name.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from gemma_edge.documents.picture import Picture
from gemma_edge.fit.plan import Plan
from gemma_edge.fit.report import Allocated

Role = Literal["system", "user", "model"]
Channel = Literal["thought", "answer"]
FinishReason = Literal["end", "stop_text", "length", "repetition", "cancelled"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. Pictures stand before the text, as the model was trained (gemma4.md section 4)."""

    role: Role
    text: str
    pictures: tuple[Picture, ...] = ()


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
class JsonConstraint:
    """Hold the answer to a JSON Schema while decoding, on one line with ``", "`` and ``": "``.

    ``schema`` is the schema as JSON text, prepared by the caller (closed objects, nullable
    leaves); ``relaxed`` is llguidance's rung: "", "coerce_one_of" or "lenient".
    """

    schema: str
    relaxed: Literal["", "coerce_one_of", "lenient"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One answer asked for. ``max_tokens`` counts what is generated, thoughts included;
    ``None`` means whatever the context leaves. ``think`` opens the thought channel, for at most
    ``max_thought_tokens`` (``None``: three quarters of the room), so that it cannot eat the answer.
    ``scored``: each answer ``Chunk`` carries how sure the model was of its tokens."""

    messages: tuple[Message, ...]
    think: bool = False
    max_tokens: int | None = None
    max_thought_tokens: int | None = None
    sampling: Sampling = Sampling()
    constraint: JsonConstraint | None = None
    stop: tuple[str, ...] = ()
    scored: bool = False


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One token of an answer. ``probability`` is the model's own for it, at temperature 1 and
    before any mask; ``legal`` is the mass of all tokens that the constraint allowed there (1.0
    without one). A ``forced`` token was not chosen: both are 1.0."""

    text: str
    probability: float
    legal: float
    forced: bool = False


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
    ``forced`` and ``thought`` are part of ``generated``."""

    prompt_tokens: int
    cached_tokens: int
    evaluated_tokens: int
    generated_tokens: int
    thought_tokens: int = 0
    forced_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds by the wall clock."""

    prompt_seconds: float
    first_token_seconds: float
    decode_seconds: float


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
class Reading:
    """How far a long prompt is read, in tokens; at most four a second, none in the first second."""

    done_tokens: int
    total_tokens: int


Event = Chunk | Reading | Notice | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCount:
    """Exact size of a prompt before anything is evaluated. ``template_tokens`` is the part that
    no message wrote: turn markers, role names, the generation header."""

    total_tokens: int
    picture_tokens: int
    template_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What was loaded, in words and numbers. ``gpu_layers`` of ``layers`` are on a GPU;
    ``allocated`` is what llama.cpp reports, buffer by buffer; ``plan`` is the one
    that was loaded at last, which may be a fallback of the one that was asked for."""

    name: str
    architecture: str
    context_tokens: int
    trained_context_tokens: int
    vision: bool
    device: str
    gpu_layers: int
    layers: int
    sampling: Sampling
    notes: tuple[str, ...] = ()
    allocated: tuple[Allocated, ...] = ()
    plan: Plan | None = None


class Engine(Protocol):
    """One model, one request at a time; others wait their turn."""

    @property
    def info(self) -> EngineInfo:
        """What was loaded; waits for it.

        Raises:
            ModelError: a file cannot be loaded, or its chat template is broken.
            ProjectorError: the projector is not of this model.
            DoesNotFit: memory is too small, also for every fallback of the plan.
            EngineError: the build of llama.cpp cannot do what the plan asks, or stopped.
        """

    def count(self, request: Request) -> PromptCount:
        """Exact prompt size; nothing is evaluated.

        Raises:
            ProjectorError: a picture, but no projector was loaded.
        """

    def generate(self, request: Request) -> Iterator[Event]:
        """``Chunk``s, among them ``Notice``s, before them ``Reading``s, then exactly one
        ``Finished``. Closing the iterator early cancels.

        Raises:
            DoesNotFit: the prompt, or the prompt with the answer, is larger than the context.
            ProjectorError: a picture, but no projector was loaded.
            SchemaError: the constraint cannot be compiled.
            EngineStopped: its process died after the first chunk; it is being started again.
            EngineError: llama.cpp failed.
        """

    def measure(self, tokens: int = 32) -> float:
        """Tokens a second of plain decoding, after a warm-up. What the cache held is lost.

        Raises:
            EngineError: llama.cpp failed.
        """

    def cancel(self) -> None:
        """Ask the running answer to stop; it ends with ``Finished("cancelled")``. Safe from a
        signal handler and from another thread."""

    def close(self) -> None:
        """Free the model. Idempotent."""
