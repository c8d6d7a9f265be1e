"""One answer while it is being made: channels, budget, constraint. Knows no llama.cpp.

The rule of the budget: a constrained answer always ends as valid JSON. Near the limit every step
is tried first; one after which the shortest end would no longer fit is taken back, and the end is
written instead.
"""

from __future__ import annotations

import codecs
import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from llama_cpp import llama_cpp
from numpy import inf
from numpy.typing import NDArray

from gemma_edge.engine.llama import LlamaContext, LlamaModel
from gemma_edge.engine.protocol import Channel, Chunk, FinishReason, Request, Sampling, TokenScore
from gemma_edge.records import dataclass

if TYPE_CHECKING:
    from gemma_edge.engine.constraint import GrammarConstraint


# How many tokens before the last possible moment each step is checked. A step can lengthen the
# shortest end by more only where it opens an object or a list, and those are checked always.
NEAR = 64
# More tokens than that are enough for the end of an answer that is held to a long document.
FAR = 2048


@dataclass(frozen=True, slots=True)
class AnswerVocabulary:
    """What an answer needs to know of the vocabulary: the bytes of a token, the tokens that end a
    turn, those that open and close a channel (``None`` where the model has no channels), and those
    that open and close a call of a function."""

    piece: Callable[[int], bytes]
    ends: Callable[[int], bool]
    opens: int | None
    closes: int | None
    newline: Sequence[int]
    calls: tuple[int | None, int | None] = (None, None)


class RunningAnswer:
    """Follows the tokens of one answer. ``limit`` is the most it may generate, in tokens. Without
    ``forcing`` each token is chosen, also where only one is legal: the same text, slower."""

    def __init__(
        self, request: Request, vocabulary: AnswerVocabulary, *, limit: int,
        constraint: GrammarConstraint | None, forcing: bool = True,
    ) -> None:  # fmt: skip
        self.limit = limit
        self.generated = self.thought_tokens = self.forced_tokens = 0
        self.reason: FinishReason | None = None
        self.closed_early = self.cancelled = False
        self._constraint = constraint
        self._waiting = request.think  # the constraint begins after the thought
        self._vocabulary = vocabulary
        held_calls = constraint is not None and constraint.calls
        marks = vocabulary.calls if held_calls else (None, None)
        self._channels = Channels(vocabulary.opens, vocabulary.closes, marks)
        wanted = request.max_thought_tokens
        most = max(
            0, limit * 3 // 4 - len(vocabulary.newline) - 1
        )  # the end of a thought takes tokens
        self._thought_limit = most if wanted is None else min(wanted, most)
        self._forcing = forcing
        self._writer = ChunkWriter(request.stop)
        self._scored = request.scored
        self._chosen = 0  # of the tokens that come next, those that were not forced
        self._closing: list[int] = []
        if constraint and self._may_end(constraint, limit):
            self._closing = constraint.closing() or []
        free = constraint is None or constraint.calls
        self._repetition = Repetition(FREE_CYCLE if free else HELD_CYCLE)

    @property
    def shortest(self) -> int:
        return len(self._closing)

    @property
    def constraint(self) -> GrammarConstraint | None:
        return None if self._waiting else self._constraint

    def opening(self) -> list[int]:
        if self.constraint is None or self.limit <= self.shortest:
            return []
        forced = self._forced(self.constraint, self.limit)
        self._chosen = 0
        for token in forced:
            self.constraint.advance(token)
        self.forced_tokens += len(forced)
        return forced

    def begins(self, token: int) -> bool:
        """With thinking on, the first free token decides: a thought, or the answer at once."""
        if self._waiting and not self.generated and self._vocabulary.opens != token:
            self._waiting = False
            return self._constraint is not None
        return False

    def step(self, token: int) -> list[int]:
        """Follow a chosen token; return it with the tokens forced after it, or the shortest end. An
        empty list means that the answer is over; ``reason`` says why."""
        constraint = self.constraint
        self._chosen = 1
        if constraint is None or self._vocabulary.ends(token):
            return self._free_step(token)
        if self.limit - self.generated <= self.shortest:
            return self._close("length")
        if self._repetition.found:
            return self._close("repetition")
        constraint.advance(token)
        forced = self._forced(constraint, self.limit - self.generated - 1)
        for following in forced:
            constraint.advance(following)
        tokens = [token, *forced]
        if not self._affordable(constraint, tokens):
            constraint.take_back(len(tokens))
            return self._close("length")
        self._watch(tokens)
        self.forced_tokens += len(forced)
        if constraint.complete:
            self.reason = "end"
        return tokens

    def _forced(self, constraint: GrammarConstraint, left: int) -> list[int]:
        """What can only come next; a call may be cut anywhere, and has no end to be left room
        for."""
        forced = constraint.forced() if self._forcing else []
        return forced[:left] if constraint.calls else forced

    def _watch(self, tokens: list[int]) -> None:
        self._repetition.add(tokens, b"".join(map(self._vocabulary.piece, tokens)))

    def _free_step(self, token: int) -> list[int]:
        closes = self._vocabulary.closes
        if self._vocabulary.ends(token):
            thinking = self._waiting and self._channels.current == "thought"
            due = self._waiting and self._constraint is not None
            if closes is not None and (thinking or due):
                return [closes]  # it ended in its thought; the answer is still due
            self.reason = "end"
            return []
        if self._channels.current != "thought":  # which has a budget
            if self._repetition.found:
                self.reason = "repetition"
                return []
            self._watch([token])
        spent = self.thought_tokens + 1 >= self._thought_limit
        if closes is None or not spent or self._channels.current != "thought" or token == closes:
            return [token]
        return [token, *self._vocabulary.newline, closes]

    def _affordable(self, constraint: GrammarConstraint, tokens: list[int]) -> bool:
        left = self.limit - self.generated - len(tokens)
        opens = any(
            bracket in self._vocabulary.piece(token) for token in tokens for bracket in (b"{", b"[")
        )
        if self._may_end(constraint, left) and (opens or left <= self.shortest + NEAR):
            closing = constraint.closing()
            if closing is None or len(closing) > left:
                return False
            self._closing = closing
        return True

    @staticmethod
    def _may_end(constraint: GrammarConstraint, left: int) -> bool:
        """Whether the end has to be known with so many tokens left."""
        return not constraint.is_large or left <= FAR

    def _close(self, reason: FinishReason) -> list[int]:
        assert self._constraint is not None
        self._chosen = 0
        closing = self._constraint.closing()
        self.closed_early = closing is not None  # else what was written stays as it is
        self.reason = reason
        for token in closing or ():
            self._constraint.advance(token)
        return closing or []

    def emit(self, tokens: list[int], odds: Odds | None = None) -> Iterator[Chunk]:
        """Count tokens and yield their text; ``odds`` are of the one that was chosen."""
        for index, token in enumerate(tokens):
            self.generated += 1
            piece = self._channels.take(token, self._vocabulary.piece(token))
            channel = self._channels.current
            if channel == "thought" or token == self._vocabulary.closes:
                self.thought_tokens += 1
            of_it = odds if index < self._chosen else FORCED
            yield from self._writer.write(piece, channel, of_it if self._scored else None)
            if token == self._vocabulary.closes:
                self._waiting = False
            if self._writer.stopped:
                self.reason = "stop_text"
                return
        # A constrained answer ends in ``step``, by its shortest end.
        if self.reason is None and self._constraint is None and self.generated >= self.limit:
            self.reason = "length"

    def flush(self) -> Iterator[Chunk]:
        return self._writer.flush()


@dataclass(frozen=True, slots=True)
class Odds:
    """How sure the model was of a token, as in ``TokenScore``."""

    probability: float
    legal: float
    forced: bool = False
    top: tuple[tuple[str, float], ...] = ()


FORCED = Odds(1.0, 1.0, forced=True)


class Trail:
    """Lays the scores of tokens along the text that is shown: each is given out when all of its
    text is; a token without a whole character of its own waits for the one that has it."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._waiting: list[TokenScore] = []
        self._shown = 0  # characters that have no score yet

    def add(self, piece: bytes, odds: Odds) -> None:
        text = self._decoder.decode(piece)
        score = TokenScore(text, odds.probability, odds.legal, odds.forced, odds.top)
        self._waiting.append(score)

    def follow(self, characters: int) -> tuple[TokenScore, ...]:
        """So many more characters are shown; the scores of what is whole."""
        self._shown += characters
        count = 0
        while count < len(self._waiting) and len(self._waiting[count].text) <= self._shown:
            if not self._waiting[count].text and count + 1 == len(self._waiting):
                break
            self._shown -= len(self._waiting[count].text)
            count += 1
        scores, self._waiting = self._waiting[:count], self._waiting[count:]
        return tuple(scores)

    def end(self, characters: int) -> tuple[TokenScore, ...]:
        """The last characters; what is not shown of a token is cut off its score."""
        if self._waiting and (rest := self._decoder.decode(b"", final=True)):
            self._waiting[-1] = replace(self._waiting[-1], text=self._waiting[-1].text + rest)
        self._decoder.reset()
        scores = self.follow(characters)
        if self._waiting and self._shown:
            scores += (replace(self._waiting[0], text=self._waiting[0].text[: self._shown]),)
        self._waiting, self._shown = [], 0
        return scores


class ChunkWriter:
    """Turns token bytes into chunks of whole characters, and watches for stop texts. A character
    that is split over tokens is held back until it is complete; so is an end of text that may be
    the beginning of a stop text."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stop = tuple(text for text in stop if text)
        self._pending = ""
        self._channel: Channel = "answer"
        self._trail = Trail()
        self.stopped = False

    def write(self, piece: bytes, channel: Channel, odds: Odds | None = None) -> Iterator[Chunk]:
        """Add one token's bytes; yield what can be shown now, with scores where there are odds."""
        if channel != self._channel:
            yield from self.flush()
            self._channel = channel
        text = self._pending + self._decoder.decode(piece)
        self._pending = ""
        if channel == "answer" and self._stop:
            text = self._watch(text)
        if odds is not None and piece and channel == "answer":
            self._trail.add(piece, odds)
        scores = self._trail.end(len(text)) if self.stopped else self._trail.follow(len(text))
        if text or scores:
            yield Chunk(text, channel, scores)

    def flush(self) -> Iterator[Chunk]:
        text = self._pending + self._decoder.decode(b"", final=True)
        self._pending = ""
        self._decoder.reset()
        if text and not self.stopped:
            yield Chunk(text, self._channel, self._trail.end(len(text)))

    def _watch(self, text: str) -> str:
        """Cut at the first stop text, or hold back what may become one."""
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        begun = max(_overlap(text, stop) for stop in self._stop)
        if begun:
            self._pending = text[-begun:]
            return text[:-begun]
        return text


def _overlap(text: str, stop: str) -> int:
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0


class Channels:
    """Which channel the model is speaking on, followed by token ids, never by text.

    Gemma 4 writes ``<|channel>NAME\\n...<channel|>answer``. The name and its newline are not shown.
    A model without these tokens has one channel. A call between ``calls`` is shown with them.
    """

    def __init__(
        self, open_token: int | None, close_token: int | None,
        calls: tuple[int | None, int | None] = (None, None),
    ) -> None:  # fmt: skip
        self.opens = open_token
        self.closes = close_token
        self._calls = calls
        self._called = False
        self._naming = False
        self.current: Channel = "answer"

    def take(self, token: int, piece: bytes) -> bytes:
        """Follow one token; return the bytes of it that are text on ``current``."""
        if self._called:
            self._called, self.current = False, "answer"
        if token in self._calls:
            self.current, self._called = "call", token == self._calls[1]
            return piece
        if token == self.opens:
            self._naming = True
            self.current = "thought"
            return b""
        if token == self.closes:
            self._naming = False
            self.current = "answer"
            return b""
        if self._naming:
            name, newline, rest = piece.partition(b"\n")
            self._naming = not newline
            return rest
        return piece


# Notice a model that says the same thing over and over. A grammar keeps such an answer valid but
# cannot end it: digits, rows and words may go on for ever. Small and quantized models fall into it,
# Gemma 4 too (ollama, issue 15502).
LONGEST_PERIOD = 32  # tokens; a row of a table is seldom shorter than it repeats by chance
HELD_CYCLE = 256  # tokens that must fit one period before it counts, under a constraint
FREE_CYCLE = 1024  # and in free text, which has refrains, tables and pictures of letters
# How little new a text may say: bytes of its end, and to what share of them they may be packed. A
# cycle is packed to 0.01, rows that only count up to 0.02, with a word that changes to 0.04; a
# 10-Q's answer to 0.07, lists of real rows to 0.1 and more.
NOTHING_NEW = ((4000, 0.025), (8000, 0.045))
_EVERY = 256  # tokens between two looks at that
_MOST_COLUMNS = 6  # of numbers that count up


class Repetition:
    """Fed with every token and its text; ``found`` once the last ``repeated`` tokens are one cycle,
    or the text says nothing new."""

    def __init__(self, repeated: int = HELD_CYCLE) -> None:
        self._repeated = repeated
        self._tokens: list[int] = []
        self._text = b""
        self._unseen = 0
        self._says_nothing = False

    def add(self, tokens: list[int], text: bytes = b"") -> None:
        self._tokens += tokens
        del self._tokens[: -(self._repeated + LONGEST_PERIOD)]
        self._text = (self._text + text)[-NOTHING_NEW[-1][0] :]
        self._unseen += len(tokens)
        if self._unseen >= _EVERY:
            self._unseen = 0
            self._says_nothing = says_nothing_new(self._text)

    @property
    def found(self) -> bool:
        tokens = self._tokens
        if len(tokens) < self._repeated + LONGEST_PERIOD:
            return self._says_nothing
        tail = tokens[-self._repeated :]
        return self._says_nothing or any(
            tokens[-1] == tokens[-1 - period] and tail == tokens[-self._repeated - period : -period]
            for period in range(1, LONGEST_PERIOD + 1)
        )


def says_nothing_new(text: bytes) -> bool:
    """Whether the end of a text can be packed to next to nothing, its numbers taken as what they
    add to earlier ones."""
    for size, share in NOTHING_NEW:
        end = text[-size:]
        if len(end) == size and any(
            len(zlib.compress(each)) < share * size for each in _counted(end)
        ):
            return True
    return False


def _counted(text: bytes) -> Iterator[bytes]:
    """The text, and with each number as its difference to the one so many numbers before."""
    yield text
    parts = re.split(rb"(\d+)", text)
    numbers = [int(digits[-15:]) for digits in parts[1::2]]
    for back in range(1, _MOST_COLUMNS + 1):
        before = [*numbers[:back], *numbers]
        parts[1::2] = [b"%d" % (one - other) for one, other in zip(numbers, before, strict=False)]
        yield b"".join(parts)


# Gemma 4's model card; used where a GGUF carries no general.sampling.* keys.
CARD = Sampling(temperature=1.0, top_p=0.95, top_k=64, min_p=0.0)


def model_sampling(model: LlamaModel) -> Sampling:

    def number(key: str, default: float | None) -> float:
        text = model.metadata(f"general.sampling.{key}")
        return float(text) if text else float(default or 0.0)

    return Sampling(
        temperature=number("temp", CARD.temperature), top_p=number("top_p", CARD.top_p),
        top_k=int(number("top_k", CARD.top_k)), min_p=number("min_p", CARD.min_p),
    )  # fmt: skip


class Sampler:
    """Draws tokens from the logits of a context. Holds a llama.cpp sampler chain; close it.
    ``odds`` are of the last token, where ``scored`` asks for them: a third of a millisecond a token
    for a vocabulary of 262,144; and of the ``top`` likeliest ones. ``mask_seconds`` is what
    constraints have taken so far."""

    def __init__(
        self, wanted: Sampling, defaults: Sampling, model: LlamaModel, *, scored: bool = False,
        top: int = 0,
    ) -> None:  # fmt: skip
        self.odds: Odds | None = None
        self.mask_seconds = 0.0
        self._scored, self._top, self._piece = scored, top, model.piece
        self._suppressed = model.suppressed
        self._chain = None
        temperature = _first(wanted.temperature, defaults.temperature)
        if temperature <= 0:
            return
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        # The order of llama.cpp's own default chain: cut the tail first, then heat, then draw.
        steps = [
            llama_cpp.llama_sampler_init_top_k(int(_first(wanted.top_k, defaults.top_k))),
            llama_cpp.llama_sampler_init_top_p(_first(wanted.top_p, defaults.top_p), 1),
            llama_cpp.llama_sampler_init_min_p(_first(wanted.min_p, defaults.min_p), 1),
            llama_cpp.llama_sampler_init_temp(temperature),
            llama_cpp.llama_sampler_init_dist(
                llama_cpp.LLAMA_DEFAULT_SEED if wanted.seed is None else wanted.seed
            ),
        ]
        for step in steps:
            llama_cpp.llama_sampler_chain_add(chain, step)
        self._chain = chain

    def choose(
        self, context: LlamaContext, constraint: GrammarConstraint | None, row: int = -1
    ) -> int:
        """One token from the last logits, or those of ``row``. Only a choice that the constraint
        refuses costs a mask: drawing again from what is legal gives the same distribution as
        masking every time."""
        if not self._scored:
            return self._choose(context, constraint, row)
        logits = context.logits(row)
        weights: NDArray[np.float32] = np.exp(logits - logits.max())
        token = self._choose(context, constraint, row)
        mass = total = float(weights.sum())
        if constraint is not None:  # a product is 15 times faster than picking the weights out
            mass = float(weights @ constraint.legal().astype(np.float32))
        top = self._likeliest(weights, total)
        self.odds = Odds(float(weights[token]) / total, min(1.0, mass / total), top=top)
        return token

    def _likeliest(
        self, weights: NDArray[np.float32], total: float
    ) -> tuple[tuple[str, float], ...]:
        if not self._top:
            return ()
        found = np.argpartition(weights, -self._top)[-self._top :]
        found = found[np.argsort(-weights[found], kind="stable")]
        texts = [self._piece(int(each)).decode("utf-8", "surrogateescape") for each in found]
        chances = weights[found].astype(np.float64) / total
        return tuple(zip(texts, chances.tolist(), strict=True))

    def _choose(self, context: LlamaContext, constraint: GrammarConstraint | None, row: int) -> int:
        if self._suppressed.size:
            context.logits(row)[self._suppressed] = -inf
        token = self._draw(context, row)
        if constraint is not None:
            started = time.perf_counter()
            if not constraint.allowed(token):
                constraint.mask(context.logits(row))
                token = self._draw(context, row)
            self.mask_seconds += time.perf_counter() - started
        return token

    def _draw(self, context: LlamaContext, row: int) -> int:
        if self._chain is None:
            return int(context.logits(row).argmax())
        return int(llama_cpp.llama_sampler_sample(self._chain, context.pointer, row))

    def close(self) -> None:
        if self._chain is not None:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None


def _first(*values: float | None) -> float:
    return next((value for value in values if value is not None), 0.0)
