"""One answer while it is being made: channels, budget, constraint. Knows no llama.cpp.

The rule of the budget: a constrained answer always ends as valid JSON. Near the limit every step
is tried first; one after which the shortest end would no longer fit is taken back, and the end is
written instead.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemma_edge.engine.protocol import Chunk, FinishReason, Request
from gemma_edge.engine.repetition import Repetition
from gemma_edge.engine.text import FORCED, Channels, ChunkWriter, Odds

if TYPE_CHECKING:
    from gemma_edge.engine.constraint import Constraint

# How many tokens before the last possible moment each step is checked. A step can lengthen the
# shortest end by more only where it opens an object or a list, and those are checked always.
NEAR = 64


@dataclass(frozen=True, slots=True)
class Speech:
    """What an answer needs to know of the vocabulary: the bytes of a token, the tokens that end a
    turn, and those that open and close a channel (``None`` where the model has no channels)."""

    piece: Callable[[int], bytes]
    ends: Callable[[int], bool]
    opens: int | None
    closes: int | None
    newline: Sequence[int]


class Answer:
    """Follows the tokens of one answer. ``limit`` is the most it may generate, in tokens.

    Without ``forcing`` each token is chosen, also where only one is legal: the same text, slower.
    """

    def __init__(
        self,
        request: Request,
        speech: Speech,
        *,
        limit: int,
        constraint: "Constraint | None",
        forcing: bool = True,
    ) -> None:
        self.limit = limit
        self.generated = self.thought_tokens = self.forced_tokens = 0
        self.reason: FinishReason | None = None
        self.closed_early = self.cancelled = False
        self._constraint = constraint
        self._waiting = request.think  # the constraint begins after the thought
        self._speech = speech
        self._channels = Channels(speech.opens, speech.closes)
        wanted = request.max_thought_tokens
        most = max(0, limit * 3 // 4 - len(speech.newline) - 1)  # the end of a thought takes room
        self._thought_limit = most if wanted is None else min(wanted, most)
        self._forcing = forcing
        self._writer = ChunkWriter(request.stop)
        self._scored = request.scored
        self._chosen = 0  # of the tokens that are said next, those that were not forced
        self._closing: list[int] = constraint.closing() if constraint else []
        self._repetition = Repetition()

    @property
    def shortest(self) -> int:
        """Tokens of the shortest end from here; 0 without a constraint."""
        return len(self._closing)

    @property
    def constraint(self) -> "Constraint | None":
        """The constraint, if it applies to the next token."""
        return None if self._waiting else self._constraint

    def opening(self) -> list[int]:
        """Tokens that are forced before anything is chosen."""
        if self.constraint is None or self.limit <= self.shortest:
            return []
        forced = self.constraint.forced() if self._forcing else []
        self._chosen = 0
        for token in forced:
            self.constraint.advance(token)
        self.forced_tokens += len(forced)
        return forced

    def begins(self, token: int) -> bool:
        """With thinking on, the first free token decides: a thought, or the answer at once."""
        if self._waiting and not self.generated and self._speech.opens != token:
            self._waiting = False
            return self._constraint is not None
        return False

    def step(self, token: int) -> list[int]:
        """Follow a chosen token; return it with the tokens forced after it, or the shortest end.

        An empty list means that the answer is over; ``reason`` says why.
        """
        constraint = self.constraint
        self._chosen = 1
        if constraint is None or self._speech.ends(token):
            return self._free_step(token)
        if self.limit - self.generated <= self.shortest:
            return self._close("length")
        if self._repetition.found:
            return self._close("repetition")
        constraint.advance(token)
        forced = constraint.forced() if self._forcing else []
        for following in forced:
            constraint.advance(following)
        tokens = [token, *forced]
        if not self._affordable(constraint, tokens):
            constraint.take_back(len(tokens))
            return self._close("length")
        self._repetition.add(tokens)
        self.forced_tokens += len(forced)
        if constraint.complete:
            self.reason = "end"
        return tokens

    def _free_step(self, token: int) -> list[int]:
        closes = self._speech.closes
        if self._speech.ends(token):
            thinking = self._waiting and self._channels.current == "thought"
            due = self._waiting and self._constraint is not None
            if closes is not None and (thinking or due):
                return [closes]  # it ended in its thought; the answer is still due
            self.reason = "end"
            return []
        spent = self.thought_tokens + 1 >= self._thought_limit
        if closes is None or not spent or self._channels.current != "thought" or token == closes:
            return [token]
        return [token, *self._speech.newline, closes]

    def _affordable(self, constraint: "Constraint", tokens: list[int]) -> bool:
        """Would the shortest end still fit after these tokens?"""
        left = self.limit - self.generated - len(tokens)
        opens = any(mark in self._speech.piece(token) for token in tokens for mark in (b"{", b"["))
        if opens or left <= self.shortest + NEAR:
            closing = constraint.closing()
            if len(closing) > left:
                return False
            self._closing = closing
        return True

    def _close(self, reason: FinishReason) -> list[int]:
        """Write the shortest end now."""
        assert self._constraint is not None
        self._chosen = 0
        closing = self._constraint.closing()
        for token in closing:
            self._constraint.advance(token)
        self.closed_early = True
        self.reason = reason
        return closing

    def say(self, tokens: list[int], odds: Odds | None = None) -> Iterator[Chunk]:
        """Count tokens and yield their text; ``odds`` are of the one that was chosen."""
        for index, token in enumerate(tokens):
            self.generated += 1
            piece = self._channels.take(token, self._speech.piece(token))
            channel = self._channels.current
            if channel == "thought" or token == self._speech.closes:
                self.thought_tokens += 1
            yield from self._writer.write(piece, channel, self._odds(index, odds))
            if token == self._speech.closes:
                self._waiting = False
            if self._writer.stopped:
                self.reason = "stop_text"
                return
        # A constrained answer ends in ``step``, by its shortest end.
        if self.reason is None and self._constraint is None and self.generated >= self.limit:
            self.reason = "length"

    def _odds(self, index: int, odds: Odds | None) -> Odds | None:
        if not self._scored:
            return None
        return odds if index < self._chosen else FORCED

    def flush(self) -> Iterator[Chunk]:
        """What was held back, at the end."""
        yield from self._writer.flush()
