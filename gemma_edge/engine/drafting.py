"""Drafts: what an answer will probably say next, verified by the model many tokens at a time.

An answer about a text mostly copies from it. What follows the same few tokens in the prompt, or in
the answer so far, is drafted; of data, that a value is a text and not null, the rest of one that
has begun, and then the cell behind it. The model evaluates all of it in one batch and chooses at
each place as it would have: the first choice that is another one ends the draft. So drafts change
how long an answer takes, and nothing else.

What cannot be looked up may be guessed by the model's own drafter (``mtp.py``), one or two tokens.
How many tokens are drafted follows what was accepted of drafts for the same reason, and what a
batch of that size took here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
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
_SIZES = (6, 3, 2)  # tokens that are looked for, the most telling first

Segment = list[int]
"""A drafted choice, and the tokens that are forced behind it."""


class Choice(NamedTuple):
    """One that was drafted, and why."""

    tokens: Segment
    reason: str


class Proposal(NamedTuple):
    """What may come next, and why: drafts for the same ``reason`` are accepted as often."""

    tokens: Sequence[int]
    reason: str


class Lookup(Protocol):
    """Where drafts come from: fed with all that is said, asked for what may come next."""

    def add(self, tokens: Sequence[int]) -> None: ...

    def propose(self, more: Sequence[int]) -> Iterator[Proposal]:
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
    """What followed the last tokens, two at least, when they were said before, in the prompt or in
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

    def propose(self, more: Sequence[int]) -> Iterator[Proposal]:
        self._learn()
        tail = [*self._tokens[-_SIZES[0] :], *more][-_SIZES[0] :]
        for size, after in zip(_SIZES, self._after, strict=True):
            at = after.get(tuple(tail[-size:]))
            if at is not None:
                yield Proposal(self._tokens[at : at + MOST], f"{size} tokens")
                return


_CELL = re.compile(r"[^\n\t|\"\\]{1,200}")
_GAP = re.compile(r"[ ]{2,}")  # between two cells
_APART = re.compile(r"[\s|]*")
_TELLING = 3  # characters of a value after which few others begin like it


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

    def propose(self, more: Sequence[int]) -> Iterator[Proposal]:
        reading, at = self._reading, self._at
        if more:
            reading = reading.copy()
            at = self._follow(reading, more, at)
        begun = reading.begun
        if begun is None:
            return
        if not begun and not reading.quoted:
            yield from (Proposal(self._encode(sign), "no null") for sign in (' "', '"'))
        place = self._find(begun, at) if begun else self._next(at)
        if place is None:
            return
        rest = self._cell(place)
        reason = "next cell" if not begun else "cell" if len(begun) > _TELLING else "cell?"
        if reading.quoted:
            yield Proposal(self._encode(f'{rest}"'), reason)
        elif rest:
            forms = (rest,) if begun else (f" {rest}", rest)
            yield from (Proposal(self._encode(form), reason) for form in forms)

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
    """How much of a draft to evaluate: as much as promises the most tokens a second, by how often
    drafts for the same reason were accepted, and by what batches of each size took."""

    _HOPE, _COST = 0.6, 0.35  # before anything was seen: the chance of a token, and what one
    # more of them in a batch takes, as a share of a decode of one
    _LEARN, _FORGET = 0.1, 0.02

    def __init__(self) -> None:
        self._chances: dict[str, float] = {}
        self._single = self._forced = 0.0  # seconds of one token, and of a forced one with it
        self._more: dict[int, float] = {}  # seconds of so many more choices, from one on

    def chance(self, reason: str) -> float:
        """Of the next token of a draft."""
        return self._chances.get(reason, self._HOPE)

    def extra(self, count: int) -> float:
        """What so many more choices in a batch take, as a share of a decode of one. What was never
        measured is hoped to be cheap, so that it is tried."""
        known = max((size for size in self._more if size <= count), default=0)
        seen = self._more[known] / self._single if known else 0.0
        if not known and self._more:
            size = min(self._more)
            return min(self._COST, self._more[size] / self._single / size) * count
        return seen + self._COST * (count - known)

    def worth(self, drafted: Sequence[Choice], beside: int = 0) -> int:
        """How many of these choices to evaluate. ``beside``: tokens of others in the same batch."""
        cost = 1.0 + self.extra(1) * beside if beside else 1.0
        best, chosen, gain, share, waste = (beside + 1.0) / cost, 0, 1.0, 1.0, 0.0
        forced = self._forced / self._single if self._single else self._COST
        for count, choice in enumerate(drafted, 1):
            share *= self.chance(choice.reason)
            gain += share
            waste += (1.0 - share) * forced * (len(choice.tokens) - 1)
            rate = (beside + gain) / (cost + self.extra(count) + waste)
            if rate > best:
                best, chosen = rate, count
        if drafted and not chosen:  # tried again after a while
            self._learn(drafted[0].reason, self._HOPE, self._FORGET)
            share = 1.0 - self._FORGET / 5
            self._more = {size: seconds * share for size, seconds in self._more.items()}
        return chosen

    def _learn(self, reason: str, seen: float, share: float) -> None:
        self._chances[reason] = self.chance(reason) + share * (seen - self.chance(reason))

    def judged(self, accepted: int, drafted: Sequence[Choice]) -> None:
        """So many of a draft were what the model chose."""
        for count, choice in enumerate(drafted[: accepted + 1]):
            self._learn(choice.reason, float(count < accepted), self._LEARN)

    def took(self, tokens: int, choices: int, seconds: float) -> None:
        """A batch of so many tokens, with so many drafted choices."""
        if tokens == 1:
            self._single += (seconds - self._single) * (self._LEARN if self._single else 1.0)
        if tokens == 1 or not self._single or tokens > MOST_TOKENS:
            return
        more = max(0.0, seconds - self._single - self._forced * (tokens - 1 - choices))
        if choices:
            known = self._more.get(choices, more)
            self._more[choices] = known + self._LEARN * (more - known)
        else:
            more = max(0.0, seconds - self._single) / (tokens - 1)
            self._forced += (more - self._forced) * (self._LEARN if self._forced else 1.0)


class GuessPace:
    """The same of a ``Guesser``, whose own time counts: how many tokens. It begins when a decode of
    one token was timed, and leaves one out now and then, so that this stays known while the context
    grows. ``cost`` is what one more token takes, as a share of a decode of one."""

    _HOPE, _COST = 0.75, 0.35  # before anything was seen
    _LEARN, _FORGET = 0.1, 0.02
    _TIMED_EVERY = 64

    def __init__(self) -> None:
        self._accepted = self._HOPE
        self._single = self._more = 0.0  # seconds
        self._own = 0.0  # seconds a guess
        self._asked = 0

    @property
    def cost(self) -> float:
        if not self._single:
            return self._COST
        more = self._more / self._single if self._more else self._COST
        return more + self._own / self._single

    def length(self, most: int = MOST_GUESSED, beside: int = 0) -> int:
        """``beside``: tokens of others in the same batch."""
        self._asked += 1
        if not self._single or self._asked % self._TIMED_EVERY == 0:
            return 0
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
        self._choices: list[Choice] = []  # of what was drafted last
        self._is_guess = False
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
        self._choices, self._is_guess = [], False
        if len(tokens) >= MOST_TOKENS:
            return []
        found = _search(self._lookups, constraint, most, self._pace.chance)
        self._choices = found[: self._pace.worth(found, self.beside)]
        if not self._choices and self._guesser is not None and len(tokens) <= _MOST_FED:
            self._is_guess = True
            self._guess(self._guesser, tokens, constraint, most, place)
        return [choice.tokens for choice in self._choices]

    def _guess(
        self, guesser: Guesser, tokens: Sequence[int], constraint: GrammarConstraint | None,
        most: int, place: Place,
    ) -> None:  # fmt: skip
        wanted = min(self._guess_pace.length(beside=self.beside), most)
        if wanted <= 0:
            return
        before = guesser.seconds
        guesser.begin(tokens, place)
        self._choices = _search((guesser,), constraint, wanted)
        seconds = guesser.seconds - before
        self._guess_pace.guessed(len(self._choices), seconds)
        self.guess_seconds += seconds

    def judge(self, accepted: int, drafted: int) -> None:
        """How much of the last draft was chosen, and how much of it was evaluated."""
        choices, self._choices = self._choices[:drafted], []
        self.drafted += len(choices)
        self.accepted += accepted
        if not self._is_guess:
            self._pace.judged(accepted, choices)
        elif choices:
            self._guess_pace.judged(accepted, len(choices))
            self.guessed += len(choices)
            self.guesses_accepted += accepted

    def took(self, tokens: int, choices: int, seconds: float) -> None:
        """A batch of so many tokens, with so many drafted choices."""
        self._pace.took(tokens, choices, seconds)
        self._guess_pace.took(tokens, seconds)


def _search(
    lookups: Sequence[Lookup], constraint: GrammarConstraint | None, wanted: int,
    chance: Callable[[str], float] | None = None,
) -> list[Choice]:  # fmt: skip
    if wanted <= 0 or not lookups:
        return []
    if constraint is None:
        return _free(lookups, wanted, chance)
    return _held(lookups, constraint, wanted, chance)


def _proposals(
    lookups: Sequence[Lookup], more: Sequence[int], chance: Callable[[str], float] | None
) -> Iterable[Proposal]:
    """The likeliest first."""
    found = chain.from_iterable(each.propose(more) for each in lookups)
    return found if chance is None else sorted(found, key=lambda each: -chance(each.reason))


def _free(
    lookups: Sequence[Lookup], wanted: int, chance: Callable[[str], float] | None
) -> list[Choice]:
    found: list[Choice] = []
    while len(found) < wanted:
        said = [token for choice in found for token in choice.tokens]
        tokens, reason = next(iter(_proposals(lookups, said, chance)), Proposal((), ""))
        if not tokens:
            break
        found += (Choice([token], reason) for token in tokens[: wanted - len(found)])
    return found


def _held(
    lookups: Sequence[Lookup], constraint: GrammarConstraint, wanted: int,
    chance: Callable[[str], float] | None,
) -> list[Choice]:  # fmt: skip
    """What the constraint lets through, with what it forces."""
    found: list[Choice] = []
    said: list[int] = []
    with constraint.trial() as trial:
        while len(found) < wanted and len(said) < MOST_TOKENS and not trial.complete:
            before = len(found)
            for tokens, reason in _proposals(lookups, said, chance):
                taken = _taken(trial, tokens[: wanted - len(found)])
                found += (Choice(segment, reason) for segment in taken)
                if len(found) > before:
                    break
            if len(found) == before:
                break
            said += chain.from_iterable(choice.tokens for choice in found[before:])
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
