"""Data to the text that a constraint lets through, if there is one.

A constraint fixes the order of the keys and asks for every declared one, so the text is looked
for: the data's own keys where they may stand; for keys that it does not have null, or an empty
list; numbers and texts in each of their spellings.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gemma_edge.engine.grammar import TextConstraint
from gemma_edge.extract.schemas.walk import Json, every

MAX_TRIES = 20_000  # pieces of text that are tried for one answer


@dataclass(frozen=True, slots=True)
class Spelled:
    """``text`` is the whole answer, None where none was found; ``reached`` is how far one got,
    and ``stuck`` what could not follow. ``undeclared`` are keys that stood in the way."""

    text: str | None
    reached: str = ""
    stuck: str = ""
    undeclared: tuple[str, ...] = ()


def spell(decoding: Json, constraint: TextConstraint, data: Any, *, complete: bool) -> Spelled:
    """The text of ``data`` under ``constraint``, which is at its start and of the schema
    ``decoding``. With ``complete`` keys may be added that the data does not have. The search
    gives up after ``MAX_TRIES``."""
    speller = _Speller(decoding, constraint, complete)
    if speller.value(data) and constraint.complete:
        return Spelled("".join(speller.pieces))
    if not speller.pieces:  # else it is the constraint that wants more
        again = _Speller(decoding, constraint, complete, skip=True)
        if again.value(data) and constraint.complete:
            return Spelled(None, speller.reached, speller.stuck, tuple(again.skipped))
    return Spelled(None, speller.reached, speller.stuck)


class _Speller:
    """``pieces`` is the text so far; what does not lead on is taken back. With ``skip`` keys that
    may stand nowhere in their object are left out, and listed in ``skipped``."""

    def __init__(
        self, decoding: Json, constraint: TextConstraint, complete: bool, *, skip: bool = False
    ) -> None:
        names = (name for schema in every(decoding) for name in schema.get("properties", ()))
        self._ranks = {name: rank for rank, name in enumerate(dict.fromkeys(names))}
        self._constraint, self._complete = constraint, complete
        self._tries, self._size = MAX_TRIES, 0
        self.pieces: list[str] = []
        self.reached = self.stuck = ""
        self._skip = skip
        self.skipped: list[str] = []

    def value(self, data: Any) -> bool:
        """Spell any value; nothing is left behind where that fails."""
        if isinstance(data, dict):
            return self._object(data)
        if isinstance(data, list):
            return self._list(data)
        return any(self._take(text) for text in _spellings(data))

    def _list(self, data: list[Any]) -> bool:
        mark = len(self.pieces)
        whole = self._take("[")
        for index, item in enumerate(data):
            whole = whole and (not index or self._take(", ")) and self.value(item)
            if not whole:
                break
        return (whole and self._take("]")) or self._back_to(mark)

    def _object(self, data: dict[str, Any]) -> bool:
        """Members in the order that the constraint asks for, found depth first."""
        mark = len(self.pieces)
        if not self._take("{"):
            return False
        chosen: list[tuple[str, int]] = []
        known: set[str] = set()  # keys that may stand here, whatever their value
        choices = [self._candidates(data, chosen)]
        while choices:
            if not self._left(data, chosen) and self._take("}"):
                return True
            for name, member in choices[-1]:
                before = len(self.pieces)
                comma = ", " if chosen else ""
                if any(self._take(f"{comma}{key}: ") for key in _spellings(name)):
                    known.add(name)
                    if self.value(member):
                        chosen.append((name, before))
                        choices.append(self._candidates(data, list(chosen)))
                        break
                self._back_to(before)
            else:
                if self._skip and not known & self._left(data, chosen) and self._take("}"):
                    self.skipped += sorted(self._left(data, chosen))
                    return True
                choices.pop()
                if chosen:
                    self._back_to(chosen.pop()[1])
        return self._back_to(mark)

    def _left(self, data: dict[str, Any], chosen: list[tuple[str, int]]) -> set[str]:
        return data.keys() - {name for name, _ in chosen}

    def _candidates(
        self, data: dict[str, Any], chosen: list[tuple[str, int]]
    ) -> Iterator[tuple[str, Any]]:
        """What may be the next member: the data's own, then one that it lacks, as null."""
        behind = {name for name, _ in chosen}
        last = len(self._ranks)
        for name in sorted(data, key=lambda name: self._ranks.get(name, last)):
            if name not in behind:
                yield name, data[name]
        if not self._complete:
            return
        forced = _member_name(self._constraint.forced())
        for name in self._ranks if forced is None else (forced,):
            if name not in data and name not in behind:
                yield name, None
                yield name, []

    def _take(self, text: str) -> bool:
        self._tries -= 1
        if self._tries < 0:
            return False
        if not self._constraint.take(text):
            if self._size > len(self.reached) or not self.stuck:
                self.reached, self.stuck = "".join(self.pieces), text
            return False
        self.pieces.append(text)
        self._size += len(text)
        return True

    def _back_to(self, mark: int) -> bool:
        """Take back all pieces from ``mark`` on; False, for the caller's return."""
        count = sum(len(piece.encode("utf-8")) for piece in self.pieces[mark:])
        if count:
            self._constraint.take_back(count)
            self._size -= sum(map(len, self.pieces[mark:]))
            del self.pieces[mark:]
        return False


def _member_name(forced: str) -> str | None:
    """The key that ``forced`` begins with, if it is whole: ``, "total": ``."""
    try:
        name, _ = json.JSONDecoder().raw_decode(forced.lstrip(", "))
    except ValueError:
        return None
    return name if isinstance(name, str) else None


def _spellings(value: Any) -> Iterator[str]:
    """The ways to write a scalar: a number with and without exponent and fraction, a text with
    its last control character as it is or escaped."""
    plain = json.dumps(value, ensure_ascii=False)
    yield plain
    if isinstance(value, str) and "\x7f" in value:  # llguidance wants it escaped, Python does not
        yield plain.replace("\x7f", r"\u007f")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        whole = format(Decimal(plain), "f")
        if whole != plain:
            yield whole
        if value == int(value):
            yield f"{int(value)}.0" if isinstance(value, int) else str(int(value))
