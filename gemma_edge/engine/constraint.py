"""Hold an answer to a grammar while it is decoded. ``llguidance`` decides.

The protocol is four verbs: is a token ``allowed``, ``advance`` by it, which tokens are ``forced``
next, and how the answer can be ``closed`` in the fewest steps when the budget runs out.
"""

from __future__ import annotations

import ctypes
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING, ClassVar

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from gemma_edge.engine.grounding import render_grammar
from gemma_edge.engine.protocol import CallConstraint, JsonConstraint
from gemma_edge.errors import EngineError, SchemaError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# No end of an answer is longer than this, in bytes: a schema that wants more has none.
LONGEST_END = 32_768
NO_END = f"no answer to it ends within {LONGEST_END:,} bytes"


CONTROL_MARK = b"\xff"  # before the bytes of a control token: in no text, so no text matches it


class GrammarVocabulary:
    """llguidance's view of a vocabulary; built once a model (0.8 s for 262k tokens)."""

    def __init__(
        self, pieces: Sequence[bytes], vocab: object, tokenize: object, ends: Sequence[int]
    ) -> None:
        address = ctypes.cast(tokenize, ctypes.c_void_p).value  # type: ignore[arg-type]
        self.tokenizer: LLTokenizer = LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]
            tokens=list(pieces),
            vocab_ptr=vocab,
            tokenize_fptr=address,
            eos_token=list(ends),
            slices=LLTokenizer.json_slices(),
        )
        self.pieces = pieces
        self.bytes = {piece[0]: index for index, piece in enumerate(pieces) if len(piece) == 1}

    def encode(self, text: str) -> list[int]:
        """The tokens of a text; none of them is a control token."""
        return list(self.spelled(self.tokenizer.tokenize_str(text)))

    def spelled(self, tokens: Iterable[int]) -> Iterator[int]:
        """The same text without control tokens: llama.cpp makes those of the kind USER_DEFINED of
        any text. It ends before what cannot be spelled."""
        for token in tokens:
            piece = self.pieces[token]
            if len(piece) == 1 or not piece.startswith(CONTROL_MARK):
                yield token
                continue
            parts = [self.bytes.get(byte, -1) for byte in piece[len(CONTROL_MARK) :]]
            if -1 in parts:
                return
            yield from parts


class Trial:
    """Follows drafted tokens; ``taken`` of them so far."""

    def __init__(self, matcher: LLMatcher, vocabulary: GrammarVocabulary) -> None:
        self._matcher, self._vocabulary = matcher, vocabulary
        self.taken = 0

    def take(self, token: int) -> bool:
        """Go on by this one, if it is legal."""
        count = int(self._matcher.try_consume_tokens([token]))
        self.taken += count
        return count == 1

    def take_forced(self) -> list[int]:
        """Go on by what can only come next."""
        forced = list(self._vocabulary.spelled(self._matcher.compute_ff_tokens()))
        count = int(self._matcher.try_consume_tokens(forced)) if forced else 0
        self.taken += count
        return forced[:count]

    @property
    def complete(self) -> bool:
        return self._matcher.is_stopped()


_LARGE = 20_000  # characters of a document: 10 ms


class GrammarConstraint:
    """A JSON Schema, or a grammar of text and calls, compiled. ``calls``: it is the latter, and may
    be cut anywhere; it is no more, once an answer has begun that a schema holds.
    Raises SchemaError: llguidance refuses the schema, the message is its reason; or no answer to it
    ends."""

    def __init__(
        self, vocabulary: GrammarVocabulary, wanted: JsonConstraint | CallConstraint
    ) -> None:
        self._vocabulary = vocabulary
        self._ends: Ends | None = None
        self._answer = wanted.answer if isinstance(wanted, CallConstraint) else wanted
        self._may_call = isinstance(wanted, CallConstraint)
        self._taken = 0  # tokens, so far
        if isinstance(wanted, CallConstraint) and wanted.answer is not None:
            _check_end(Ends(wanted.answer).find())
        self._matcher = compile_schema(vocabulary.tokenizer, wanted)
        self._bits = (ctypes.c_uint32 * ((len(vocabulary.pieces) + 31) // 32))()
        self._bits_are_fresh = False
        self._closing: tuple[bytes, list[int] | None] = (b"", [])
        self.is_large = False
        if isinstance(wanted, CallConstraint):
            return
        self._ends = Ends(wanted)
        # Of a long document the search for an end compiles all of its words once more.
        self.is_large = wanted.grounding is not None and len(wanted.grounding.text) > _LARGE
        if not self.is_large:
            _check_end(self.closing())

    @property
    def calls(self) -> bool:
        return self._ends is None

    def _fill(self) -> None:
        if not self._bits_are_fresh:
            self._matcher.unsafe_compute_mask_ptr(
                ctypes.addressof(self._bits), ctypes.sizeof(self._bits)
            )
            self._bits_are_fresh = True

    def allowed(self, token: int) -> bool:
        self._fill()
        return bool((self._bits[token >> 5] >> (token & 31)) & 1)

    def mask(self, logits: NDArray[np.float32]) -> None:
        logits[~self.legal()] = -inf

    def legal(self) -> NDArray[np.bool_]:
        """Which tokens may come next: ``bool[vocabulary]``."""
        import numpy as np  # noqa: PLC0415  (0.1 s, and a schema is compiled without it)

        self._fill()
        count = len(self._vocabulary.pieces)
        bits = np.frombuffer(memoryview(self._bits), np.uint8)
        return np.unpackbits(bits, bitorder="little", count=count).view(np.bool_)

    def advance(self, token: int) -> None:
        self._bits_are_fresh = False
        if not self._matcher.consume_token(token):
            raise EngineError(
                f"the constraint refuses token {token}: {_first_line(self._matcher.get_error())}"
            )
        piece = self._vocabulary.pieces[token]
        is_call = len(piece) > 1 and piece.startswith(CONTROL_MARK)
        if not self._taken and self._ends is None and self._answer is not None and not is_call:
            self._ends = Ends(self._answer)
        self._taken += 1
        if self._ends is not None:
            self._ends.advance(piece)

    def forced(self) -> list[int]:
        """Tokens that can only come next; they are not taken yet."""
        forced = self._matcher.compute_ff_tokens()
        return forced if self.calls else list(self._vocabulary.spelled(forced))

    @property
    def complete(self) -> bool:
        return self._matcher.is_stopped()

    @contextmanager
    def trial(self) -> Iterator[Trial]:
        """Tokens that are tried here are taken back in the end."""
        trial = Trial(self._matcher, self._vocabulary)
        try:
            yield trial
        finally:
            if trial.taken:
                self._matcher.rollback(trial.taken)

    def take_back(self, count: int) -> None:
        self._bits_are_fresh = False
        self._matcher.rollback(count)
        self._taken -= count
        if self._ends is not None:
            self._ends.take_back(count)
            if not self._taken and self._may_call:
                self._ends = None

    def closing(self) -> list[int] | None:
        """The tokens of the shortest end; None where none is found."""
        if self._ends is None:
            return []
        end = self._ends.find()
        if end is None:
            return None
        if end != self._closing[0] or self._closing[1] is None:
            spelled = [self._vocabulary.bytes.get(byte, -1) for byte in end]
            spellings = (self._vocabulary.tokenizer.tokenize_bytes(end), spelled)
            self._closing = (end, next(filter(self._ended_by, spellings), None))
        return self._closing[1]

    def _ended_by(self, tokens: list[int]) -> bool:
        copy = self._matcher.deep_copy()
        whole = -1 not in tokens and copy.try_consume_tokens(tokens) == len(tokens)
        return whole and copy.is_accepting()


def _check_end(end: bytes | list[int] | None) -> None:
    if end is None:
        raise SchemaError(f"the schema cannot be held while decoding: {NO_END}")


# Where a JSON text is: in or outside of a string, or behind a backslash in one; for each list that
# is open the commas in it, for each object the key, in its value with a colon, behind that with a
# comma; the bytes since the last sign; and all commas so far.
_OUTSIDE, _STRING, _ESCAPE = range(3)
_Open = int | bytes
_Place = tuple[int, tuple[_Open, ...], int, int]
_START: _Place = (_OUTSIDE, (), 0, 0)


def _after(place: _Place, text: bytes) -> _Place:
    state, opened, run, commas = place
    for byte in text:
        char = bytes((byte,))
        run += 1
        if state != _OUTSIDE:
            state, ends = _in_string(state, char)
            run = 0 if ends else run
            if not ends and opened and (key := _key(opened[-1])) is not None:
                opened = (*opened[:-1], key + char)
        elif char in b"{[":
            opened, run = (*opened, b"" if char == b"{" else 0), 0
        elif char in b"}]":
            opened, run = opened[:-1], 0
        elif char in b',:"':
            state, run = (_STRING if char == b'"' else _OUTSIDE), 0
            commas += char == b","
            opened = (*opened[:-1], _behind(opened[-1], char)) if opened else opened
    return state, opened, run, commas


def _in_string(state: int, char: bytes) -> tuple[int, bool]:
    if state == _STRING and char == b'"':
        return _OUTSIDE, True
    return (_ESCAPE if state == _STRING and char == b"\\" else _STRING), False


def _key(opened: _Open) -> bytes | None:
    """The key that is being written there, if one is."""
    return opened if isinstance(opened, bytes) and not opened.endswith(b":") else None


def _behind(opened: _Open, char: bytes) -> _Open:
    if isinstance(opened, int):
        return opened + (char == b",")
    if char == b",":
        return opened[:-1] + b","
    if char == b":":
        return opened + b":"
    return opened if _key(opened) is None else b""


# Steps of one search, 10 to 100 microseconds each, and of the first try: an answer to which more
# belong is so long that any end of it is looked for before the shortest.
_MOST_STEPS, _FIRST_STEPS = 16_000, 4_000
_MOST_ALIKE = 4  # states in the same place with the same legal bytes that are followed
_DEEPEST = 200  # open lists and objects; nobody reads more
_BRANCHES = 2  # of the words of a choice
_FEW = 6  # legal bytes in one that may be one of a few words, such as the tag of a union
_SLACK = 16  # bytes by which such a word may be longer than another
_ANY_BYTES = b"a0A -_."  # that stand for all others where any character may be
_Key = tuple[_Place, bytes]


@dataclass(slots=True)
class _Step:
    """``narrow``: how often it may still be one of a few words."""

    text: bytes = b""
    before: _Step | None = None
    narrow: int = _BRANCHES
    cost: int = 0
    key: _Key | None = None

    def follows(self, other: _Step) -> bool:
        step: _Step | None = self
        while step is not None and step is not other and step.cost >= other.cost:
            step = step.before
        return step is other


class _Reached:
    """How soon the value of each place in each list and object was ended. A way that is still
    inside of it is overtaken."""

    def __init__(self) -> None:
        self._first: dict[tuple[_Open, ...], tuple[int, _Step]] = {}

    def overtakes(self, place: _Place, cost: int, step: _Step) -> bool:
        opened = place[1]
        for last in opened[-1:]:
            ended = last - 1 if isinstance(last, int) else last[:-1] + b":"
            if isinstance(last, int) or last.endswith(b","):
                self._first.setdefault((*opened[:-1], ended), (cost, step))
        slack = _SLACK if step.narrow else 0
        found = (self._first.get(opened[: level + 1]) for level in range(len(opened)))
        return any(cost > each[0] + slack and not step.follows(each[1]) for each in found if each)


class Ends:
    """The shortest ends of an answer, in bytes: Dijkstra over the states of a matcher whose tokens
    are bytes. States are told apart by their places and legal bytes. What ends a value soonest
    is taken where it is legal; where that leads nowhere, all is tried. An end of hundreds of values
    is a short one, and not always the shortest."""

    def __init__(self, wanted: JsonConstraint, matcher: LLMatcher | None = None) -> None:
        self._known, self._wanted = matcher, wanted
        self._pieces: list[bytes] = []
        self._places = [_START]  # those of the pieces that the matcher was given
        self._nowhere = False  # whether the search had nothing left to try
        self._is_long = False  # whether the shortest end was not found in time
        self._end = b""  # the last that was found
        self._left: dict[_Key, int] = {}  # bytes of it behind each place on the way

    @property
    def _matcher(self) -> LLMatcher:
        if self._known is None:
            self._known = compile_schema(_byte_tokenizer(), self._wanted)
        return self._known

    def advance(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def take_back(self, count: int) -> None:
        kept = len(self._pieces) - count
        known = self._pieces[kept : len(self._places) - 1]
        if known:
            self._matcher.rollback(sum(map(len, known)))
            del self._places[kept + 1 :]
        del self._pieces[kept:]

    def find(self) -> bytes | None:
        """The shortest end from here; None where there is none within ``LONGEST_END``."""
        for piece in self._pieces[len(self._places) - 1 :]:
            if self._matcher.try_consume_tokens(list(piece)) < len(piece):
                return None
            self._places.append(_after(self._places[-1], piece))
        self._nowhere = False
        found = self._search(_FIRST_STEPS // 10 if self._is_long else _FIRST_STEPS)
        if found is None and not self._nowhere:
            found = self._dive()
            self._is_long = found is not None
            found = found or self._search(_MOST_STEPS)
        return self._search(_FIRST_STEPS, thorough=True) if self._nowhere else found

    def _dive(self) -> bytes | None:
        """An end, found by what ends each value soonest, and without a look at other ways where
        that leads on."""
        matcher, place = self._matcher.deep_copy(), self._places[-1]
        steps = [(_Step(), place, self._onward(matcher, _Step(), place))]
        for _ in range(_MOST_STEPS):
            step, place, texts = steps[-1]
            if not texts:
                if not step.text:
                    break
                matcher.rollback(len(step.text))
                steps.pop()
                continue
            text = texts.pop(0)
            taken = matcher.try_consume_tokens(list(text))
            if taken < len(text):
                matcher.rollback(taken)
                continue
            following = _Step(text, step, cost=step.cost + len(text))
            if matcher.is_accepting():
                return self._remember(following, b"")
            place = _after(place, text)
            steps.append((following, place, self._onward(matcher, following, place)))
        return None

    def _onward(self, matcher: LLMatcher, step: _Step, place: _Place) -> list[bytes]:
        """What may come next, what ends a value soonest first."""
        if step.cost > LONGEST_END or len(place[1]) > _DEEPEST:
            return []
        if forced := _to_comma(matcher.compute_ff_bytes()):
            return [forced]
        step.key = (place, matcher.compute_bitmask())
        found = self._steps(matcher, *step.key, thorough=False)
        return sorted(found, key=lambda text: text in (b"-", b"{", b"["))

    def _search(self, steps: int, *, thorough: bool = False) -> bytes | None:
        numbers, known, reached = count(), Counter[_Key](), _Reached()
        heap = [(0, next(numbers), self._matcher, self._places[-1], _Step())]
        for _ in range(steps):
            if not heap or heap[0][0] > LONGEST_END:
                self._nowhere = not heap
                return None
            cost, _, before, place, step = heappop(heap)
            lost = len(place[1]) > _DEEPEST or reached.overtakes(place, cost, step)
            if lost and not thorough:
                continue
            matcher = before.deep_copy()  # only of what comes to be looked at
            if matcher.try_consume_tokens(list(step.text)) < len(step.text):
                continue
            if matcher.is_accepting():
                return self._remember(step, b"")
            texts = [_to_comma(matcher.compute_ff_bytes())]
            if cost + len(texts[0]) > LONGEST_END:
                continue
            if not texts[0]:
                step.key = (place, matcher.compute_bitmask())
                known[step.key] += 1
                tail = self._tail(step.key)
                if tail and _ends(matcher, tail):
                    return self._remember(step, tail)
                alike = known[step.key] > _MOST_ALIKE
                texts = [] if alike else self._steps(matcher, *step.key, thorough=thorough)
            narrow = step.narrow - (len(texts) > 1) if 0 < len(texts) <= _FEW else 0
            narrow = _BRANCHES if place[0] == _OUTSIDE else max(0, narrow)
            for text in texts:
                following = _Step(text, step, narrow, cost + len(text))
                where = (_after(place, text), following)
                heappush(heap, (following.cost, next(numbers), matcher, *where))
        return None

    def _tail(self, key: _Key) -> bytes:
        return self._end[len(self._end) - self._left.get(key, 0) :]

    def _steps(
        self, matcher: LLMatcher, place: _Place, legal: bytes, *, thorough: bool
    ) -> list[bytes]:
        found = [byte for byte in range(256) if legal[byte >> 3] >> (byte & 7) & 1]
        steps = [bytes((byte,)) for byte in found]
        if thorough or place[0] == _ESCAPE:
            return steps
        if place[0] == _OUTSIDE:
            return next(([end] for end in (b"]", b"}", b",") if end in steps), steps)
        few = len(found) <= _FEW  # it is one of a few words, or a word has to be ended
        if b'"' in steps:
            return steps if few else [b'"']
        texts = _text_ends(self._wanted.schema)
        for text in texts:
            if matcher.validate_tokens(text) == len(text):
                return [bytes(text), *(steps if few else ())]
        if b"a" in steps and not (few or texts or self._wanted.grounding):
            return [b"a"]  # only its length counts
        return [step for step in steps if step in _ANY_BYTES] or steps

    def _remember(self, step: _Step, tail: bytes) -> bytes:
        left = {key: rest for key, rest in self._left.items() if rest <= len(tail)} if tail else {}
        texts: list[bytes] = []
        rest: _Step | None = step
        size = len(tail)
        while rest is not None:
            if rest.key is not None:
                left[rest.key] = size
            texts.append(rest.text)
            size += len(rest.text)
            rest = rest.before
        self._left = left
        self._end = b"".join(reversed(texts)) + tail
        return self._end


def _to_comma(text: bytes) -> bytes:
    return text[: text.find(b",") + 1] or text


def _ends(matcher: LLMatcher, text: bytes) -> bool:
    copy = matcher.deep_copy()
    return copy.try_consume_tokens(list(text)) == len(text) and copy.is_accepting()


# What ends a text of a format soonest, or has the shortest form.
_FORMAT_TEXTS = (
    "0001-01-01T00:00:00Z", "P0D", "a@b.co", "a.b", "a", "1.1.1.1", "::", "a:", "a://a", "/", "0",
    "00000000-0000-0000-0000-000000000000", "00:00:00+00:00",
)  # fmt: skip
_LONGEST_TEXT = 200  # characters of one


@lru_cache(maxsize=8)
def _text_ends(schema: str) -> tuple[list[int], ...]:
    """What may lead out of a text that cannot end yet: the last characters of short texts that the
    patterns and formats of the schema accept, each with its quote."""
    texts = set()
    waiting = [json.loads(schema)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            named = node.get("patternProperties")  # or a property of that name
            patterns = [node.get("pattern"), *(named if isinstance(named, dict) else ())]
            texts |= {shortest_match(each) for each in patterns if isinstance(each, str)}
            texts |= set(_FORMAT_TEXTS if isinstance(node.get("format"), str) else ())
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    written = (json.dumps(text, ensure_ascii=False) for text in texts)
    ends = {text[at:].encode() for text in written for at in range(1, len(text) - 1)}
    return tuple(list(end) for end in sorted(ends, key=lambda end: (len(end), end)))


def shortest_match(pattern: str) -> str:
    """A short text that a regular expression finds itself in, or a guess at one."""
    try:
        text = _Pattern(pattern).choice()
    except (IndexError, ValueError, RecursionError):
        return ""
    return text if len(text) <= _LONGEST_TEXT else ""


# The parts of a regular expression that are told apart.
_NONE_OR_MORE = re.compile(r"[*?]\??")
_COUNTED = re.compile(r"\{(\d+)(?:,\d*)?\}\??")
_ONE_OR_MORE = re.compile(r"\+\??")
_GROUP = re.compile(r"\((\?:|\?P?<(?![=!])[^>]{0,100}>)?(?!\?)")
_LOOKING = re.compile(r"\(\?<?[=!]")
_CLASS = re.compile(r"\[(\^?)(\]?[^\]\\]{0,40}(?:\\.[^\]\\]{0,40}){0,8})\]")
_PROPERTY = re.compile(r"[pP]\{(?:[^{}=]*=)?([^{}]*)\}")
_CODE = re.compile(r"(?:u\{?|x)([0-9a-fA-F]{2,6})\}?")
_EMPTY = re.compile(r"k<[^>]{0,100}>|c[A-Za-z]")


class _Pattern:
    """A regular expression, read only so far that a short text of it is found."""

    _MEANT: ClassVar[dict[str, str]] = {
        "d": "0", "w": "a", "s": " ", "D": "a", "W": " ", "S": "a",
        "t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0",
    }  # fmt: skip
    _NOTHING = "bBAZzG123456789"
    _KINDS: ClassVar[dict[str, str]] = {"Lu": "A", "N": "0", "P": "-", "Z": " ", "S": "+"}

    def __init__(self, pattern: str) -> None:
        self._text, self._at = pattern, 0

    def choice(self) -> str:
        found = [self._sequence()]
        while self._take("|"):
            found.append(self._sequence())
        return min(found, key=len)

    def _take(self, text: str) -> bool:
        there = self._text.startswith(text, self._at)
        self._at += len(text) if there else 0
        return there

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found

    def _sequence(self) -> str:
        parts = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            atom = self._atom()
            if self._match(_NONE_OR_MORE):
                atom = ""
            elif counted := self._match(_COUNTED):
                atom = (atom * min(int(counted[1]), _LONGEST_TEXT + 1))[: _LONGEST_TEXT + 1]
            else:
                self._match(_ONE_OR_MORE)
            parts.append(atom)
        return "".join(parts)

    def _atom(self) -> str:
        if self._match(_GROUP):
            inner = self.choice()
            self._take(")")
            return inner
        if self._match(_LOOKING):  # it looks around, and takes nothing
            self.choice()
            self._take(")")
            return ""
        if found := self._match(_CLASS):
            return self._member(found)
        char = self._text[self._at]
        self._at += 1
        if char == "\\":
            return self._escape()
        return "a" if char == "." else "" if char in "^$" else char

    def _member(self, found: re.Match[str]) -> str:
        if found[1]:
            try:
                return next(filter(re.compile(found[0]).match, "a0 -A_.~"), "a")
            except re.error:
                return "a"
        inner = _Pattern(found[2])
        return (inner._escape() if inner._take("\\") else found[2][:1]) or "a"

    def _escape(self) -> str:
        if found := self._match(_PROPERTY):
            return self._KINDS.get(found[1], self._KINDS.get(found[1][:1], "a"))
        if found := self._match(_CODE):
            return chr(int(found[1], 16))
        if self._match(_EMPTY):
            return ""
        char = self._text[self._at]
        self._at += 1
        return self._MEANT.get(char, "" if char in self._NOTHING else char)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"


class TokenConstraint:
    """A JSON Schema, compiled to be asked about texts in the tokens of a vocabulary.
    Raises SchemaError: llguidance refuses the schema."""

    def __init__(self, vocabulary: GrammarVocabulary, wanted: JsonConstraint) -> None:
        self._vocabulary = vocabulary
        self._matcher = compile_schema(vocabulary.tokenizer, wanted)

    def accepts(self, text: str) -> bool:
        """Whether all of ``text`` is let through and is then a whole answer."""
        self._matcher.reset()
        tokens = list(self._vocabulary.spelled(self._vocabulary.tokenizer.tokenize_str(text)))
        taken = self._matcher.try_consume_tokens(tokens)
        return taken == len(tokens) and self._matcher.is_accepting()


# Compact and bounded: no token is spent on indentation, and no whitespace loop is possible.
COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def compile_schema(tokenizer: LLTokenizer, wanted: JsonConstraint | CallConstraint) -> LLMatcher:
    """The matcher at the start of an answer.
    Raises SchemaError: llguidance refuses the schema, the message is its reason."""
    if isinstance(wanted, CallConstraint):
        lark = wanted.lark
        if wanted.answer is not None:
            schema = {**json.loads(wanted.answer.schema), "x-guidance": _options(wanted.answer)}
            lark += f"answer: %json {json.dumps(schema, ensure_ascii=False)}\n"
        matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(lark), log_level=0)
        if matcher.is_error():
            raise SchemaError(f"the calls cannot be held: {_first_line(matcher.get_error())}")
        return matcher
    options = _options(wanted)
    if wanted.grounding is not None:
        lark = render_grammar(json.loads(wanted.schema), wanted.grounding, options).lark
        grammar = LLMatcher.grammar_from_lark(lark)
    else:
        try:
            grammar = LLMatcher.grammar_from_json_schema(
                wanted.schema,
                overrides=options,  # type: ignore[arg-type]
            )
        except ValueError as error:
            raise SchemaError(f"the schema is not a JSON object: {error}") from error
    limits = None if wanted.grounding is None else _long_text()
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    if matcher.is_error():
        # The lines behind the reason repeat the grammar.
        said = matcher.get_error()
        said = said if wanted.grounding is None else said.partition("\n")[0]
        reason = " ".join(said.split()) or "no reason given"
        raise SchemaError(f"the schema cannot be held while decoding: {reason}")
    return matcher


def _options(wanted: JsonConstraint) -> dict[str, object]:
    return {**COMPACT, **({wanted.relaxed: True} if wanted.relaxed else {})}


def _long_text() -> LLParserLimits:
    """Room for the text of a long document, and for the rows of a table: llguidance's own limits
    refuse 300,000 characters, measured."""
    return LLParserLimits(
        initial_lexer_fuel=20_000_000, step_lexer_fuel=20_000_000, max_grammar_size=5_000_000,
        max_items_in_row=50_000, step_max_items=5_000_000,
    )  # fmt: skip


class TextConstraint:
    """A JSON Schema, compiled to be asked about text, a byte a token: no model is needed.
    Raises SchemaError: llguidance refuses the schema, the message is its reason."""

    def __init__(self, wanted: JsonConstraint) -> None:
        self._wanted = wanted
        self._matcher = compile_schema(_byte_tokenizer(), wanted)

    def shortest_end(self) -> bytes | None:
        """How an answer may end from here soonest; None where it does not within
        ``LONGEST_END`` bytes."""
        return Ends(self._wanted, self._matcher.deep_copy()).find()

    def take(self, text: str) -> bool:
        """Go on by all of ``text``, or not at all."""
        data = list(text.encode("utf-8", "surrogatepass"))
        taken = self._matcher.try_consume_tokens(data)
        if taken < len(data):
            self._matcher.rollback(taken)
        return taken == len(data)

    def take_back(self, count_bytes: int) -> None:
        self._matcher.rollback(count_bytes)

    def reset(self) -> None:
        self._matcher.reset()

    def forced(self) -> str:
        """What can only come next; cut before a character that is not whole."""
        return self._matcher.compute_ff_bytes().decode("utf-8", "ignore")

    @property
    def complete(self) -> bool:
        return self._matcher.is_accepting()


@lru_cache(maxsize=1)
def _byte_tokenizer() -> LLTokenizer:
    return LLTokenizer("byte")
