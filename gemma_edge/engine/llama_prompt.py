"""A request as units: what the template wrote, what people wrote, and pictures, kept apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import llama_cpp

from gemma_edge.documents.picture import Picture
from gemma_edge.engine.cache import Media, Unit, position_of
from gemma_edge.engine.llama_model import LlamaModel
from gemma_edge.engine.llama_vision import LlamaVision
from gemma_edge.engine.protocol import PromptCount, Request
from gemma_edge.engine.template import ChatTemplate, Content
from gemma_edge.errors import DoesNotFit, ProjectorError
from gemma_edge.units import render_tokens


@dataclass(frozen=True, slots=True)
class Prompt:
    """``units`` in order, ``pictures`` by digest; ``written_tokens`` came from messages.

    The first ``settled`` units stay as they are when the conversation goes on. What follows is the
    header of the answer, which the next prompt may write differently: Gemma 4's has an empty
    thought channel that its history has not.
    """

    units: Sequence[Unit]
    pictures: Mapping[str, Picture]
    written_tokens: int
    settled: int

    @property
    def tokens(self) -> int:
        """Positions it takes in the context."""
        return position_of(self.units, len(self.units))

    @property
    def count(self) -> PromptCount:
        """Its size, split by origin."""
        soft = sum(unit.tokens for unit in self.units if isinstance(unit, Media))
        return PromptCount(
            total_tokens=self.tokens,
            picture_tokens=soft,
            template_tokens=self.tokens - soft - self.written_tokens,
        )


class Prompter:
    """Renders requests with the model's own template and tokenizes them piece by piece."""

    def __init__(self, model: LlamaModel, vision: LlamaVision | None, batch_tokens: int) -> None:
        self._model = model
        self._vision = vision
        self._batch_tokens = batch_tokens
        self._template = ChatTemplate(
            model.chat_template,
            bos=_text_of(model, model.bos),
            eos=_text_of(model, int(llama_cpp.llama_vocab_eos(model.vocab))),
        )
        self.notes = self._template.notes

    def render(self, request: Request) -> str:
        """The prompt as text, each picture as its slot."""
        pieces = self._template.render(request.messages, think=request.think)
        return "".join("<|image|>" if isinstance(p, Picture) else p.text for p in pieces)

    def prompt(self, request: Request) -> Prompt:
        """The prompt as units; nothing is evaluated.

        Raises:
            ProjectorError: a picture, but no projector was loaded.
            DoesNotFit: a picture that must be seen whole is larger than the batch.
        """
        units: list[Unit] = []
        pictures: dict[str, Picture] = {}
        written = settled = 0
        for piece in self._template.render(request.messages, think=request.think):
            if isinstance(piece, Picture):
                units += self._placed(piece)
                pictures[piece.digest] = piece
                continue
            tokens = self._model.tokenize(piece.text, special=not isinstance(piece, Content))
            units += tokens
            if isinstance(piece, Content):
                written += len(tokens)
                settled = len(units)
        if self._model.adds_bos and units[:1] != [self._model.bos]:
            units.insert(0, self._model.bos)
            settled += 1
        return Prompt(units, pictures, written, settled)

    def _placed(self, picture: Picture) -> list[Unit]:
        if self._vision is None:
            raise ProjectorError(
                f"{picture.name or 'an image'} cannot be seen: no projector was loaded",
                hint="--mmproj FILE, the mmproj file that was published with the model",
            )
        if self._vision.non_causal and picture.tokens > self._batch_tokens:
            raise DoesNotFit(
                f"{picture.name or 'an image'} takes {render_tokens(picture.tokens)}, the batch "
                f"holds {self._batch_tokens:,}, and this model must see an image whole",
                hint="a smaller --detail",
            )
        return [*self._vision.before, Media(picture.digest, picture.tokens), *self._vision.after]


def _text_of(model: LlamaModel, token: int) -> str:
    return model.piece(token).decode("utf-8", "replace") if token >= 0 else ""
