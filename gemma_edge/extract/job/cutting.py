"""Where an answer was cut when its budget ran out, and what of it is whole. Pure.

The engine ends such an answer with the shortest valid end, so the text is JSON; what was written
after the cut (null, an empty list) says nothing about the document.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gemma_edge.engine.protocol import TokenScore
from gemma_edge.extract.paths import ValuePath

_OUTSIDE = " \t\r\n,:"
_SAYS_NOTHING = ("null", "false", "0")  # words with which an answer may have been closed


@dataclass(frozen=True, slots=True)
class Cut:
    """``data`` is what is whole. ``at`` is the list that is not complete, None where the cut was
    in no list; ``whole`` is the number of its entries. ``missing`` are the keys of the root whose
    values were not written, that of the list not among them."""

    data: Any
    at: ValuePath | None = None
    whole: int = 0
    missing: tuple[str, ...] = ()


def find_cut(text: str, data: Any, scores: Sequence[TokenScore] = ()) -> Cut:
    """What is whole of the closed answer ``text``, which says ``data``."""
    written = text[: last_chosen(text, scores)]
    places = _Scanner(written).places
    if written.strip() and not places:  # the end itself was what came last
        return Cut(data)
    at, whole = _open_list(places, data)
    if at is not None:
        data = _shortened(data, at, whole)
    missing: tuple[str, ...] = ()
    if isinstance(data, dict):
        done = places[0].done if places else ""
        names = list(data)
        rest = names[names.index(done) + 1 :] if done in data else names
        missing = tuple(name for name in rest if not at or name != at[0])
        data = {name: None if name in missing else value for name, value in data.items()}
    return Cut(data, at, whole, missing)


def last_chosen(text: str, scores: Sequence[TokenScore]) -> int:
    """Characters of the answer up to the end of the last token that the model chose; without
    scores, up to the last value that says something, which may itself be cut."""
    end = len(text)
    if "".join(score.text for score in scores) == text:
        for score in reversed(scores):
            if not score.forced:
                return end
            end -= len(score.text)
    return _Scanner(text).last_value


@dataclass(slots=True)
class _Place:
    """A list or an object that is open. ``count`` values were begun in a list; ``key`` is the last
    key of an object, ``done`` the last one with its value. ``idle``: nothing is half-made in it."""

    is_list: bool
    count: int = 0
    key: str = ""
    done: str = ""
    idle: bool = True

    def begin(self) -> None:
        self.count += 1
        self.idle = False

    def end(self) -> None:
        self.done = self.key
        self.idle = True


class _Scanner:
    """Follows the beginning of a JSON text; ``places`` are open at its end, outside first."""

    def __init__(self, text: str) -> None:
        self.places: list[_Place] = []
        self.last_value = 0
        self._text = text
        at = 0
        while at < len(text):
            at = self._step(at)

    def _step(self, at: int) -> int:
        sign = self._text[at]
        if sign in "{[":
            self._begin()
            self.places.append(_Place(sign == "["))
        elif sign in "}]":
            self.places.pop()
            self._end()
        elif sign == '"':
            return self._string(at)
        elif sign not in _OUTSIDE:
            return self._word(at)
        return at + 1

    def _begin(self) -> None:
        if self.places:
            self.places[-1].begin()

    def _end(self) -> None:
        if self.places:
            self.places[-1].end()

    def _string(self, at: int) -> int:
        end = at + 1
        while end < len(self._text) and self._text[end] != '"':
            end += 2 if self._text[end] == "\\" else 1
        whole = end < len(self._text)
        place = self.places[-1] if self.places else None
        if place is not None and not place.is_list and place.idle:
            place.idle = False
            place.key = json.loads(self._text[at : end + 1]) if whole else place.done
            return end + 1
        self._begin()
        if whole:
            self._end()
            if end - at > 1:
                self.last_value = at
        return end + 1

    def _word(self, at: int) -> int:
        """A number, ``true``, ``false`` or ``null``."""
        end = at
        while end < len(self._text) and self._text[end] not in _OUTSIDE + '{}[]"':
            end += 1
        self._begin()
        if end < len(self._text):  # else a number may go on
            self._end()
        if self._text[at:end] not in _SAYS_NOTHING:
            self.last_value = at
        return end


def _open_list(places: Sequence[_Place], data: Any) -> tuple[ValuePath | None, int]:
    """The innermost open list of records, else the innermost open list, and how many entries of
    it are whole."""
    path: ValuePath = ()
    found: list[tuple[bool, ValuePath, int]] = []
    for place in places:
        if place.is_list:
            whole = place.count if place.idle else place.count - 1
            entries = _at(data, path)
            records = isinstance(entries, list) and any(isinstance(each, dict) for each in entries)
            found.append((records, path, whole))
        path = (*path, place.count - 1 if place.is_list else place.key)
    if not found:
        return None, 0
    _, at, whole = next((each for each in reversed(found) if each[0]), found[-1])
    return at, whole


def _at(data: Any, path: ValuePath) -> Any:
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _shortened(data: Any, path: ValuePath, count: int) -> Any:
    """A copy whose list at ``path`` ends after ``count`` entries."""
    if not path:
        return data[:count] if isinstance(data, list) else data
    step = path[0]
    if isinstance(data, dict) and step in data:
        return {**data, step: _shortened(data[step], path[1:], count)}
    if isinstance(data, list) and isinstance(step, int) and step < len(data):
        return [*data[:step], _shortened(data[step], path[1:], count)]
    return data
