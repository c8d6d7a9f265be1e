"""Drafts: what an answer will probably say next, verified by the model many tokens at a time.

An answer about a text mostly copies from it. What follows the same few tokens in the prompt, or in
the answer so far, is drafted; under a constraint with printed values, the rest of the value that
has begun, then the cell behind it. The model evaluates all of it in one batch and chooses at each
place as it would have: the first choice that is another one ends the draft. So drafts change how
long an answer takes, and nothing else.

What cannot be looked up may be guessed by the model's own drafter (``mtp.py``), one or two tokens.
How many tokens are drafted follows what was accepted so far and what a batch costs here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gemma_edge.planning.memory import OUTPUTS

if TYPE_CHECKING:
    from gemma_edge.engine.constraint import GrammarConstraint, Trial

MOST = OUTPUTS - 1  # drafted choices in one batch
MOST_TOKENS = 64  # of a batch with a draft in it, what is forced between its choices counted
MOST_GUESSED = 2  # by a drafter; with three a mixture of experts on the CPU loses (docs/memory.md)
_MOST_FED = 4  # said at once, behind which it still guesses: it knows the state before them
_SIZES = (3, 2)  # tokens that are looked for, the most telling first

Segment = list[int]
"""A drafted choice, and the tokens that are forced behind it."""


class Lookup(Protocol):
    """Where drafts come from: fed with all that is said, asked for what may come next."""

    def add(self, tokens: Sequence[int]) -> None: ...

    def propose(self, more: Sequence[int]) -> Iterator[Sequence[int]]:
        """What may follow all that was added and then ``more``, the likeliest first."""


class Place(NamedTuple):
    """Where tokens that were just said come: at this ``position`` of a ``sequence``, the first of
    them chosen from this ``row`` of the last batch."""

    position: int = 0
    row: int = -1
    sequence: int = 0


AFRESH = Place()


class Guesser(Lookup, Protocol):
    """A lookup that thinks: it is told where it stands. ``seconds`` is what it took so far."""

    seconds: float

    def begin(self, tokens: Sequence[int], place: Place) -> None: ...


class TokenLookup:
    """What followed the last two or three tokens when they were said before, in the prompt or in
    the answer. It takes a moment for each token that is added, and for each question."""

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self._tokens: list[int] = []
        self._new = list(tokens)  # not looked at before the first question
        self._after: tuple[dict[tuple[int, ...], int], ...] = tuple({} for _ in _SIZES)

    def add(self, tokens: Sequence[int]) -> None:
        self._new += tokens

    def _learn(self) -> None:
        known = self._tokens
        for token in self._new:
            for size, after in zip(_SIZES, self._after, strict=True):
                if len(known) >= size:
                    after[tuple(known[-size:])] = len(known)
            known.append(token)
        self._new.clear()

    def propose(self, more: Sequence[int]) -> Iterator[Sequence[int]]:
        self._learn()
        tail = [*self._tokens[-_SIZES[0] :], *more][-_SIZES[0] :]
        for size, after in zip(_SIZES, self._after, strict=True):
            at = after.get(tuple(tail[-size:]))
            if at is not None:
                yield self._tokens[at : at + MOST]
                return


_CELL = re.compile(r"[^\n\t|\"\\]{1,200}")
_GAP = re.compile(r"[ ]{2,}")  # between two cells
_APART = re.compile(r"[\s|]*")


class ValueLookup:
    """The rest of a printed value that has begun, and where none has, what is printed behind the
    last one: rows are mostly read as they stand. ``text`` is what is printed, ``encode`` and
    ``piece`` make tokens of text and bytes of tokens."""

    def __init__(
        self, text: str, encode: Callable[[str], Sequence[int]], piece: Callable[[int], bytes]
    ) -> None:
        self._text, self._encode, self._piece = text, encode, piece
        self._reading = Reading()
        self._at = 0  # where what was copied last ends

    def add(self, tokens: Sequence[int]) -> None:
        self._at = self._follow(self._reading, tokens, self._at)

    def _follow(self, reading: Reading, tokens: Sequence[int], at: int) -> int:
        """Where the last value ends that was read so, as far as it is printed."""
        for value in reading.take(b"".join(map(self._piece, tokens)).decode("utf-8", "replace")):
            found = self._find(value, at)
            at = found if found is not None else at
        return at

    def _find(self, value: str, at: int) -> int | None:
        """The end of its first place from ``at`` on, else of its first."""
        found = self._text.find(value, at) if value else -1
        found = self._text.find(value) if found < 0 and value else found
        return None if found < 0 else found + len(value)

    def propose(self, more: Sequence[int]) -> Iterator[Sequence[int]]:
        reading, at = self._reading, self._at
        if more:
            reading = reading.copy()
            at = self._follow(reading, more, at)
        begun = reading.begun
        if begun is None:
            return
        place = self._find(begun, at) if begun else self._next(at)
        if place is None:
            return
        rest = self._cell(place)
        if reading.quoted:
            yield self._encode(f'{rest}"')
        elif rest:
            yield from map(self._encode, (rest,) if begun else (f'"{rest}"', rest))

    def _next(self, at: int) -> int:
        apart = _APART.match(self._text, at)
        return apart.end() if apart else at

    def _cell(self, at: int) -> str:
        """What is printed there, up to the next gap."""
        cell = _CELL.match(self._text, at)
        text = cell[0] if cell else ""
        gap = _GAP.search(text)
        return (text[: gap.start()] if gap else text).rstrip()


class Reading:
    """Where a JSON text is that is being written: ``begun`` is how the value begins that is next
    or not yet whole, None where none is; ``quoted`` is whether it stands in quotes."""

    def __init__(self) -> None:
        self.quoted = False
        self._begun = ""
        self._due = True  # a value, and no key
        self._escaped = False
        self._open: list[str] = []

    def copy(self) -> Reading:
        other = copy(self)
        other._open = [*self._open]
        return other

    @property
    def begun(self) -> str | None:
        return self._begun if self._due else None

    def take(self, text: str) -> list[str]:
        """Go on by it; the values that ended in it."""
        ended: list[str] = []
        for char in text:
            if self.quoted:
                ended += self._in_quotes(char)
            elif char == '"':
                self.quoted, self._begun = True, ""
            elif char in "{[":
                self._open.append(char)
                self._due, self._begun = char == "[", ""
            elif char in ",}]":
                ended += [self._begun] if self._due and self._begun else []
                self._open = self._open[:-1] if char != "," else self._open
                self._due, self._begun = char == "," and self._open[-1:] == ["["], ""
            elif char == ":":
                self._due, self._begun = True, ""
            elif not char.isspace():
                self._begun += char
        return ended

    def _in_quotes(self, char: str) -> list[str]:
        if char == '"' and not self._escaped:
            ended = [self._begun] if self._due else []
            self.quoted, self._begun, self._due = False, "", False
            return ended
        self._escaped = char == "\\" and not self._escaped
        self._begun += "" if self._escaped else char
        return []


class Pace:
    """How many tokens to draft: as many as promise the most tokens a second. ``cost`` is what one
    more token in a batch takes, as a share of a decode of one."""

    _HOPE, _COST = 0.75, 0.35  # before anything was seen
    _LEARN, _FORGET = 0.1, 0.02

    def __init__(self) -> None:
        self._accepted = self._HOPE
        self._single = self._more = 0.0  # seconds

    @property
    def cost(self) -> float:
        return self._more / self._single if self._single and self._more else self._COST

    def length(self, most: int = MOST, beside: int = 0) -> int:
        """``beside``: tokens of others in the same batch."""
        best, chosen, gain, share = self._worth(1.0, 0, beside), 0, 1.0, 1.0
        for count in range(1, most + 1):
            share *= self._accepted
            gain += share
            worth = self._worth(gain, count, beside)
            if worth > best:
                best, chosen = worth, count
        if not chosen:  # tried again after a while
            self._accepted += self._FORGET * (self._HOPE - self._accepted)
        return chosen

    def _worth(self, gain: float, count: int, beside: int) -> float:
        return (beside + gain) / (1.0 + self.cost * (beside + count))

    def judged(self, accepted: int, drafted: int) -> None:
        """So many of a draft were what the model chose."""
        for taken in [1.0] * accepted + [0.0] * (accepted < drafted):
            self._accepted += self._LEARN * (taken - self._accepted)

    def took(self, tokens: int, seconds: float) -> None:
        """A batch of so many tokens."""
        if tokens == 1:
            self._single += (seconds - self._single) * (self._LEARN if self._single else 1.0)
        elif self._single and tokens <= MOST + 1:
            more = max(0.0, seconds - self._single) / (tokens - 1)
            self._more += (more - self._more) * (self._LEARN if self._more else 1.0)


class GuessPace(Pace):
    """The same of a ``Guesser``, whose own time counts. It begins when a decode of one token was
    timed, and leaves one out now and then, so that this stays known while the context grows."""

    _TIMED_EVERY = 64

    def __init__(self) -> None:
        super().__init__()
        self._own = 0.0  # seconds a guess
        self._asked = 0

    @property
    def cost(self) -> float:
        return super().cost + (self._own / self._single if self._single else 0.0)

    def length(self, most: int = MOST_GUESSED, beside: int = 0) -> int:
        self._asked += 1
        if not self._single or self._asked % self._TIMED_EVERY == 0:
            return 0
        return super().length(most, beside)

    def guessed(self, tokens: int, seconds: float) -> None:
        """So many took so long; none: the constraint let none through."""
        each = seconds / max(1, tokens)
        self._own += (each - self._own) * (self._LEARN if self._own else 1.0)
        if not tokens:
            self.judged(0, 1)


class Drafter:
    """Drafts for one answer: what is looked up, and where nothing is found what ``guesser`` thinks.
    ``drafted`` and ``accepted`` count choices; ``guessed`` and ``guesses_accepted`` those of them
    that were guessed."""

    def __init__(
        self, lookups: Sequence[Lookup], pace: Pace, guesser: Guesser | None = None,
        guess_pace: GuessPace | None = None,
    ) -> None:  # fmt: skip
        self._lookups, self._pace = lookups, pace
        self._guesser, self._guess_pace = guesser, guess_pace or GuessPace()
        self._judged: Pace = pace  # of what was drafted last
        self.beside = 0  # other answers in the same batch
        self.drafted = self.accepted = self.guessed = self.guesses_accepted = 0
        self.guess_seconds = 0.0

    def add(self, tokens: Sequence[int]) -> None:
        """What was said."""
        for lookup in self._lookups:
            lookup.add(tokens)

    def draft(
        self, tokens: Sequence[int], constraint: GrammarConstraint | None, most: int,
        place: Place = AFRESH,
    ) -> list[Segment]:  # fmt: skip
        """What may be chosen behind ``tokens``, which were said now, at this ``place``; nothing
        where a draft does not pay."""
        self.add(tokens)
        self._judged = self._pace
        wanted = min(self._pace.length(beside=self.beside), most)
        if len(tokens) >= MOST_TOKENS:
            return []
        found = _search(self._lookups, constraint, wanted)
        if found or self._guesser is None or len(tokens) > _MOST_FED:
            return found
        wanted = min(self._guess_pace.length(beside=self.beside), most)
        if wanted <= 0:
            return []
        self._judged, before = self._guess_pace, self._guesser.seconds
        self._guesser.begin(tokens, place)
        found = _search((self._guesser,), constraint, wanted)
        seconds = self._guesser.seconds - before
        self._guess_pace.guessed(len(found), seconds)
        self.guess_seconds += seconds
        return found

    def judge(self, accepted: int, drafted: int) -> None:
        """How much of the last draft was chosen."""
        if drafted:
            self.drafted += drafted
            self.accepted += accepted
            self._judged.judged(accepted, drafted)
            if self._judged is self._guess_pace:
                self.guessed += drafted
                self.guesses_accepted += accepted

    def took(self, tokens: int, seconds: float) -> None:
        self._pace.took(tokens, seconds)
        self._guess_pace.took(tokens, seconds)


def _search(
    lookups: Sequence[Lookup], constraint: GrammarConstraint | None, wanted: int
) -> list[Segment]:
    if wanted <= 0 or not lookups:
        return []
    return _held(lookups, constraint, wanted) if constraint else _free(lookups, wanted)


def _proposals(lookups: Sequence[Lookup], more: Sequence[int]) -> Iterator[Sequence[int]]:
    return chain.from_iterable(each.propose(more) for each in lookups)


def _free(lookups: Sequence[Lookup], wanted: int) -> list[Segment]:
    found: list[int] = []
    while len(found) < wanted and (tokens := next(_proposals(lookups, found), ())):
        found += tokens[: wanted - len(found)]
    return [[token] for token in found]


def _held(lookups: Sequence[Lookup], constraint: GrammarConstraint, wanted: int) -> list[Segment]:
    """What the constraint lets through, with what it forces."""
    found: list[Segment] = []
    said: list[int] = []
    with constraint.trial() as trial:
        while len(found) < wanted and len(said) < MOST_TOKENS and not trial.complete:
            before = len(found)
            for tokens in _proposals(lookups, said):
                found += _taken(trial, tokens[: wanted - len(found)])
                if len(found) > before:
                    break
            if len(found) == before:
                break
            said += chain.from_iterable(found[before:])
    return found


def _taken(trial: Trial, tokens: Sequence[int]) -> Iterator[Segment]:
    """As much of them as is legal, up to where something else is forced."""
    for token in tokens:
        if not trial.take(token):
            return
        segment = [token, *trial.take_forced()]
        yield segment
        if len(segment) > 1:
            return


def rows_of(tokens: Sequence[int], drafted: Sequence[Segment]) -> Iterator[int]:
    """The places in a batch of ``tokens`` and a draft behind which something is chosen."""
    at = len(tokens) - 1
    yield at
    for segment in drafted:
        at += len(segment)
        yield at
