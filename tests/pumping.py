"""How the time of a regular expression grows with its text, on the worst texts that its own
structure suggests: what each of its repeats takes, many times, before something that it does not
take. Nothing here knows the package."""

from __future__ import annotations

import itertools
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any, AnyStr

if sys.version_info >= (3, 11):
    from re import _constants as sre
    from re import _parser as sre_parse
else:
    import sre_constants as sre
    import sre_parse

MODES: dict[str, Callable[[re.Pattern[AnyStr], AnyStr], object]] = {
    "match": lambda pattern, text: pattern.match(text),
    "fullmatch": lambda pattern, text: pattern.fullmatch(text),
    "search": lambda pattern, text: pattern.search(text),
    "scan": lambda pattern, text: sum(1 for _ in pattern.finditer(text)),  # to the text's end
}
# Lengths of a text. By steps this small no run takes much longer than the one before it took, even
# where the time doubles with each character. A linear one is done in 0.1 ms with the longest.
_LENGTHS = (
    *range(1, 8), *range(8, 32, 2), 40, 57, 80, 112, 157, 220, 308, 431,
)  # fmt: skip
_IDLE = 0.004  # seconds that are far too many for one of them
# What takes more than so much for each character of a longer text, and this many times what a
# quarter of it takes (4 is linear, 16 quadratic), is run with a long one too: with that, what is
# linear takes 2 ms, and what is quadratic 130 or more.
_MEDIUM, _PER_CHARACTER, _STEEP = 2000, 80e-9, 5.5
_LONG, _SLOW = 16_000, 0.03
_OUT_OF_PROPORTION = 2.5  # a long one, against as many medium ones; quadratic it is up to 8
_MOST = 2.0  # seconds of the processor for one text; then it is given up, where that can be
_TRIES = 8
_MOST_CHARS = 14  # of a pattern's alphabet
_BEYOND = "\u2603"  # no pattern names it
_ENDS = ("", _BEYOND, "\n", "!")
_COMMON = "a0 -.,Aé\n\t_/(\"'\u4e00" + _BEYOND
_CLASSES = {
    sre.CATEGORY_DIGIT: re.compile(r"\d"), sre.CATEGORY_NOT_DIGIT: re.compile(r"\D"),
    sre.CATEGORY_SPACE: re.compile(r"\s"), sre.CATEGORY_NOT_SPACE: re.compile(r"\S"),
    sre.CATEGORY_WORD: re.compile(r"\w"), sre.CATEGORY_NOT_WORD: re.compile(r"\W"),
}  # fmt: skip
_REPEATS = {sre.MAX_REPEAT, sre.MIN_REPEAT} | {getattr(sre, "POSSESSIVE_REPEAT", sre.MAX_REPEAT)}
_AROUND = {sre.ASSERT, sre.ASSERT_NOT}


def find_blowup(pattern: re.Pattern[AnyStr], mode: str) -> str:
    """The kind of text on which the time grows faster than the length, in words; "" where none
    was found. ``mode`` is one of ``MODES``."""
    for head, pump, end in worst_texts(pattern):

        def run(length: int, head: AnyStr = head, pump: AnyStr = pump, end: AnyStr = end) -> object:
            return MODES[mode](pattern, head + pump * max(1, length // len(pump)) + end)

        if grows(run, len(pump)):
            return f"{head!r} + {pump!r} * n + {end!r}"
    return ""


def grows(run: Callable[[int], object], pump: int = 1) -> bool:
    """Whether ``run``, which is given a length, takes time that grows faster than the length.
    ``pump`` is the length of what is repeated in the text."""
    scale = min(4.0, pump**0.5)  # of long pumps there are fewer in a text
    medium, long = int(scale * _MEDIUM), int(scale * _LONG)
    try:
        with stopped_after(_MOST):
            if any(_takes_more(_IDLE, run, length) for length in _LENGTHS):
                return True
            seconds = _least(run, medium, medium * _PER_CHARACTER, tries=2)
            if seconds <= medium * _PER_CHARACTER:
                return False
            is_steep = seconds > _STEEP * _least(run, medium // 4, 0.0, tries=3)
            if not (is_steep and _takes_more(_SLOW, run, long)):
                return False
            medium_seconds = _least(run, medium, 0.0, tries=3)  # a slow machine is slow with both
            grown = _least(run, long, 0.0, tries=3) / (medium_seconds * long / medium)
            return grown > _OUT_OF_PROPORTION
    except TimeoutError:
        return True


def _takes_more(limit: float, run: Callable[[int], object], length: int) -> bool:
    """Whether each run takes more than ``limit`` seconds. A busy machine can make all of a few
    tries long: then the processor's own time tells, which has coarse ticks on some systems."""
    if _least(run, length, limit) <= limit:
        return False
    before, runs = time.process_time(), 0
    while runs < _TRIES and time.process_time() - before <= _TRIES * limit:
        run(length)
        runs += 1
    return time.process_time() - before > runs * limit


def _least(run: Callable[[int], object], length: int, enough: float, tries: int = _TRIES) -> float:
    """Seconds of the best of a few tries, up to one that takes no more than ``enough``, or far
    more."""
    best = inf
    for _ in range(tries):
        before = time.perf_counter()
        run(length)
        best = min(best, time.perf_counter() - before)
        if best <= enough or best > 4 * enough > 0:
            break
    return best


@contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """Ends what backtracks in one place for ever, where the system has such a clock."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def worst_texts(pattern: re.Pattern[AnyStr]) -> Iterator[tuple[AnyStr, AnyStr, AnyStr]]:
    """A beginning, what is repeated after it, and an end."""
    if isinstance(pattern.pattern, bytes):
        spelled = pattern.pattern.decode("latin-1")
        for parts in _worst_texts(spelled, pattern.flags & ~re.LOCALE | re.ASCII):
            yield tuple(part.encode("latin-1", "replace") for part in parts)  # type: ignore[misc]
    else:
        yield from _worst_texts(pattern.pattern, pattern.flags)


def _worst_texts(spelled: str, flags: int) -> list[tuple[str, str, str]]:
    tree = sre_parse.parse(spelled, flags & ~re.TEMPLATE & ~re.DEBUG)
    repeats = list(_repeats(tree, "", ""))
    if not repeats:
        return []
    chars = alphabet(tree)
    heads = dict.fromkeys(("", *(head for head, *_ in repeats)))
    pumps: dict[str, None] = dict.fromkeys(chars)
    for head, bodies, tail in repeats:
        pumps |= dict.fromkeys(bodies)
        pumps |= dict.fromkeys(one + other for one, other in itertools.permutations(bodies[:3], 2))
        for body in bodies[:3]:
            pumps |= dict.fromkeys((head + body, body + tail, head + body + tail))
        pumps[head] = None
    wholes = [_sample(tree, variant) for variant in range(3)]
    pumps |= dict.fromkeys(wholes + [whole + " " for whole in wholes])
    pumps.pop("", None)
    texts = {("", pump, end): None for pump in pumps for end in _ENDS}
    for head, bodies, _ in repeats:
        texts |= {(head, pump, end): None for pump in (*bodies, *chars) for end in _ENDS[:2]}
    texts |= {(head, chars[0], _BEYOND): None for head in heads}
    return list(texts)


def _repeats(tree: Any, before: str, after: str) -> Iterator[tuple[str, list[str], str]]:
    """What comes before each repeat, a few texts that it repeats, and what comes after it."""
    items = list(tree)
    for at, (kind, value) in enumerate(items):
        head = before + _sample(items[:at], 0)
        tail = _sample(items[at + 1 :], 0) or after
        for inner in _inner(kind, value):
            if kind in _REPEATS and value[1] > 1:
                bodies = list(dict.fromkeys(_samples(inner)))
                yield head, [body for body in bodies if body], tail
                yield from _repeats(inner, head, _sample(inner, 0))
            yield from _repeats(inner, head, tail)


def _inner(kind: Any, value: Any) -> list[Any]:
    """The parts of an item of a parsed pattern that are sequences of items."""
    if kind in _REPEATS:
        return [value[2]]
    if kind is sre.SUBPATTERN:
        return [value[-1]]
    if kind in _AROUND:
        return [value[1]]
    if kind is sre.BRANCH:
        return list(value[1])
    if kind is sre.GROUPREF_EXISTS:
        return [part for part in value[1:] if part is not None]
    return [value] if kind is getattr(sre, "ATOMIC_GROUP", None) else []


def _samples(tree: Any) -> list[str]:
    items = list(tree)
    if len(items) == 1 and items[0][0] in (sre.IN, sre.ANY, sre.NOT_LITERAL):
        return _chars_of(*items[0])[:6]
    return [_sample(items, variant) for variant in range(4)]


def _sample(tree: Any, variant: int) -> str:
    """A short text of a parsed pattern; another one for another ``variant``."""
    return "".join(_sample_of(kind, value, variant) for kind, value in tree)


def _sample_of(kind: Any, value: Any, variant: int) -> str:
    if kind in _AROUND or kind is sre.AT:
        return ""
    if kind in _REPEATS:
        least = max(value[0], min(variant, 1, value[1]))
        return "".join(_sample(value[2], variant + each) for each in range(min(least, 50)))
    if inner := _inner(kind, value):
        return _sample(inner[variant % len(inner)], variant)
    chars = _chars_of(kind, value)
    return chars[variant % len(chars)] if chars else ""


def _chars_of(kind: Any, value: Any) -> list[str]:
    """Some characters that an item takes which takes one, of as many kinds as it can."""
    if kind is sre.LITERAL:
        return [chr(value)]
    if kind is sre.ANY:
        return [*"a 0-"]
    if kind is sre.NOT_LITERAL:
        value = [(sre.NEGATE, None), (sre.LITERAL, value)]
    elif kind is not sre.IN:
        return []  # a reference to a group: as if it were empty
    named = [chr(each) for kind, each in value if kind is sre.LITERAL]
    named += [chr(end) for kind, each in value if kind is sre.RANGE for end in each]
    taken = [char for char in dict.fromkeys([*_COMMON, *named]) if _takes(value, char)]
    return sorted(taken, key=lambda char: taken.index(char) % 3)  # the first three differ


def _takes(items: Sequence[Any], char: str) -> bool:
    """Whether a set of characters has this one in it."""
    inside = any(
        (kind is sre.LITERAL and value == ord(char))
        or (kind is sre.RANGE and value[0] <= ord(char) <= value[1])
        or (kind is sre.CATEGORY and bool(_CLASSES[value].match(char)))
        for kind, value in items
    )
    return inside != (items[0][0] is sre.NEGATE)


def alphabet(tree: Any) -> list[str]:
    """Characters that the pattern tells apart, and one that it does not name."""
    found: list[str] = []
    waiting = [tree]
    while waiting:
        for kind, value in waiting.pop():
            found += _chars_of(kind, value)[:4]
            waiting += _inner(kind, value)
    counted = list(dict.fromkeys([" ", "0", "a", *found]))
    return [*counted[: _MOST_CHARS - 1], _BEYOND]
