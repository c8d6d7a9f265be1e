"""The model's own chat template, rendered in a sandbox into pieces of known origin.

Text that people or documents wrote never passes through the template: it sees a placeholder, and
the rendered text is cut at the placeholders. So the tokenizer can treat what the template wrote
(turn markers, channels, image slots) and what people wrote by different rules, and a system
prompt can be counted in the result.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gemma_edge.documents.picture import Picture
from gemma_edge.engine.protocol import Message
from gemma_edge.errors import ModelError

IMAGE_SLOT = "<|image|>"  # what Gemma 4's template writes for an image part

# A file without a template is a base model: its text goes in as it is.
PLAIN_TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"


@dataclass(frozen=True, slots=True)
class Markup:
    """Text that the template wrote; control tokens in it are real."""

    text: str


@dataclass(frozen=True, slots=True)
class Content:
    """Text that a person or a document wrote; control tokens in it are just characters."""

    text: str


Piece = Markup | Content | Picture


class ChatTemplate:
    """A compiled template. ``notes`` says what had to be done for it, in sentences."""

    def __init__(self, source: str, bos: str, eos: str) -> None:
        self.notes: tuple[str, ...] = ()
        self._fold_system = False
        self._special = {"bos_token": bos, "eos_token": eos}
        if not source:
            source = PLAIN_TEMPLATE
            self.notes = ("the file has no chat template: turns are plain text",)
        self._template = _compile(source)
        self._check_system()

    def render(self, messages: Sequence[Message], *, think: bool = False) -> list[Piece]:
        """Pieces in the order of the prompt, with the header of the next model turn.

        Raises:
            ModelError: the template fails, or drops or repeats what was said.
        """
        if self._fold_system:
            messages = _folded(messages)
        nonce = f"PART{secrets.token_hex(8)}N"
        marks = {f"{nonce}{index}E": Content(m.text.strip()) for index, m in enumerate(messages)}
        rendered = self._call(messages, list(marks), think)
        pieces: list[Piece] = []
        pictures = [picture for message in messages for picture in message.pictures]
        for index, (mark, content) in enumerate(marks.items()):
            before, found, rendered = rendered.partition(mark)
            if not found or mark in rendered:
                raise ModelError(
                    f"the chat template of this model loses or repeats the {messages[index].role} "
                    f"text of turn {index + 1}",
                    hint="a newer GGUF of the model has a corrected template",
                )
            pieces += _slots(before, pictures)
            pieces.append(content)
        pieces += _slots(rendered, pictures)
        if pictures:
            raise ModelError(
                "the chat template of this model has no place for images",
                hint="use a Gemma 4 GGUF together with its projector",
            )
        return pieces

    def _call(self, messages: Sequence[Message], marks: Sequence[str], think: bool) -> str:
        from jinja2.exceptions import TemplateError

        try:
            return str(
                self._template.render(
                    messages=[_as_dict(m, mark) for m, mark in zip(messages, marks, strict=True)],
                    add_generation_prompt=True,
                    enable_thinking=think,
                    **self._special,
                )
            )
        except TemplateError as error:
            raise ModelError(f"the chat template of this model fails: {error}") from error

    def _check_system(self) -> None:
        """Prove that a system prompt stands in the prompt exactly once; fold it in if not."""
        probe = (Message("system", "probe"), Message("user", "probe"))
        try:
            self.render(probe)
        except ModelError:
            self._fold_system = True
            self.render(probe)
            self.notes += (
                "this chat template has no system turn: the system prompt is put before the "
                "first user turn",
            )


def _compile(source: str) -> Any:
    """A template in an immutable sandbox (the CVE-2024-34359 class of attack)."""
    from jinja2.exceptions import TemplateError, TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = raise_exception
    try:
        return environment.from_string(source)
    except TemplateSyntaxError as error:
        raise ModelError(f"the chat template of this model is not valid: {error}") from error


def _as_dict(message: Message, mark: str) -> dict[str, Any]:
    """The form templates expect. A system text stays a string: as a list it is printed as one."""
    role = "assistant" if message.role == "model" else message.role
    if not message.pictures:
        return {"role": role, "content": mark}
    parts: list[dict[str, str]] = [{"type": "image"} for _ in message.pictures]
    return {"role": role, "content": [*parts, {"type": "text", "text": mark}]}


def _slots(text: str, pictures: list[Picture]) -> list[Piece]:
    """Cut markup at its image slots and put the next pictures there."""
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
            rest[index] = Message("user", text, message.pictures)
            return rest
    return [Message("user", system), *rest]
