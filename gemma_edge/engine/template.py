"""The model's own chat template, rendered in a sandbox into pieces of known origin.

Text that people or documents wrote never passes through the template: it sees a placeholder, and
the rendered text is cut at the placeholders. Jinja's sandbox keeps a template from the machine, but
not from time and memory: `{{ 'A' * 10 ** 10 }}` takes ten gigabytes in one step that nothing can
interrupt. So only a template that is known to be harmless is rendered here, and every other one by
a child process with limits.
"""

import secrets
import weakref
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from threading import Lock
from typing import Any

from gemma_edge.documents.document import Picture
from gemma_edge.engine.protocol import Message
from gemma_edge.errors import ModelError
from gemma_edge.isolation import (
    Child,
    ChildBug,
    ChildMessage,
    ChildRequest,
    ChildStopped,
    Death,
    Handler,
    Limits,
)
from gemma_edge.records import dataclass
from gemma_edge.units import MIB, render_bytes

IMAGE_SLOT = "<|image|>"  # what Gemma 4's template writes for an image part

# A file without a template is a base model: its text goes in as it is.
PLAIN_TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"


@dataclass(frozen=True, slots=True)
class Markup:
    """Text that the template wrote; control tokens in it are real."""

    text: str


@dataclass(frozen=True, slots=True)
class MessageText:
    """Text that a person or a document wrote; control tokens in it are just characters.
    ``documents`` are those of its message; ``answer``: the model wrote it."""

    text: str
    documents: tuple[int, ...] = ()
    answer: bool = False


Piece = Markup | MessageText | Picture


class ChatTemplate:
    """A template. ``notes`` says what had to be done for it, in sentences. Close it: one that is
    not known has a process.
    Raises ModelError: it is broken."""

    def __init__(self, source: str, bos: str, eos: str, limits: Limits | None = None) -> None:
        self.notes: tuple[str, ...] = ()
        self._fold_system = False
        self._special = {"bos_token": bos, "eos_token": eos}
        if not source:
            source = PLAIN_TEMPLATE
            self.notes = ("the file has no chat template: turns are plain text",)
        self._source = source
        self._renderer = None if is_known(source) else _Renderer(limits or LIMITS)
        if self._renderer is not None:  # it ends also where nobody closes it
            weakref.finalize(self, self._renderer.close)
        try:
            self._check_system()
        except ModelError:
            self.close()
            raise

    def close(self) -> None:
        """End the process that renders, where there is one. Idempotent."""
        if self._renderer is not None:
            self._renderer.close()

    def render(
        self, messages: Sequence[Message], *, think: bool = False, goes_on: bool = False
    ) -> list[Piece]:
        """Pieces in the order of the prompt, with the header of the next model turn; where the last
        one ``goes_on``, nothing stands behind what it says.
        Raises ModelError: the template fails, takes or writes too much, or drops or repeats a
        message."""
        if self._fold_system:
            messages = _folded(messages)
        nonce = f"PART{secrets.token_hex(8)}N"
        placeholders = {f"{nonce}{index}E": written(each) for index, each in enumerate(messages)}
        rendered = self._call(messages, list(placeholders), think)
        pieces: list[Piece] = []
        pictures = [picture for message in messages for picture in message.pictures]
        for index, (placeholder, content) in enumerate(placeholders.items()):
            before, found, rendered = rendered.partition(placeholder)
            if not found or placeholder in rendered:
                raise ModelError(
                    f"the chat template of this model loses or repeats the {messages[index].role} "
                    f"text of turn {index + 1}",
                    hint="a newer GGUF of the model has a corrected template",
                )
            pieces += _slots(before, pictures)
            pieces += content
        pieces += [] if goes_on else _slots(rendered, pictures)
        if pictures:
            raise ModelError(
                "the chat template of this model has no place for images",
                hint="use a Gemma 4 GGUF together with its projector",
            )
        return pieces

    def _call(self, messages: Sequence[Message], placeholders: Sequence[str], think: bool) -> str:
        pairs = zip(messages, placeholders, strict=True)
        values = {
            "messages": [_as_dict(message, placeholder) for message, placeholder in pairs],
            "add_generation_prompt": True,
            "enable_thinking": think,
            **self._special,
        }
        if self._renderer is None:
            return render(self._source, values)
        return self._renderer.render(self._source, values)

    def _check_system(self) -> None:
        """Prove that a system prompt stands in the prompt exactly once; fold it in if not."""
        probe = (Message("system", "probe"), Message("user", "probe"))
        try:
            self.render(probe)
        except ModelError:
            if self._renderer is not None and self._renderer.stopped:
                raise  # what took too long once takes too long again
            self._fold_system = True
            self.render(probe)
            self.notes += (
                "this chat template has no system turn: the system prompt is put before the "
                "first user turn",
            )


# SHA-256 of templates that were read by people, without the white space around them: Google's for
# Gemma 4 and llama.cpp's for interleaved thoughts (models/templates of llama.cpp), and that of the
# bundled model.
KNOWN = frozenset((
    "1d35a24a2a63cc600c0cab43628a6df4cd3318e959b03307cf5f9f7e29ecf783",
    "df900edd2fcee5defc268bee887666c43c976d973bb3e87355b52423a651bf91",
    "627942b1c82cacec03a1222429dfa412a34174403d6a0af9e65cc011b65190d1",
))  # fmt: skip


def is_known(source: str) -> bool:
    """Whether a template may be rendered in this process."""
    return source == PLAIN_TEMPLATE or sha256(source.strip().encode()).hexdigest() in KNOWN


# What a template may take. Gemma 4's takes 2 ms, and a long conversation some tens; a process with
# Jinja takes 30 MiB, of address space 150. The clock stands where the processor's does not count
# (Windows), and for a machine on which everything waits.
MAX_RENDERED_CHARS = MIB  # of what it writes beside the messages, some 60 a turn
LIMITS = Limits(
    seconds=60.0, cpu_seconds=3, memory_bytes=512 * MIB, message_bytes=8 * MAX_RENDERED_CHARS,
    may_write_files=False,
)  # fmt: skip
_HINT = "another GGUF of this model may have a template that works"
_ERROR_CHARS = 200


class _Renderer:
    """A child process that renders, started when it is first needed, and again after it died."""

    def __init__(self, limits: Limits) -> None:
        self.stopped = False
        self._limits = limits
        self._child: Child | None = None
        self._lock = Lock()

    def render(self, source: str, values: Mapping[str, Any]) -> str:
        """The rendered text. Raises ModelError: like ``render``; or it went over a limit."""
        with self._lock:
            if self._child is None:
                self._child = Child("gemma_edge.engine.template:renderer", limits=self._limits)
            try:
                (text,) = self._child.call(values, source.encode()).parts
            except ChildStopped as stop:
                self.stopped, self._child = True, None
                raise self._refusal(stop.death) from None
            except ChildBug as bug:
                raise _failure(bug) from bug
            return text.decode()

    def _refusal(self, death: Death) -> ModelError:
        took = f"ends the process that renders it ({death.reason})"
        if death.cause == "timeout":
            took = f"takes longer than {self._limits.cpu_seconds} s"
        if death.cause == "memory":
            took = f"takes more than {render_bytes(self._limits.memory_bytes or 0)} of memory"
        return ModelError(f"the chat template of this model {took}", hint=_HINT)

    def close(self) -> None:
        """End the process. Idempotent."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.close()


def renderer() -> Handler:
    """The child program. Asked the values of a template, with the template, it answers with the
    rendered text."""

    def answer(request: ChildRequest) -> Sequence[ChildMessage]:
        (source,) = request.parts
        return (ChildMessage({}, (render(source.decode(), request.header).encode(),)),)

    return answer


def render(source: str, values: Mapping[str, Any]) -> str:
    """A template filled with ``values``, in this process.
    Raises ModelError: it is not valid, it fails, or writes too much."""
    pieces: list[str] = []
    size = 0
    try:
        for piece in _compile(source).generate(**values):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_RENDERED_CHARS:
                break
        text = "".join(pieces)[: MAX_RENDERED_CHARS + 1].encode("utf-8", "replace").decode()
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  (a template may raise anything)
        raise _failure(error) from error
    if size > MAX_RENDERED_CHARS:
        raise ModelError(
            f"the chat template of this model writes more than {render_bytes(MAX_RENDERED_CHARS)}",
            hint=_HINT,
        )
    return text


def _failure(error: Exception) -> ModelError:
    from jinja2.exceptions import TemplateError, TemplateSyntaxError

    what = "is not valid" if isinstance(error, TemplateSyntaxError) else "fails"
    said = error.message if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
    shown = "".join(c if c.isprintable() else " " for c in (said or "")[:_ERROR_CHARS])
    words = " ".join(shown.split()) + (" …" if len(said or "") > _ERROR_CHARS else "")
    reason = f": {words}" if words else ""
    return ModelError(f"the chat template of this model {what}{reason}", hint=_HINT)


@lru_cache(maxsize=4)
def _compile(source: str) -> Any:
    """A template in an immutable sandbox (the CVE-2024-34359 class of attack)."""
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: object = "") -> None:
        raise TemplateError(str(message))

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(source)


def _as_dict(message: Message, placeholder: str) -> dict[str, Any]:
    """The form templates expect. A system text stays a string: as a list it is printed as one."""
    role = "assistant" if message.role == "model" else message.role
    if not message.pictures:
        return {"role": role, "content": placeholder}
    parts: list[dict[str, str]] = [{"type": "image"} for _ in message.pictures]
    return {"role": role, "content": [*parts, {"type": "text", "text": placeholder}]}


def written(message: Message) -> list[Piece]:
    """What a message says, as pieces."""
    answer = message.role == "model"
    if message.parts:
        return [
            Markup(text) if place % 2 else MessageText(text, answer=answer)
            for place, text in enumerate(message.parts)
        ]
    text = message.text.strip()
    before = message.text.find(text)
    ends = tuple(min(max(end - before, 0), len(text)) for end in message.documents)
    return [MessageText(text, ends, answer)]


def _slots(text: str, pictures: list[Picture]) -> list[Piece]:
    first, *rest = text.split(IMAGE_SLOT)
    pieces: list[Piece] = [Markup(first)]
    for part in rest:
        if not pictures:
            raise ModelError("the chat template of this model has more image places than images")
        pieces += [pictures.pop(0), Markup(part)]
    return pieces


def _folded(messages: Sequence[Message]) -> list[Message]:
    """The system text before the first user turn, for templates without a system turn."""
    system = "\n\n".join(m.text.strip() for m in messages if m.role == "system")
    rest = [m for m in messages if m.role != "system"]
    if not system:
        return rest
    for index, message in enumerate(rest):
        if message.role == "user":
            text = f"{system}\n\n{message.text}"
            ends = tuple(end + len(text) - len(message.text) for end in message.documents)
            rest[index] = Message("user", text, message.pictures, documents=ends)
            return rest
    return [Message("user", system), *rest]
