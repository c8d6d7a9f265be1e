"""Requests to units: what the template wrote and what people wrote, tokenized by different rules.

Control tokens are real in what the template wrote (turn markers, channels, image slots), and
characters in what people or documents wrote; a system prompt can be counted in the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from llama_cpp import llama_cpp

from gemma_edge.documents.document import Picture
from gemma_edge.engine.kv_cache import Media, Unit, position_of
from gemma_edge.engine.llama import LlamaModel
from gemma_edge.engine.protocol import PromptCount, PromptTokens, Request
from gemma_edge.engine.template import ChatTemplate, MessageText, Piece, written
from gemma_edge.errors import DoesNotFit, ProjectorError, UsageError
from gemma_edge.planning.plan import Plan
from gemma_edge.records import dataclass
from gemma_edge.units import render_tokens


@dataclass(frozen=True, slots=True)
class Prompt:
    """``units`` in order, ``pictures`` by digest; ``written_tokens`` came from messages. The first
    ``history_units`` units stay as they are when the conversation goes on. What follows is the
    header of the answer, which the next prompt may write differently: Gemma 4's has an empty
    thought channel that its history has not. ``documents`` are how many units there are up to the
    end of each picture and each document, as far as nothing of them is an answer. The first
    ``added`` units nobody wrote: what begins a text."""

    units: Sequence[Unit]
    pictures: Mapping[str, Picture]
    written_tokens: int
    history_units: int
    documents: tuple[int, ...] = ()
    added: int = 0

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


_SEAM_TOKENS = 8  # where two texts meet, which a token may cross


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

    def close(self) -> None:
        """End the process that renders, where there is one. Idempotent."""
        self._template.close()

    def render(self, request: Request) -> str:
        pieces = self._pieces(request)
        return "".join("<|image|>" if isinstance(p, Picture) else p.text for p in pieces)

    def prompt(self, request: Request) -> Prompt:
        """The prompt as units; nothing is evaluated. Raises ProjectorError: a picture, but no
        projector was loaded; DoesNotFit: a picture is larger than what was planned for it."""
        units: list[Unit] = []
        pictures: dict[str, Picture] = {}
        documents: list[int] = []
        written = history_units = history_units_before = 0
        answered = False
        for piece in self._pieces(request):
            if isinstance(piece, Picture):
                units += self._placed(piece)
                pictures[piece.digest] = piece
                documents += [] if answered else [self._end_of_picture(units)]
                continue
            tokens = self._model.tokenize(piece.text, special=not isinstance(piece, MessageText))
            if isinstance(piece, MessageText):
                written += len(tokens)
                answered = answered or piece.answer
                ends = () if answered else self._ends(piece, tokens)
                documents += [len(units) + end for end in ends]
                history_units_before, history_units = history_units, len(units) + len(tokens)
            units += tokens
        if request.goes_on:  # the header of the answer stands before the part of it that is there
            history_units = history_units_before
        added = int(self._model.adds_bos and units[:1] != [self._model.bos])
        if added:
            units.insert(0, self._model.bos)
            history_units += 1
            documents = [end + 1 for end in documents]
        return Prompt(units, pictures, written, history_units, tuple(documents), added)

    def tokens(self, request: Request, *, pieces: bool) -> PromptTokens:
        """The prompt as ids; raises like ``prompt``."""
        prompt = self.prompt(request)
        ids = [
            id for unit in prompt.units
            for id in ((unit,) if isinstance(unit, int) else (-1,) * unit.tokens)
        ]  # fmt: skip
        texts = (self._model.piece(each) if each >= 0 else b"" for each in ids if pieces)
        shown = tuple(each.decode("utf-8", "surrogateescape") for each in texts)
        return PromptTokens(prompt.count, tuple(ids), prompt.added, shown)

    def _end_of_picture(self, units: Sequence[Unit]) -> int:
        assert self._markers is not None  # ``_placed`` has refused it otherwise
        return len(units) - len(self._markers.after)

    def _ends(self, piece: MessageText, tokens: Sequence[int]) -> Iterator[int]:
        """How many of the tokens of a text belong to its beginning up to each document's end,
        whatever follows there: the last few of them depend on it, where something does."""
        for end in piece.documents:
            if end >= len(piece.text):
                yield len(tokens)
                continue
            own = self._model.tokenize(piece.text[:end], special=False)[:-_SEAM_TOKENS]
            if own and own == tokens[: len(own)]:
                yield len(own)

    def _pieces(self, request: Request) -> list[Piece]:
        *before, last = request.messages
        if request.raw:
            return written(last) if last.parts else [MessageText(last.text)]
        if not request.goes_on:
            return self._template.render(request.messages, think=request.think)
        if last.parts:  # a call and what came of it: the turn goes on
            return self._template.render(request.messages, think=request.think, goes_on=True)
        begun = MessageText(last.text, answer=True)
        return [*self._template.render(before, think=request.think), begun]

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

    def tokenize(self, request: Request, *, pieces: bool = False) -> PromptTokens:
        return self._prompter.tokens(request, pieces=pieces)

    def detokenize(self, tokens: tuple[int, ...]) -> str:
        count = self._model.vocab_tokens
        if stranger := [each for each in tokens if not 0 <= each < count]:
            raise UsageError(f"there is no token {stranger[0]}, they are 0 to {count - 1:,}")
        return b"".join(map(self._model.piece, tokens)).decode("utf-8", "replace")

    def close(self) -> None:
        self._prompter.close()
        self._model.close()
