"""The model's own chat template, rendered in a sandbox into pieces of known origin.

Text that people or documents wrote never passes through the template: it sees a placeholder, and
the rendered text is cut at the placeholders. So the tokenizer can treat what the template wrote
(turn markers, channels, image slots) and what people wrote by different rules, and a system
prompt can be counted in the result.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp

from gemma_edge.documents.document import Picture
from gemma_edge.engine.kv_cache import Media, Unit, position_of
from gemma_edge.engine.llama import LlamaModel
from gemma_edge.engine.protocol import Message, PromptCount, Request
from gemma_edge.errors import DoesNotFit, ModelError, ProjectorError
from gemma_edge.planning.plan import Plan
from gemma_edge.records import dataclass
from gemma_edge.units import render_tokens


@dataclass(frozen=True, slots=True)
class Prompt:
    """``units`` in order, ``pictures`` by digest; ``written_tokens`` came from messages. The first
    ``history_units`` units stay as they are when the conversation goes on. What follows is the
    header of the answer, which the next prompt may write differently: Gemma 4's has an empty
    thought channel that its history has not."""

    units: Sequence[Unit]
    pictures: Mapping[str, Picture]
    written_tokens: int
    history_units: int

    @property
    def shown(self) -> int:
        """How many units there are up to the last picture; -1 without one. Several questions about
        the same pictures differ only behind it."""
        places = [place for place, unit in enumerate(self.units, 1) if isinstance(unit, Media)]
        return places[-1] if places else -1

    @property
    def tokens(self) -> int:
        return position_of(self.units, len(self.units))

    def history(self) -> Prompt:
        """What stays, without the header of the answer."""
        return replace(self, units=self.units[: self.history_units])

    @property
    def count(self) -> PromptCount:
        soft = sum(unit.tokens for unit in self.units if isinstance(unit, Media))
        return PromptCount(
            total_tokens=self.tokens,
            picture_tokens=soft,
            template_tokens=self.tokens - soft - self.written_tokens,
        )


@dataclass(frozen=True, slots=True)
class Markers:
    """Tokens that stand round every picture, and how large it may be: ``planned_tokens`` is what
    memory was planned for, ``whole_tokens`` a batch, where the model attends both ways inside an
    image and so must see it in one. ``None`` sets no limit."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    planned_tokens: int | None = None
    whole_tokens: int | None = None

    def refusal(self, tokens: int) -> str:
        """Why a picture of so many tokens is too large, or ""."""
        if self.whole_tokens is not None and tokens > self.whole_tokens:
            return f"the batch holds {self.whole_tokens:,}, and this model must see an image whole"
        if self.planned_tokens is not None and tokens > self.planned_tokens:
            return f"memory was planned for images of at most {self.planned_tokens:,}"
        return ""

    @property
    def most_tokens(self) -> int:
        return min(filter(None, (self.planned_tokens, self.whole_tokens)), default=0)


class PromptBuilder:
    """Renders requests with the model's own template and tokenizes them piece by piece."""

    def __init__(self, model: LlamaModel, markers: Markers | None) -> None:
        self._model = model
        self._markers = markers
        self._template = ChatTemplate(
            model.chat_template,
            bos=_text_of(model, model.bos),
            eos=_text_of(model, int(llama_cpp.llama_vocab_eos(model.vocab))),
        )
        self.notes = self._template.notes

    def render(self, request: Request) -> str:
        pieces = self._pieces(request)
        return "".join("<|image|>" if isinstance(p, Picture) else p.text for p in pieces)

    def prompt(self, request: Request) -> Prompt:
        """The prompt as units; nothing is evaluated. Raises ProjectorError: a picture, but no
        projector was loaded; DoesNotFit: a picture is larger than what was planned for it."""
        units: list[Unit] = []
        pictures: dict[str, Picture] = {}
        written = history_units = history_units_before = 0
        for piece in self._pieces(request):
            if isinstance(piece, Picture):
                units += self._placed(piece)
                pictures[piece.digest] = piece
                continue
            tokens = self._model.tokenize(piece.text, special=not isinstance(piece, MessageText))
            units += tokens
            if isinstance(piece, MessageText):
                written += len(tokens)
                history_units_before, history_units = history_units, len(units)
        if request.goes_on:  # the header of the answer stands before the part of it that is there
            history_units = history_units_before
        if self._model.adds_bos and units[:1] != [self._model.bos]:
            units.insert(0, self._model.bos)
            history_units += 1
        return Prompt(units, pictures, written, history_units)

    def _pieces(self, request: Request) -> list[Piece]:
        if not request.goes_on:
            return self._template.render(request.messages, think=request.think)
        *before, last = request.messages
        return [*self._template.render(before, think=request.think), MessageText(last.text)]

    def _placed(self, picture: Picture) -> list[Unit]:
        markers = self._markers
        if markers is None:
            raise ProjectorError(
                f"{picture.name or 'an image'} cannot be seen: no projector was loaded",
                hint="--mmproj FILE, the mmproj file that was published with the model",
            )
        if reason := markers.refusal(picture.tokens):
            raise DoesNotFit(
                f"{picture.name or 'an image'} takes {render_tokens(picture.tokens)}; {reason}",
                hint=f"look at it in less detail, {markers.most_tokens:,} tokens or fewer",
            )
        return [*markers.before, Media(picture.digest, picture.tokens), *markers.after]


def _text_of(model: LlamaModel, token: int) -> str:
    return model.piece(token).decode("utf-8", "replace") if token >= 0 else ""


# What stands round every picture of Gemma 4 (mtmd.cpp, PROJECTOR_TYPE_GEMMA4V and _GEMMA4UV). A
# model with other markers has no slot for a picture in its template either.
_BEFORE, _AFTER = "<|image>", "<image|>"


class LlamaCounter:
    """Counts as ``LlamaEngine.count`` does. The size of the batch is not known yet, so no picture
    is too large here. Raises ModelError: llama.cpp cannot read the file's vocabulary, or its chat
    template is broken."""

    def __init__(self, plan: Plan) -> None:
        self._model = LlamaModel(plan.model, vocabulary_only=True)
        self._prompter = PromptBuilder(self._model, self._markers(plan.projector))

    def _markers(self, projector: Path | None) -> Markers | None:
        if projector is None:
            return None
        before, after = (self._model.tokenize(text, special=True) for text in (_BEFORE, _AFTER))
        return Markers(tuple(before), tuple(after))

    def count(self, request: Request) -> PromptCount:
        return self._prompter.prompt(request).count

    def close(self) -> None:
        self._model.close()


IMAGE_SLOT = "<|image|>"  # what Gemma 4's template writes for an image part

# A file without a template is a base model: its text goes in as it is.
PLAIN_TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"


@dataclass(frozen=True, slots=True)
class Markup:
    """Text that the template wrote; control tokens in it are real."""

    text: str


@dataclass(frozen=True, slots=True)
class MessageText:
    """Text that a person or a document wrote; control tokens in it are just characters."""

    text: str


Piece = Markup | MessageText | Picture


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
        Raises ModelError: the template fails, or drops or repeats a message."""
        if self._fold_system:
            messages = _folded(messages)
        nonce = f"PART{secrets.token_hex(8)}N"
        placeholders = {
            f"{nonce}{index}E": MessageText(m.text.strip()) for index, m in enumerate(messages)
        }
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
            pieces.append(content)
        pieces += _slots(rendered, pictures)
        if pictures:
            raise ModelError(
                "the chat template of this model has no place for images",
                hint="use a Gemma 4 GGUF together with its projector",
            )
        return pieces

    def _call(self, messages: Sequence[Message], placeholders: Sequence[str], think: bool) -> str:
        from jinja2.exceptions import TemplateError

        try:
            return str(
                self._template.render(
                    messages=[
                        _as_dict(m, placeholder)
                        for m, placeholder in zip(messages, placeholders, strict=True)
                    ],
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


def _as_dict(message: Message, placeholder: str) -> dict[str, Any]:
    """The form templates expect. A system text stays a string: as a list it is printed as one."""
    role = "assistant" if message.role == "model" else message.role
    if not message.pictures:
        return {"role": role, "content": placeholder}
    parts: list[dict[str, str]] = [{"type": "image"} for _ in message.pictures]
    return {"role": role, "content": [*parts, {"type": "text", "text": placeholder}]}


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
            rest[index] = Message("user", text, message.pictures)
            return rest
    return [Message("user", system), *rest]
